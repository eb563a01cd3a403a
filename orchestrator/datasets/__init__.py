"""Data sets by name, in `known.py`; those that ship lie here as well, each with its licence beside it."""
