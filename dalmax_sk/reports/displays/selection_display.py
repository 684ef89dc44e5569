"""Figure of the picks of each round among the embeddings."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dalmax_sk.pool import Pool
from dalmax_sk.reports.displays.display_base import (
    FigureDisplay,
    line_style,
    literal,
    shorten,
)

__all__ = ["SelectionDisplay"]

# More classes cannot be told apart by colour and marker.
_MAX_CLASSES = 30
# Up to this number of rounds have an entry each in the legend; more get a bar.
_MAX_IN_LEGEND = 8

_Projection = str | Callable[[NDArray[Any]], ArrayLike] | Any


class SelectionDisplay(FigureDisplay):
    """The picks of every round among all candidates, in two dimensions.

    Candidates that were not picked are grey, the initial set is drawn as crosses, and
    the picks are coloured by round (dark to light) or by class.

    Parameters
    ----------
    points : array-like of float of shape (n, 2)
        Where each row lies.
    picked : sequence of array-like of int
        For each round, the rows of `points` that were picked.
    initial : array-like of int, default=()
        Rows that were labelled at the start.
    y : array-like of shape (n,), default=None
        Class of each row, for ``plot(color_by="class")``.
    rounds : sequence of int, default=None
        The rounds' numbers; counted from 1 if None.
    axis_names : (str, str), default=("Coordinate 1", "Coordinate 2")
        Names of the coordinates.
    n_left_out : int, default=0
        Candidates that are not among `points`, to keep the figure light; the legend
        says so.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn on.
    figure_ : matplotlib Figure
        The figure that holds them.
    pool_ : matplotlib PathCollection
        The candidates that were not picked.
    picks_ : list of matplotlib PathCollection
        The picks, one entry a round, or a class.

    See Also
    --------
    SelectionDisplay.from_estimator : Of a fitted learner.
    SelectionDisplay.from_arrays : Of points that are there already.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from dalmax_sk import ActiveLearningClassifier
    >>> from dalmax_sk.reports import SelectionDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> learner = ActiveLearningClassifier(
    ...     strategy="core_set_selection",
    ...     n_initial=10,
    ...     query_size=5,
    ...     n_rounds=2,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> display = SelectionDisplay.from_estimator(learner).plot()
    >>> display.ax_.get_xlabel()
    'First principal component (92 % of the variance)'
    >>> [len(rows) for rows in display.picked]
    [5, 5]
    """

    def __init__(
        self,
        points: ArrayLike,
        picked: Sequence[ArrayLike],
        *,
        initial: ArrayLike = (),
        y: ArrayLike | None = None,
        rounds: Sequence[int] | None = None,
        axis_names: tuple[str, str] = ("Coordinate 1", "Coordinate 2"),
        n_left_out: int = 0,
    ) -> None:
        self.points = points
        self.picked = picked
        self.initial = initial
        self.y = y
        self.rounds = rounds
        self.axis_names = axis_names
        self.n_left_out = n_left_out

    @classmethod
    def from_arrays(
        cls,
        points: ArrayLike,
        picked: Sequence[ArrayLike],
        *,
        initial: ArrayLike = (),
        y: ArrayLike | None = None,
        axis_names: tuple[str, str] = ("Coordinate 1", "Coordinate 2"),
    ) -> Self:
        """Take points of two dimensions, and which of them were picked when.

        Parameters
        ----------
        points : array-like of float of shape (n, 2)
            Where each row lies.
        picked : sequence of array-like of int
            For each round, rows of `points`.
        initial : array-like of int, default=()
            Rows that were labelled at the start.
        y : array-like of shape (n,), default=None
            Class of each row.
        axis_names : (str, str), default=("Coordinate 1", "Coordinate 2")
            Names of the coordinates.

        Returns
        -------
        SelectionDisplay

        Raises
        ------
        ValueError
            If the points are not of two dimensions and finite, or a row does not exist
            or is picked twice.
        """
        points = _checked_points(points, "points")
        n = len(points)
        rows = [_checked_rows(part, n, f"picked[{i}]") for i, part in enumerate(picked)]
        start = _checked_rows(initial, n, "initial")
        taken = np.concatenate([start, *rows])
        values, counts = np.unique(taken, return_counts=True)
        if len(repeated := values[counts > 1]):
            raise ValueError(
                f"A row can be labelled once; {len(repeated)} occur more often in "
                f"picked and initial, among them {repeated[:5].tolist()}."
            )
        if y is not None and len(np.asarray(y)) != n:
            raise ValueError(
                f"y has {len(np.asarray(y))} classes for {n} points; one a point is "
                "expected."
            )
        return cls(points, rows, initial=start, y=y, axis_names=axis_names)

    @classmethod
    def from_estimator(
        cls,
        learner: Any,
        X: Any = None,
        *,
        y: ArrayLike | None = None,
        embeddings: ArrayLike | None = None,
        projection: _Projection = "pca",
        max_points: int = 20_000,
        random_state: Any = 0,
    ) -> Self:
        """Take the picks of a fitted learner, among its embeddings.

        Parameters
        ----------
        learner : ActiveLearningClassifier
            Fitted.
        X : array-like of shape (n, ...), default=None
            The data that the learner was fitted on; None takes the learner's own.
        y : array-like of shape (n,), default=None
            Class of each row, for ``plot(color_by="class")``.
        embeddings : array-like of shape (n, d), default=None
            A vector a row of X. None takes those of the last model (for a plain
            classifier, the rows of X themselves).
        projection : "pca", transformer or callable, default="pca"
            How d dimensions become two: the first two principal components, an object
            with ``fit_transform`` such as ``TSNE()``, or a function of an array (n, d)
            that returns one of shape (n, 2).
        max_points : int, default=20_000
            Of more rows, all labelled ones and a random part of the others are
            projected and drawn.
        random_state : int, RandomState instance or None, default=0
            Source of that random part.

        Returns
        -------
        SelectionDisplay

        Raises
        ------
        MissingCapabilityError
            If the model has no embeddings and none are given.
        ValueError
            If `embeddings` or the projection are not of the shapes above or not finite.
        """
        check_is_fitted(learner, "history_")
        X = learner._X if X is None else X
        if embeddings is None:
            pool = Pool(learner.estimator_, X, [], [], classes=learner.classes_)
            pool.prepare(["embeddings"], "SelectionDisplay")
            embeddings = pool.embeddings
        vectors = np.asarray(embeddings)
        picked, initial = learner.query_history_, learner.initial_indices_
        labelled = np.concatenate([initial, *picked]).astype(np.int64)
        n = learner._labels.n_samples
        if vectors.ndim != 2 or len(vectors) != n:
            raise ValueError(
                f"embeddings must have shape ({n}, d), one vector for each row that "
                f"the learner was fitted on; got {vectors.shape}."
            )
        kept = _kept_rows(n, labelled, max_points, check_random_state(random_state))
        place = np.full(n, -1)
        place[kept] = np.arange(len(kept))  # a row's place among the kept ones
        points, axis_names = _project(vectors[kept], projection)
        display = cls.from_arrays(
            points,
            [place[rows] for rows in picked],
            initial=place[initial],
            y=None if y is None else np.asarray(y)[kept],
            axis_names=axis_names,
        )
        display.n_left_out = n - len(kept)
        return display

    def plot(self, ax: Axes | None = None, *, color_by: str = "round") -> Self:
        """Draw candidates, initial set and picks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure if None.
        color_by : {"round", "class"}, default="round"
            What colours the picks; classes differ in markers too.

        Returns
        -------
        SelectionDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there are no classes to colour by, or more than thirty.
        """
        if color_by not in ("round", "class"):
            raise ValueError(f'color_by must be "round" or "class", got {color_by!r}.')
        classes = self._classes() if color_by == "class" else None
        ax = self._set_axes(ax, (7.5, 5))
        points = np.asarray(self.points, dtype=float)
        initial = np.asarray(self.initial, dtype=np.int64)
        rows = [np.asarray(part, dtype=np.int64) for part in self.picked]
        self._draw_pool(ax, points, np.concatenate([initial, *rows]))
        # many picks hide one another unless they are small
        size = float(np.clip(6000 / max(1, sum(map(len, rows))), 9, 40))
        self.picks_: list[PathCollection] = []
        if classes is None:
            self._draw_rounds(ax, points, rows, size)
        else:
            picked = np.concatenate([*rows, initial[:0]])
            self._draw_classes(ax, points, picked, classes, size)
        if len(initial):
            ax.scatter(
                points[initial, 0],
                points[initial, 1],
                marker="x",
                s=max(25.0, size),
                color="black",
                linewidths=1.1,
                label=f"initial set ({len(initial):,})",
            )
        ax.set_xlabel(self.axis_names[0])
        ax.set_ylabel(self.axis_names[1])
        # next to the plot, or below it where the bar of rounds is next to it
        if color_by == "round" and len(rows) > _MAX_IN_LEGEND:
            place: dict[str, Any] = {
                "loc": "upper center",
                "bbox_to_anchor": (0.5, -0.13),
                "ncols": 2,
            }
        else:
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}
        legend = ax.legend(frameon=False, fontsize=9, **place)
        literal([ax.xaxis.label, ax.yaxis.label, *legend.get_texts()])
        return self

    def _classes(self) -> NDArray[Any]:
        """Return the classes of the picks, sorted."""
        if self.y is None:
            raise ValueError(
                'color_by="class" needs the classes of the rows; give y= when the '
                "display is made."
            )
        rows = [np.asarray(part, dtype=np.int64) for part in self.picked]
        picked = np.concatenate([*rows, np.empty(0, dtype=np.int64)])
        classes = np.unique(np.asarray(self.y)[picked])
        if len(classes) > _MAX_CLASSES:
            raise ValueError(
                f"The picks are of {len(classes)} classes, and no more than "
                f'{_MAX_CLASSES} can be told apart by colour; use color_by="round".'
            )
        return classes

    def _draw_pool(
        self, ax: Axes, points: NDArray[Any], labelled: NDArray[Any]
    ) -> None:
        is_free = np.ones(len(points), dtype=bool)
        is_free[labelled] = False
        n_free = int(is_free.sum())
        name = f"not picked ({n_free:,})"
        if self.n_left_out:
            name = f"not picked ({n_free:,} of\n{n_free + self.n_left_out:,} shown)"
        self.pool_ = ax.scatter(
            points[is_free, 0],
            points[is_free, 1],
            s=float(np.clip(40_000 / max(1, n_free), 2, 16)),
            color="0.75",
            linewidths=0,
            rasterized=True,  # thousands of dots would make a PDF slow
            label=name,
        )

    def _draw_rounds(
        self, ax: Axes, points: NDArray[Any], rows: list[NDArray[Any]], size: float
    ) -> None:
        if not rows:
            return
        numbers = range(1, len(rows) + 1) if self.rounds is None else self.rounds
        # one colour a round; not to the end of the map, whose yellow is faint on white
        colors = colormaps["viridis"](np.linspace(0, 0.93, len(rows)))
        use_bar = len(rows) > _MAX_IN_LEGEND
        for number, part, color in zip(numbers, rows, colors, strict=True):
            drawn = ax.scatter(
                points[part, 0],
                points[part, 1],
                s=size,
                color=[color],
                edgecolors="black",
                linewidths=0.3,
                label=None if use_bar else f"round {number} ({len(part):,})",
            )
            self.picks_.append(drawn)
        if use_bar:
            # a stripe a round, the numbers at the middles of their stripes
            norm = BoundaryNorm(np.arange(len(rows) + 1) - 0.5, len(rows))
            mappable = ScalarMappable(norm, ListedColormap(colors))
            ticks = list(range(0, len(rows), -(-len(rows) // 10)))
            bar = self.figure_.colorbar(mappable, ax=ax, ticks=ticks, pad=0.02)
            bar.ax.set_yticklabels([str(numbers[tick]) for tick in ticks])
            bar.ax.minorticks_off()
            bar.set_label("Round of the pick")

    def _draw_classes(
        self,
        ax: Axes,
        points: NDArray[Any],
        rows: NDArray[Any],
        classes: NDArray[Any],
        size: float,
    ) -> None:
        labels = np.asarray(self.y)[rows]
        for place, name in enumerate(classes):
            style = line_style(place)
            part = rows[labels == name]
            drawn = ax.scatter(
                points[part, 0],
                points[part, 1],
                s=size,
                color=style["color"],
                marker=style["marker"],
                edgecolors="black",
                linewidths=0.3,
                label=f"{shorten(str(name), 24)} ({len(part):,})",
            )
            self.picks_.append(drawn)


def _kept_rows(
    n: int, labelled: NDArray[Any], max_points: int, rng: np.random.RandomState
) -> NDArray[Any]:
    """Return the rows to draw, ascending: the labelled ones, and a part of the rest."""
    if n <= max_points:
        return np.arange(n)
    rest = np.setdiff1d(np.arange(n), labelled)
    room = max(0, max_points - len(labelled))
    return np.sort(np.concatenate([labelled, rng.choice(rest, room, replace=False)]))


def _project(
    vectors: NDArray[Any], projection: _Projection
) -> tuple[NDArray[Any], tuple[str, str]]:
    """Return points (n, 2) and the names of their coordinates."""
    if isinstance(projection, str):
        if projection != "pca":
            raise ValueError(
                'projection must be "pca", an object with fit_transform or a function; '
                f"got {projection!r}."
            )
        if min(vectors.shape) < 2:
            raise ValueError(
                "Two principal components need at least 2 rows and 2 features; the "
                f"embeddings have shape {vectors.shape}."
            )
        pca = PCA(2, random_state=0)
        points = pca.fit_transform(vectors)
        first, second = (
            f"{which} principal component ({100 * share:.0f} % of the variance)"
            for which, share in zip(
                ("First", "Second"), pca.explained_variance_ratio_, strict=True
            )
        )
        return _checked_points(points, "the principal components"), (first, second)
    if hasattr(projection, "fit_transform"):
        name = type(projection).__name__
        points = projection.fit_transform(vectors)
    elif callable(projection):
        name = getattr(projection, "__name__", type(projection).__name__)
        points = projection(vectors)
    else:
        raise ValueError(
            'projection must be "pca", an object with fit_transform or a function; got '
            f"{type(projection).__name__}."
        )
    points = _checked_points(points, f"projection {name}")
    if len(points) != len(vectors):
        raise ValueError(
            f"projection {name} returned {len(points)} points for {len(vectors)} rows."
        )
    return points, (f"{name}, coordinate 1", f"{name}, coordinate 2")


def _checked_points(points: ArrayLike, name: str) -> NDArray[Any]:
    checked = np.asarray(points, dtype=float)
    if checked.ndim != 2 or checked.shape[1] != 2:
        raise ValueError(
            f"{name} must give points of shape (n, 2); got shape {checked.shape}."
        )
    n_bad = int((~np.isfinite(checked)).any(axis=1).sum())
    if n_bad:
        raise ValueError(
            f"{name} must give finite points; {n_bad} of {len(checked)} are not."
        )
    return checked


def _checked_rows(rows: ArrayLike, n: int, name: str) -> NDArray[Any]:
    checked = np.asarray(rows)
    if checked.size == 0:
        return np.empty(0, dtype=np.int64)
    if checked.ndim != 1 or checked.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a sequence of row numbers; got an array of shape "
            f"{checked.shape} and type {checked.dtype}."
        )
    outside = checked[(checked < 0) | (checked >= n)]
    if len(outside):
        raise ValueError(
            f"{name} holds row {outside[0]}; the points have rows 0 to {n - 1}."
        )
    return checked.astype(np.int64)
