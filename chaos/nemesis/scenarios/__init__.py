"""Named scenarios, one class each, found by `tally-chaos list`."""
