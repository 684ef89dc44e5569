"""Figures of a comparison: who beats whom, and which ranks are not told apart."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from dalmax_sk.evaluation.comparison import Comparison
from dalmax_sk.reports.displays.display_base import FigureDisplay, literal, shorten

__all__ = ["CriticalDifferenceDisplay", "PenaltyMatrixDisplay"]

_MAX_NAME = 32


class PenaltyMatrixDisplay(FigureDisplay):
    """At how many budgets each strategy beats each other one.

    A dark row beats many, a dark column is beaten often. The row below the matrix holds
    the columns' means: the lower, the better. Strategies are in its order.

    Parameters
    ----------
    penalty_matrix : array-like of float of shape (n_strategies, n_strategies)
        Entry (i, j): share of the budgets at which i beats j, in [0, 1].
    strategies : sequence of str of length n_strategies
        Their names.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    order_ : list of str
        The strategies as drawn, the least beaten first.

    References
    ----------
    .. [1] J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, "Deep
       Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020.
       https://arxiv.org/abs/1906.03671

    Examples
    --------
    >>> from dalmax_sk.reports import PenaltyMatrixDisplay
    >>> wins = [[0.0, 0.0], [0.75, 0.0]]
    >>> display = PenaltyMatrixDisplay(wins, ["random_sampling", "badge"]).plot()
    >>> display.order_
    ['badge', 'random_sampling']
    """

    def __init__(self, penalty_matrix: ArrayLike, strategies: Sequence[str]) -> None:
        self.penalty_matrix = penalty_matrix
        self.strategies = strategies

    @classmethod
    def from_comparison(cls, comparison: Comparison) -> Self:
        """Take the matrix of a comparison.

        Parameters
        ----------
        comparison : Comparison
            Result of :func:`~dalmax_sk.evaluation.compare`.

        Returns
        -------
        PenaltyMatrixDisplay
        """
        matrix = comparison.penalty_matrix
        return cls(matrix.to_numpy(), list(matrix.columns))

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        PenaltyMatrixDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the matrix is not square, or of another size than the names.
        """
        wins = np.asarray(self.penalty_matrix, dtype=float)
        k = len(self.strategies)
        if wins.shape != (k, k) or k < 2:
            raise ValueError(
                f"The penalty matrix has shape {wins.shape}; {k} strategies need "
                f"({k}, {k}), and at least two."
            )
        means = wins.sum(axis=0) / (k - 1)
        order = np.argsort(means, kind="stable")
        self.order_ = [self.strategies[i] for i in order]
        # below the matrix a gap of half a cell, then the means
        wins, means = wins[np.ix_(order, order)], means[order]
        names = [shorten(name, _MAX_NAME) for name in self.order_]
        cell = 0.62 if k <= 10 else 0.36
        room = max(map(len, names)) * 0.085
        side = cell * k
        # The words below the matrix and the colour bar need their room, however few
        # the cells.
        ax = self._set_axes(
            ax, (max(side, 2.4) + room + 2.2, max(side, 1.2) + room + 2)
        )
        edges = np.arange(k + 1)
        shared: dict[str, Any] = {
            "cmap": "Blues",
            "vmin": 0,
            "vmax": 100,
            "edgecolors": "white",
            "linewidth": 0.8,
        }
        hidden = np.where(np.eye(k, dtype=bool), np.nan, 100 * wins)
        mesh = ax.pcolormesh(edges, edges, hidden, **shared)
        ax.pcolormesh(edges, [k + 0.5, k + 1.5], 100 * means[None], **shared)
        size = 9 if k <= 10 else 7
        for i in range(k):
            self._write(ax, i + 0.5, k + 1, means[i], size, bold=True)
            for j in range(k):
                if i == j:
                    # nobody beats itself: not a result, so not white
                    ax.add_patch(Rectangle((i, i), 1, 1, color="0.9", linewidth=0))
                else:
                    self._write(ax, j + 0.5, i + 0.5, wins[i, j], size)
        self._label(ax, names, k)
        self.figure_.colorbar(
            mesh, ax=ax, label="Budgets at which the row beats the column (%)"
        )
        return self

    def _write(
        self, ax: Axes, x: float, y: float, share: float, size: int, bold: bool = False
    ) -> None:
        """Write a share in percent into a cell; a zero is left out."""
        if share == 0 and not bold:
            return
        ax.text(
            x,
            y,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=size,
            fontweight="bold" if bold else "normal",
            color="white" if share > 0.55 else "black",
        )

    def _label(self, ax: Axes, names: Sequence[str], k: int) -> None:
        centres = np.arange(k) + 0.5
        ax.set_xlim(0, k)
        ax.set_ylim(k + 1.5, 0)
        ax.set_aspect("equal")
        ax.set_xticks(centres, labels=names, rotation=90)
        ax.set_yticks([*centres, k + 1], labels=[*names, "mean of column"])
        literal([*ax.get_xticklabels(), *ax.get_yticklabels()])
        ax.tick_params(length=0, labelsize=9 if k <= 10 else 8)
        ax.spines[:].set_visible(False)
        ax.set_ylabel("beats …")
        ax.set_xlabel("… is beaten")


class CriticalDifferenceDisplay(FigureDisplay):
    """Mean ranks on a line; strategies that share a bar are not told apart.

    Best ranks are on the left. The bar above the scale shows the critical difference
    of Nemenyi's test [1]_.

    Parameters
    ----------
    mean_ranks : array-like of float of shape (n_strategies,)
        Mean over the seeds; 1 is best.
    strategies : sequence of str of length n_strategies
        Their names.
    critical_difference : float
        By how much mean ranks must differ to be told apart.
    groups : sequence of sequence of str
        Sets of strategies that are not told apart, each two at least.
    note : str, default=None
        A line of text below the diagram.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    bars_ : list of matplotlib Line2D
        The bar of each group.

    References
    ----------
    .. [1] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
       Journal of Machine Learning Research 7 (2006).
       https://www.jmlr.org/papers/v7/demsar06a.html

    Examples
    --------
    >>> from dalmax_sk.reports import CriticalDifferenceDisplay
    >>> display = CriticalDifferenceDisplay(
    ...     [2.8, 1.2, 2.0], ["random_sampling", "badge", "bait"], 1.0,
    ...     [["badge", "bait"], ["bait", "random_sampling"]],
    ... ).plot()
    >>> [bar.get_xdata().tolist() for bar in display.bars_]
    [[1.2, 2.0], [2.0, 2.8]]
    """

    def __init__(
        self,
        mean_ranks: ArrayLike,
        strategies: Sequence[str],
        critical_difference: float,
        groups: Sequence[Sequence[str]],
        *,
        note: str | None = None,
    ) -> None:
        self.mean_ranks = mean_ranks
        self.strategies = strategies
        self.critical_difference = critical_difference
        self.groups = groups
        self.note = note

    @classmethod
    def from_comparison(cls, comparison: Comparison) -> Self:
        """Take the ranks of a comparison.

        Parameters
        ----------
        comparison : Comparison
            Result of :func:`~dalmax_sk.evaluation.compare`.

        Returns
        -------
        CriticalDifferenceDisplay
        """
        if not comparison.paired:
            raise ValueError(
                "The strategies were compared with paired=False: they share no seeds, "
                "so they have no ranks. compare(paired=True) ranks them."
            )
        ranks = comparison.ranks.mean()
        note = f"Ranks of the area under the curve, {len(comparison.ranks)} seeds"
        if not np.isnan(comparison.friedman_p):
            note += f"; all alike (Friedman): p = {comparison.friedman_p:.2g}"
        return cls(
            ranks.to_numpy(),
            list(ranks.index),
            comparison.critical_difference,
            comparison.groups,
            note=note,
        )

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.

        Returns
        -------
        CriticalDifferenceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there are not as many ranks as strategies, or fewer than two.
        """
        ranks = np.asarray(self.mean_ranks, dtype=float)
        k = len(self.strategies)
        if ranks.shape != (k,) or k < 2:
            raise ValueError(
                f"mean_ranks has shape {ranks.shape}; {k} strategies need ({k},), and "
                "at least two."
            )
        order = np.argsort(ranks, kind="stable")
        rank_of = dict(zip(self.strategies, ranks.tolist(), strict=True))
        levels = self._levels(rank_of)
        # Downwards, in lines of text: the scale at 0, the bars, then the names.
        first_name = 1.2 + 0.5 * (max(levels, default=-1) + 1)
        n_left = (k + 1) // 2
        bottom = first_name + n_left
        ax = self._set_axes(ax, (9.0, 0.27 * (bottom + 3.5)))
        # Room for the names on both sides, in ranks.
        span = k - 1
        ax.set_xlim(1 - 0.45 * span, k + 0.45 * span)
        ax.set_ylim(bottom + 0.6, -3.2)
        ax.axis("off")
        self._draw_scale(ax, k)
        for place, i in enumerate(order):
            left = place < n_left
            # The outermost ranks have the shortest way down: their names come first.
            row = place if left else k - 1 - place
            self._draw_name(ax, i, ranks[i], first_name + row, left, k)
        self.bars_ = []
        for group, level in zip(self.groups, levels, strict=True):
            members = [rank_of[name] for name in group]
            (bar,) = ax.plot(
                [min(members), max(members)],
                [0.7 + 0.5 * level] * 2,
                color="black",
                linewidth=4,
                solid_capstyle="round",
            )
            self.bars_.append(bar)
        if self.note is not None:
            ax.text(
                (1 + k) / 2, bottom + 0.5, self.note, ha="center", va="top", fontsize=9
            )
        return self

    def _levels(self, rank_of: dict[str, float]) -> list[int]:
        """Return the height of each group's bar, so that no two touch."""
        free_from: list[float] = []  # one entry a level: where its last bar ends
        gap = 0.02 * (len(rank_of) - 1)
        levels = []
        for group in self.groups:
            start = min(rank_of[name] for name in group)
            level = next(
                (n for n, end in enumerate(free_from) if end + gap < start),
                len(free_from),
            )
            if level == len(free_from):
                free_from.append(start)
            free_from[level] = max(rank_of[name] for name in group)
            levels.append(level)
        return levels

    def _draw_scale(self, ax: Axes, k: int) -> None:
        ax.plot([1, k], [0, 0], color="black", linewidth=1)
        step = max(1, round(k / 15))
        for rank in range(1, k + 1, step):
            ax.plot([rank, rank], [0, -0.3], color="black", linewidth=1)
            ax.text(rank, -0.4, str(rank), ha="center", va="bottom", fontsize=9)
        ax.text(1 - 0.03 * (k - 1), 0, "best", ha="right", va="center", fontsize=9)
        ax.text(k + 0.03 * (k - 1), 0, "worst", ha="left", va="center", fontsize=9)
        difference = self.critical_difference
        end = 1 + difference
        ax.plot([1, end], [-2.0, -2.0], color="black", linewidth=1.5, marker="|")
        words = f"critical difference {difference:.2f}"
        # Longer than the scale with few seeds: the words are over its middle then.
        middle = (1 + min(end, k)) / 2
        ax.text(middle, -2.3, words, ha="center", va="bottom", fontsize=9)

    def _draw_name(
        self, ax: Axes, i: int, rank: float, row: float, left: bool, k: int
    ) -> None:
        edge = 1 - 0.04 * (k - 1) if left else k + 0.04 * (k - 1)
        ax.plot([rank, rank, edge], [0, row, row], color="0.4", linewidth=0.8)
        name = shorten(self.strategies[i], _MAX_NAME)
        text = f"{name}  {rank:.2f}" if left else f"{rank:.2f}  {name}"
        shift = -0.01 * (k - 1) if left else 0.01 * (k - 1)
        literal(
            [
                ax.text(
                    edge + shift,
                    row,
                    text,
                    ha="right" if left else "left",
                    va="center",
                    fontsize=9,
                )
            ]
        )
