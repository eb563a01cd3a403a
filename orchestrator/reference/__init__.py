"""`pnn reference`: what others have published, and what ours reaches.

A case (`cases/`, one file each) has parts; a part is one number, measured for every seed. `trial` trains the run files
of a part and counts what that costs, `measure` goes through the seeds, `results` keeps what they came to in a small
file for each case. Nothing heavy is imported to list the cases.
"""
