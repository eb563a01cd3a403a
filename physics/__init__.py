"""Physical systems: substrates (mathematics), devices (input and output), and the twin that a trainer may know."""
