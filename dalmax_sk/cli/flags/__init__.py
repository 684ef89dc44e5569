"""Choices of the command line: one table of flags, and their checks."""
