"""Training methods: pure functions of what was measured. No physics, no processes, no files."""
