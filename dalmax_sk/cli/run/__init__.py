"""Runs of the commands: data, models, folders and the files in them."""
