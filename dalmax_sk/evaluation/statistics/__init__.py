"""Paired tests, ranks, penalties and verdicts over seeds."""
