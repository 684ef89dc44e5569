"""The runs of an experiment, and the file that keeps their results."""
