"""Numbers, times, sizes and names of scores as text."""

import math

__all__ = [
    "file_size",
    "fraction",
    "metric_name",
    "number",
    "score_words",
    "seconds",
]


# No line is broken between a number and its unit.
_SPACE = "\N{NO-BREAK SPACE}"


def fraction(value: float | None, digits: int = 1) -> str:
    r"""Return a fraction in percent, a dash for None or NaN.

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import fraction
    >>> fraction(0.8667), fraction(None)
    ('86.7\xa0%', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.{digits}f}{_SPACE}%"


def number(value: float | None) -> str:
    """Return a number with four significant digits, a dash for None or NaN.

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import number
    >>> number(0.99931), number(12345678), number(3)
    ('0.9993', '12,345,678', '3')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.4g}"


def score_words(value: float | None) -> str:
    r"""Return a score: in percent if it lies in [0, 1].

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import score_words
    >>> score_words(0.75), score_words(-1.5)
    ('75.00\xa0%', '-1.5')
    """
    if value is not None and not 0 <= value <= 1:
        return number(value)
    return fraction(value, 2)


def seconds(value: float | None) -> str:
    r"""Return a time in the unit that fits it, a dash for None.

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import seconds
    >>> seconds(0.0123), seconds(75.0), seconds(7500)
    ('0.012\xa0s', '1\xa0min 15\xa0s', '2\xa0h 5\xa0min')
    """
    if value is None or math.isnan(value):
        return "–"
    if value < 59.95:
        return f"{value:.{3 if value < 1 else 1}f}{_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {rest}{_SPACE}s"
    return f"{minutes // 60}{_SPACE}h {minutes % 60}{_SPACE}min"


def file_size(value: float | None) -> str:
    r"""Return a number of bytes in decimal units, a dash for None.

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import file_size
    >>> file_size(512), file_size(939089920)
    ('512\xa0B', '939\xa0MB')
    """
    if value is None or math.isnan(value):
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:{'.0f' if value >= 10 else '.2g'}}{_SPACE}{unit}"
        value /= 1000
    raise AssertionError("the last unit takes everything")


def metric_name(name: str) -> str:
    """Return the name of a score as words.

    Examples
    --------
    >>> from dalmax_sk.reports.page.number_format import metric_name
    >>> metric_name("f1_macro")
    'F1 macro'
    """
    words = name.replace("_", " ")
    return words.replace("f1", "F1").replace("roc auc", "ROC AUC")
