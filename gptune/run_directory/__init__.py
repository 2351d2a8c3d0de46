"""The disk: the run directory, its owner, and the event log."""
