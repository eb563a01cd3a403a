"""What outlives a process: the journal of a run, its snapshots, its lock, and files written whole or not at all."""
