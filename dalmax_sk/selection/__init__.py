"""The heavy kernels: arrays in, positions out.

Pure functions that know neither estimators nor pools. NumPy arrays in give NumPy
positions out; a torch tensor is computed on its device and gives a tensor there.
"""

from dalmax_sk.selection.k_center import k_center_greedy
from dalmax_sk.selection.k_means import k_means_select
from dalmax_sk.selection.top_n import stochastic_top_n, top_n

__all__ = ["k_center_greedy", "k_means_select", "stochastic_top_n", "top_n"]
