"""One module per family of faults; each class with a name is found by `tally-chaos list`."""
