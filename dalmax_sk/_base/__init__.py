"""The ground: files, processes, progress, seeds, arrays on the disk."""
