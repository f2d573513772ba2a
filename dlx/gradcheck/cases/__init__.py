"""The functions that are checked, one file per family; each has a list CASES."""
