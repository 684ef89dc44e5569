"""The heavy kernels: arrays in, positions out.

Pure functions that know neither estimators nor pools. NumPy arrays in give NumPy
positions out; a torch tensor is computed on its device and gives a tensor there.
"""

from dalmax_sk.selection.by_score import stochastic_top_n, top_n
from dalmax_sk.selection.closest import min_distance
from dalmax_sk.selection.cluster import average_linkage, round_robin
from dalmax_sk.selection.coverage.ball_cover import ball_cover
from dalmax_sk.selection.coverage.greedy_coverage import greedy_coverage
from dalmax_sk.selection.coverage.purity import pure_ball_radius
from dalmax_sk.selection.coverage.similarity import unit_rows
from dalmax_sk.selection.epig import epig_scores
from dalmax_sk.selection.fisher_information import bait
from dalmax_sk.selection.joint_entropy import batch_bald
from dalmax_sk.selection.k_center.k_center import distance_bounds, k_center_greedy
from dalmax_sk.selection.k_means.k_means import k_means_clusters, k_means_select
from dalmax_sk.selection.k_means.seeding import k_means_plus_plus
from dalmax_sk.selection.neighbors import (
    greedy_apart,
    kth_neighbor_distances,
    near_any,
)
from dalmax_sk.selection.typical import (
    clusters_to_visit,
    most_typical,
    typicality,
)

__all__ = [
    "average_linkage",
    "bait",
    "ball_cover",
    "batch_bald",
    "clusters_to_visit",
    "distance_bounds",
    "epig_scores",
    "greedy_apart",
    "greedy_coverage",
    "k_center_greedy",
    "k_means_clusters",
    "k_means_plus_plus",
    "k_means_select",
    "kth_neighbor_distances",
    "min_distance",
    "most_typical",
    "near_any",
    "pure_ball_radius",
    "round_robin",
    "stochastic_top_n",
    "top_n",
    "typicality",
    "unit_rows",
]
