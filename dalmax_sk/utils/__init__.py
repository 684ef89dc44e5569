"""Tools for people who extend the package."""
