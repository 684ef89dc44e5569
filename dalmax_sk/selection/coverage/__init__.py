"""Greedy cover: balls, herding, facility location."""
