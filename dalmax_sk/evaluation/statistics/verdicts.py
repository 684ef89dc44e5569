"""The verdicts of a comparison in plain sentences."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalmax_sk.evaluation.statistics.resampling import too_few_seeds

__all__ = ["MAX_MORE_SEEDS", "Wording"]

# More seeds than that are not practical; the sentence says so.
MAX_MORE_SEEDS = 50

_TESTS = {
    "t": "paired t-test",
    "wilcoxon": "Wilcoxon's signed-rank test",
    "permutation": "sign-flip permutation test",
}


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The words and numbers that the sentences of one comparison share.

    Attributes
    ----------
    metric : str
        Name of the score.
    is_fraction : bool
        Whether scores lie in [0, 1] and are told in percent, differences in points.
    baseline : str
        The strategy compared with.
    target : float
        The score of the labels-to-target.
    target_is_final : bool
        Whether that is the baseline's own final score.
    first, last : int
        Smallest and largest number of labels.
    confidence_level, power : float
        Of the intervals and tests, and for the seeds a decision needs.
    test, correction : str
        As given to ``compare``.
    n_comparisons : int
        Strategies compared with the baseline.
    paired : bool, default=True
        Whether strategies share their seeds.
    baseline_seeds : int or None, default=None
        The baseline's number of seeds, where it may be another than a strategy's.
    """

    metric: str
    is_fraction: bool
    baseline: str
    target: float
    target_is_final: bool
    first: int
    last: int
    confidence_level: float
    power: float
    test: str
    correction: str | None
    n_comparisons: int
    paired: bool = True
    baseline_seeds: int | None = None

    def score(self, value: float) -> str:
        """Return a score with its unit."""
        return f"{100 * value:.1f} %" if self.is_fraction else f"{value:.4g}"

    def differences(self, *values: float) -> list[str]:
        """Return differences of scores with their signs, all with the same digits."""
        if not self.is_fraction:
            return [_signed(value, ".3g") for value in values]
        points = [100 * value for value in values]
        digits = 1 if max(map(abs, points)) >= 1 else 2
        return [_signed(value, f".{digits}f") for value in points]

    @property
    def unit(self) -> str:
        """Unit of a difference."""
        name = self.metric.replace("_", " ")
        return f"points of {name}" if self.is_fraction else f"of {name}"

    @property
    def test_name(self) -> str:
        """The test and its correction."""
        name = _TESTS[self.test]
        if not self.paired:
            name = "Welch's t-test and two-sample bootstrap (seeds not paired)"
        return f"{name}, {self._correction()}"

    def _correction(self) -> str:
        if self.correction is None:
            return "uncorrected"
        if self.n_comparisons == 1:
            return "one comparison"
        return (
            f"{self.correction.title()}-corrected for {self.n_comparisons} strategies"
        )

    def verdict(self, row: Mapping[str, Any]) -> str:
        """Return the sentences about one strategy.

        Parameters
        ----------
        row : mapping of str to value
            Its row of the comparison's table.

        Returns
        -------
        str
        """
        name = row["strategy"]
        if row["verdict"] == "baseline":
            return (
                f"{name} is the baseline: {self.score(row['aubc'])} on average over "
                f"{self.first:,} to {self.last:,} labels, "
                f"{self.score(row['final_score'])} at the end."
            )
        tie = {"better": "better than", "worse": "worse than"}.get(
            row["verdict"], "undecided against"
        )
        parts = [f"{name} is {tie} {self.baseline}: {self._difference(row)}."]
        if row["verdict"] == "undecided":
            parts.append(self._more_seeds(row))
        parts.append(self._labels(row))
        return " ".join(part for part in parts if part)

    def _difference(self, row: Mapping[str, Any]) -> str:
        mean, low, high = self.differences(
            row["aubc_difference"], row["difference_low"], row["difference_high"]
        )
        p = row["p_adjusted"]
        if np.isnan(p):
            varies = "the difference is" if self.paired else "the areas are"
            tested = f"no test: {varies} the same at all seeds"
        else:
            value = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
            # 0.0496 must not read as 0.05
            value = f"p = {p:.3g}" if 0.04 < p < 0.06 else value
            tested = f"{value}, {self._correction()}"
            if not self.paired:
                tested += ", seeds not paired: Welch's t-test, two-sample bootstrap"
        return (
            f"{mean} {self.unit} on average over {self.first:,} to {self.last:,} "
            f"labels ({100 * self.confidence_level:g} % interval {low} to {high}; "
            f"{tested})"
        )

    def _more_seeds(self, row: Mapping[str, Any]) -> str:
        more = row["more_seeds"]
        if np.isnan(more):
            if abs(row["aubc_difference"]) <= 1e-12:
                return "Both areas are the same at all seeds."
            return "Without variation between seeds there is no t-test."
        excludes_zero = row["difference_low"] > 0 or row["difference_high"] < 0
        remark = ""
        if excludes_zero and row["p_value"] < 1 - self.confidence_level:
            remark = (
                "The interval speaks of this pair alone and leaves out 0; among "
                f"{self.n_comparisons} strategies that is not enough. "
            )
        if math.isinf(more):
            return (
                f"{remark}If the difference stays what it is, it takes more than "
                f"{MAX_MORE_SEEDS} more seeds to decide it, more than is practical: "
                "treat the two as equal."
            )
        seeds = "1 more seed" if more == 1 else f"{more:,.0f} more seeds"
        if not self.paired:
            seeds += " of each"
        return (
            f"{remark}If the difference stays what it is, about {seeds} would decide "
            f"it (with a chance of {100 * self.power:g} %)."
        )

    def _labels(self, row: Mapping[str, Any]) -> str:
        labels, saved = row["labels_to_target"], row["label_saving"]
        target = self.score(self.target)
        if self.target_is_final:
            target = f"{self.baseline}'s final {target}"
        if np.isnan(saved):
            return f"Neither reaches {target} within {self.last:,} labels."
        if math.isinf(labels):
            return f"It does not reach {target} within {self.last:,} labels."
        reached = f"It reaches {target} with {labels:,.0f} labels"
        if labels <= self.first:
            reached = f"It is at {target} with the first {labels:,.0f} labels already"
        if math.isinf(saved):
            return (
                f"{reached}; {self.baseline} does not within {self.last:,}, so at "
                f"least {self.last - labels:,.0f} labels are saved."
            )
        if round(saved) == 0:
            return f"{reached}; {self.baseline} too."
        share = f"{100 * abs(row['saving_ratio']):.0f} %"
        word = "fewer" if saved > 0 else "more"
        return (
            f"{reached}, {abs(saved):,.0f} {word} than {self.baseline} ({share}; "
            f"{self._saving_interval(row)})."
        )

    def _saving_interval(self, row: Mapping[str, Any]) -> str:
        low, high = row["saving_low"], row["saving_high"]
        if np.isnan(low):
            # with more resamples of as many seeds there may be one
            n = min(row["n_seeds"], self.baseline_seeds or row["n_seeds"])
            few = too_few_seeds(n, self.confidence_level)
            return f"too few {'seeds' if few else 'resamples'} for an interval"
        name = f"{100 * self.confidence_level:g} % interval"
        if 0 <= low and np.isfinite(high):
            return f"{name} {low:,.0f} to {high:,.0f} fewer"
        if high <= 0 and np.isfinite(low):
            return f"{name} {-high:,.0f} to {-low:,.0f} more"
        ends = []
        for end in (low, high):
            if np.isneginf(end):
                ends.append("not reaching it")
            elif np.isposinf(end):
                ends.append(f"{self.baseline} not reaching it")
            else:
                word = "fewer" if end >= 0 else "more"
                ends.append(f"{abs(end):,.0f} {word}")
        return f"{name} from {ends[0]} to {ends[1]}"


def _signed(value: float, spec: str) -> str:
    """Return a number with its sign, a true minus, and no sign at zero."""
    text = format(abs(value), spec)
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text
