"""Arrays, distances and ties: the common tools of the kernels."""
