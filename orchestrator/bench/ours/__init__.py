"""Our sides of the comparisons, one file each: `python -m orchestrator.bench.ours NAME --options JSON`.

Each has `setup(options)`, which warms up and returns (about, a function that measures one round). The bare baselines
that need no other environment than ours are here too.
"""
