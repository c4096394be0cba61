"""The formats that a winner is exported in: a file each."""
