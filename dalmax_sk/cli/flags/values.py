"""Values of flags as they are read one after the other, with all mistakes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dalmax_sk.cli.flags.table import Flag, as_flag

__all__ = ["Values"]


@dataclass
class Values:
    """Values and problems.

    Attributes
    ----------
    given : dict
        The value of each flag that was given; None where it is wrong.
    problems : list of str
        All mistakes in words.
    """

    given: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def read(self, flag: Flag, text: str, name: str = "") -> None:
        """Read the value of a flag that messages call `name`."""
        self.given[flag.name] = None
        try:
            if "\0" in text:  # which can come from a config file only
                raise ValueError(f"must not hold a NUL character, got {text!r}")
            self.given[flag.name] = flag.kind.read(text)
        except ValueError as error:
            word = flag.kind.metavar if flag.is_argument else flag.word
            self.problems.append(f"{name or word} {error}")

    def join_names(self, flags: Iterable[Flag]) -> None:
        """Keep one name of each flag that has two."""
        for flag in flags:
            if not flag.same_as or flag.name not in self.given:
                continue
            value = self.given.pop(flag.name)
            other = self.given.setdefault(flag.same_as, value)
            if None not in (value, other) and value != other:
                self.problems.append(
                    f"{flag.word} {value} and {as_flag(flag.same_as)} {other} are two "
                    "names of one thing and differ; give one of them"
                )
