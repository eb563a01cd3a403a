"""The rows of the table, one file each: `ROW`, a plain value. What is measured is in `orchestrator.bench.ours`."""
