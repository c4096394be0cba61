"""A study as one file: packed on one machine, unpacked on another, two of them merged."""
