"""The record of a run: rounds, picks, scores, and the files that hold them."""
