"""The cases of reference, one file each: `CASE`, a plain value. Every file opens with the source and what it says."""
