"""Which rows are labelled, with what, and in which order they were."""

import numpy as np

from dalmax_sk.active_learning.oracle import find_missing

__all__ = ["UNKNOWN", "LabelState", "recoded"]

UNKNOWN = -1  # code of a row whose label is not known


def recoded(codes, before, classes):
    """Return the class numbers among `classes` of codes among fewer, `before`."""
    # the last entry is that of UNKNOWN
    numbers = np.append(np.searchsorted(classes, before.astype(classes.dtype)), UNKNOWN)
    return numbers[codes]


class LabelState:
    """The labels a learner knows; the only place in the loop that holds any.

    Labels are kept as class numbers ("codes"). Rows are those of the learner's X.

    Parameters
    ----------
    n_samples : int
    classes : ndarray of shape (n_classes,)
        Sorted class labels.
    missing_label : scalar or None
        See :func:`dalmax_sk.active_learning.find_missing`.

    Attributes
    ----------
    order : ndarray of int
        Labelled rows in the order of acquisition.
    set_aside : ndarray of bool of shape (n_samples,)
        Rows that the oracle could not label.
    corrections : list of [int, int, int]
        Round, row and former class number of each label that was changed.
    """

    def __init__(self, n_samples, classes, missing_label=None):
        self.classes = classes
        self.missing_label = missing_label
        self.order = np.empty(0, dtype=np.int64)
        self.set_aside = np.zeros(n_samples, dtype=bool)
        self.corrections = []
        self._codes = np.full(n_samples, UNKNOWN, dtype=np.int64)
        self._number = {label: code for code, label in enumerate(classes.tolist())}

    def widen(self, classes):
        """Take a sorted superset of the present classes for the classes."""
        self._codes = recoded(self._codes, self.classes, classes)
        self.corrections = [
            [round_number, row, int(recoded(np.array(code), self.classes, classes))]
            for round_number, row, code in self.corrections
        ]
        self.classes = classes
        self._number = {label: code for code, label in enumerate(classes.tolist())}

    @property
    def n_samples(self):
        """Number of rows, labelled and not."""
        return len(self._codes)

    @property
    def codes(self):
        """Class numbers of the labelled rows, in the order of acquisition."""
        return self._codes[self.order]

    @property
    def y(self):
        """Labels of the labelled rows, in the order of acquisition."""
        return self.classes[self.codes]

    @property
    def candidates(self):
        """Rows that may be asked for."""
        return np.flatnonzero((self._codes == UNKNOWN) & ~self.set_aside)

    @property
    def one_class_only(self):
        """Whether all labels so far are equal although there are more classes."""
        return self.is_one_class(self.codes)

    def is_one_class(self, labels):
        """Tell whether `labels` are all equal although there are more classes."""
        return len(self.classes) > 1 and len(np.unique(labels)) < 2

    def encode(self, labels, who):
        """Return class numbers of `labels`, UNKNOWN for missing ones.

        Raises
        ------
        ValueError
            If a label is not among the classes; `who` says where it came from.
        """
        missing = find_missing(labels, self.missing_label)
        codes = np.full(len(labels), UNKNOWN, dtype=np.int64)
        known = labels[~missing].tolist()
        unknown = sorted({repr(label) for label in known if label not in self._number})
        if unknown:
            raise ValueError(
                f"{who} contains unknown labels {', '.join(unknown[:10])}; the classes "
                f"are {self.classes.tolist()}. If they are right, name them in "
                "classes=[...], or add them to a fitted learner: add_classes([...])."
            )
        codes[~missing] = [self._number[label] for label in known]
        return codes

    def add(self, rows, codes, round_number=0):
        """Keep labels: new rows go to the end of the order, known ones are corrected.

        A row with the code UNKNOWN is set aside. `round_number` is that of the first
        fit that sees a correction. Returned is whether a label is new or changed.
        """
        answered = codes != UNKNOWN
        before = self._codes[rows]
        is_new = answered & (before == UNKNOWN)
        changed = answered & ~is_new & (before != codes)
        self.corrections += [
            [round_number, row, code]
            for row, code in zip(
                rows[changed].tolist(), before[changed].tolist(), strict=True
            )
        ]
        self._codes[rows[answered]] = codes[answered]
        self.set_aside[rows] = ~answered
        self.order = np.concatenate([self.order, rows[is_new]])
        return bool(is_new.any() or changed.any())

    def as_of(self, round_number, n_labeled):
        """Return the rows and labels that the fit of an earlier round was given."""
        rows = self.order[:n_labeled]
        return rows, self.classes[self._codes_as_of(round_number)[rows]]

    def _codes_as_of(self, round_number):
        codes = self._codes.copy()
        for corrected_in, row, before in reversed(self.corrections):
            if corrected_in > round_number:
                codes[row] = before
        return codes

    def checked_rows(self, indices):
        """Return `indices` as distinct existing rows, or raise ValueError."""
        rows = np.asarray(indices)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ValueError(
                f"indices must be a 1-D array of row numbers, got shape {rows.shape} "
                f"and type {rows.dtype}."
            )
        rows = rows.astype(np.int64)
        outside = rows[(rows < 0) | (rows >= self.n_samples)]
        if outside.size:
            raise ValueError(
                f"indices {outside[:10].tolist()} are not rows of X, which has "
                f"{self.n_samples}."
            )
        values, counts = np.unique(rows, return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"indices {values[counts > 1][:10].tolist()} are repeated."
            )
        return rows

    def to_dict(self):
        """Return what a checkpoint needs to make this state again."""
        return {
            "order": self.order,
            "codes": self.codes,
            "set_aside": np.flatnonzero(self.set_aside),
            "corrections": self.corrections,
        }

    def load_dict(self, stored, y_codes, complete):
        """Take up a stored state after comparing it with the labels in y.

        Parameters
        ----------
        stored : dict
            From :meth:`to_dict`.
        y_codes : ndarray of int of shape (n_samples,)
            Class numbers of the y at hand, UNKNOWN where it has no label.
        complete : bool
            Whether `y_codes` holds every label (a simulation). Otherwise a label in y
            that the stored state does not know is a disagreement too.

        Raises
        ------
        ValueError
            If they disagree about some rows.
        """
        rows = np.array(stored["order"], dtype=np.int64)
        self.add(rows, np.array(stored["codes"], dtype=np.int64))
        self.set_aside[np.array(stored["set_aside"], dtype=np.int64)] = True
        self.corrections = stored["corrections"]
        codes = self._codes_as_of(-1)[rows]
        differ = rows[(y_codes[rows] != UNKNOWN) & (y_codes[rows] != codes)]
        if not complete:
            added = np.setdiff1d(np.flatnonzero(y_codes != UNKNOWN), rows)
            differ = np.concatenate([differ, added])
        if differ.size:
            raise ValueError(
                f"the checkpoint and y disagree about the labels of rows "
                f"{differ[:10].tolist()}. Give the y that the run began with, or "
                "choose another checkpoint_dir."
            )
