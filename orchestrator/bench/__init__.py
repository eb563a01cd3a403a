"""`pnn bench`: this program against its peers, side by side on the same cores.

A row of the table (`rows/`, one file each) has parts; a part compares two sides. A side is a process that measures one
thing and is asked for one round at a time (`sides`): ours are in `ours/`, those of the peers are scripts in an
environment of their own (benchmarks/peers/). `measure` lets both take rounds in turn and works out the ratio. Nothing
heavy is imported in the process that asks.
"""
