"""Greedy k-center."""
