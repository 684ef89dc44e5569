"""The flags of a run as one checked, comparable object."""

import math
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.table import FLAGS, Flag, as_flag, flags_of

__all__ = ["CompareSettings", "Settings", "check_config", "digits_defaults"]


def digits_defaults(command: str) -> dict[str, Any]:
    """Return the defaults of a command that are others for the embedded digits."""
    flags = flags_of(command)
    return {flag.name: flag.digits for flag in flags if flag.digits is not None}


class Settings(SimpleNamespace):
    """The settings of ``train-al``; all of them are kept in ``run.json``.

    Each setting of the table of flags is an attribute.

    Parameters
    ----------
    **values : object
        Settings; those left out have the defaults of the table.
    """

    command: ClassVar[str] = "train-al"

    def __init__(self, **values: Any) -> None:
        flags = self.flags()
        unknown = sorted(values.keys() - flags.keys())
        if unknown:
            raise TypeError(f"{self.command} has no settings {unknown}")
        defaults = {name: flag.default for name, flag in flags.items()}
        super().__init__(**(defaults | values))

    @classmethod
    def flags(cls) -> dict[str, Flag]:
        """Return the flags that are settings, in the order of ``run.json``."""
        found = [flag for flag in FLAGS if cls.command in flag.commands]
        return {flag.name: flag for flag in found if flag.is_setting}

    @property
    def uses_digits(self) -> bool:
        """Whether the images are the embedded digits."""
        return self.dir_train is None

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict, in the order of the table."""
        return dict(vars(self))

    def parameters(self, estimator: Literal["net", "learner"]) -> dict[str, Any]:
        """Return the parameters that the settings set.

        Parameters
        ----------
        estimator : {"net", "learner"}
            Of ``CNNClassifier``, or of ``ActiveLearningClassifier``.

        Returns
        -------
        dict
        """
        found = {}
        for name, flag in self.flags().items():
            parameter, value = getattr(flag, estimator), getattr(self, name)
            if parameter and value is not None:
                found[parameter] = tuple(value) if isinstance(value, list) else value
        return found

    @classmethod
    def from_flags(cls, given: Mapping[str, Any]) -> Self:
        """Make the settings of a new run.

        Parameters
        ----------
        given : dict
            The flags that were given, as
            :func:`~dalmax_sk.cli.flags.command_line.read_flags` returns them.

        Returns
        -------
        Settings
        """
        defaults: dict[str, Any] = {"dir_results": os.path.abspath("results")}
        if "dir_train" not in given:
            defaults |= digits_defaults(cls.command)
        if "test_size" in given:
            defaults.pop("n_initial", None)
        values = defaults | dict(given)
        if values.get("n_initial") is None:
            values.setdefault("test_size", 0.9)
        return cls(**values)

    @classmethod
    def from_run(cls, config: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        """Take the settings of the run to resume; a flag that differs is an error.

        Parameters
        ----------
        config : dict
            ``"config"`` of the run's ``run.json``.
        given : dict
            The flags that were given; what is left out is taken from the run.

        Returns
        -------
        Settings

        Raises
        ------
        UsageError
            If given flags differ from the run's; all are named with both values.
        """
        differing = cls.differing(config, given)
        if differing:
            raise UsageError(
                "--resume goes on with the settings of the run, but "
                + "; ".join(differing)
                + ". Leave these flags out to go on, or start anew with --overwrite or "
                "another --dir-results."
            )
        return cls(**{**config, **given})

    @classmethod
    def differing(
        cls, config: Mapping[str, Any], given: Mapping[str, Any]
    ) -> list[str]:
        """Return in words which settings differ from those of a run.

        Parameters
        ----------
        config : dict
            ``"config"`` of the run's ``run.json``.
        given : dict
            The settings to compare with.

        Returns
        -------
        list of str
            Each with both values.

        Raises
        ------
        UsageError
            If the run was written by a version that has other settings.
        """
        flags = cls.flags()
        if config.keys() != flags.keys():
            raise UsageError(
                "The run was written by another version of dalmax_sk: the settings "
                f"{sorted(config.keys() ^ flags.keys())} are not in both. Resume with "
                "that version, or start anew with --overwrite."
            )
        check_config(config, flags)
        return [
            f"{as_flag(name)} was {_shown(config[name])}, now {_shown(value)}"
            for name, value in given.items()
            if not flags[name].may_change and config[name] != value
        ]

    def describe_short_pool(self, n_pool: int) -> str | None:
        """Return in words that the images run out before the rounds, or None.

        Parameters
        ----------
        n_pool : int
            Images that start unlabelled.
        """
        wanted = self.iterations * self.query_size
        if wanted <= n_pool:
            return None
        n_rounds = -(-n_pool // self.query_size)
        last = n_pool - max(0, n_rounds - 1) * self.query_size
        return (
            f"{self.iterations} rounds of {self.query_size} ask for {wanted} images "
            f"and {n_pool} start unlabelled: the run ends after round {n_rounds}, "
            f"whose batch is {last}."
        )

    def resolve_n_initial(self, n_train: int) -> int:
        """Return the size of the initial set for `n_train` training images.

        Raises
        ------
        UsageError
            If none or all of the images would be labelled.
        """
        if self.n_initial is not None:
            n_initial, flag = self.n_initial, f"--n-initial {self.n_initial}"
        else:
            share = self.test_size if self.test_size is not None else 0.9
            # rounded first: 0.9 * 30 is a hair above 27
            n_initial = n_train - math.ceil(round(share * n_train, 9))
            flag = f"--test-size {share}"
        if n_initial < 1:
            raise UsageError(
                f"{flag} leaves none of the {n_train} training images labelled at the "
                "start; at least 1 is needed. Give a smaller --test-size, or "
                "--n-initial."
            )
        if n_initial > n_train:
            raise UsageError(
                f"{flag} asks for more images than --dir-train holds: {n_train}. Give "
                "--n-initial a number up to that."
            )
        return n_initial


def check_config(config: Mapping[str, Any], flags: Mapping[str, Flag]) -> None:
    """Raise UsageError if settings in a record are none that a command wrote."""
    faults = [flag.fault_of(config.get(name)) for name, flag in flags.items()]
    if any(faults):
        raise UsageError(
            'The settings in run.json ("config") are not as a command of dalmax writes '
            f"them: {'; '.join(filter(None, faults))}. Put an intact copy of the file "
            "back, or choose another --dir-results."
        )


class CompareSettings(Settings):
    """The settings of ``compare``; more strategies and seeds can be added later."""

    command = "compare"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
