"""The flags of a run as one checked, comparable object."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.checks import as_flag

__all__ = [
    "DIGITS",
    "DIGITS_MODEL",
    "CompareSettings",
    "LoopSettings",
    "ModelSettings",
    "Settings",
]

# Other defaults for the embedded digits, so that a run without any data at hand takes
# well under a minute and has a curve to show: 30 labels, then 9 times 20.
DIGITS_MODEL: dict[str, Any] = {"image_size": 8, "epochs": 40, "train_batch_size": 32}
DIGITS: dict[str, Any] = {
    "query_size": 20,
    "iterations": 9,
    "n_initial": 30,
    **DIGITS_MODEL,
}


@dataclass(frozen=True)
class ModelSettings:
    """The images, the net and its training: what every command that trains asks for.

    Attributes
    ----------
    dir_train, dir_test : str or None
        Absolute folders of class folders; None for the embedded digits.
    dir_results : str
        Absolute folder below which the results lie.
    architecture : str
        Name of the net.
    weights : str or None
        Weights to start from.
    freeze : str or None
        Layers that keep the weights they start from; None trains all.
    image_size : int
        Side to which every image is resized, in pixels.
    epochs : int
        Epochs of one training.
    train_batch_size : int
        Images in a step of training.
    lr : float
        Learning rate.
    lr_schedule : str
        Course of the learning rate: ``"constant"``, ``"cosine"`` or ``"one_cycle"``.
    optimizer : str
        ``"adam"``, ``"adamw"`` or ``"sgd"``.
    augment : bool
        Random flips and crops in training.
    amp : bool
        Train and predict in mixed precision.
    compile : bool
        Compile the net.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    mult_gpu : bool
        Train on all GPUs.
    on_bad_image : str
        ``"error"`` or ``"skip"``.
    """

    dir_train: str | None = None
    dir_test: str | None = None
    dir_results: str = "results"
    architecture: str = "small_cnn"
    weights: str | None = None
    freeze: str | None = None
    image_size: int = 32
    epochs: int = 20
    train_batch_size: int = 64
    lr: float = 1e-3
    lr_schedule: str = "cosine"
    optimizer: str = "adam"
    augment: bool = False
    amp: bool = False
    compile: bool = False
    device: str = "auto"
    mult_gpu: bool = False
    on_bad_image: str = "error"

    @property
    def uses_digits(self) -> bool:
        """Whether the images are the embedded digits."""
        return self.dir_train is None

    def to_config(self) -> dict[str, Any]:
        """Return the settings as a dict, in the order of the fields."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class LoopSettings(ModelSettings):
    """The rounds of active learning, beside the model.

    Attributes
    ----------
    query_size : int
        Images to ask labels for in a round.
    iterations : int
        Rounds of querying.
    n_initial : int or None
        Images labelled at the start; None leaves it to `test_size`.
    test_size : float or None
        Share of the training images that starts unlabelled, in (0, 1).
    initial_strategy : str
        ``"random"`` or ``"balanced"``.
    refit : str
        ``"scratch"`` or ``"continue"``.
    shrink_perturb : list of float or None
        Shrink and noise of ``refit="continue"``; None goes on from the weights as they
        are.
    max_memory : int or None
        Bytes for the arrays of a query; None leaves it to the learner.
    """

    query_size: int = 10
    iterations: int = 5
    n_initial: int | None = None
    test_size: float | None = None
    initial_strategy: str = "random"
    refit: str = "scratch"
    shrink_perturb: list[float] | None = None
    max_memory: int | None = None

    # settings that may differ from those of the run that is gone on with
    _changeable: ClassVar[tuple[str, ...]] = ("dir_results",)

    @classmethod
    def from_flags(cls, given: Mapping[str, Any]) -> Self:
        """Make the settings of a new run.

        Parameters
        ----------
        given : dict
            The flags that were given, as
            :func:`~dalmax_sk.cli.flags.checks.check_flags` returns them.

        Returns
        -------
        LoopSettings
        """
        defaults: dict[str, Any] = {"dir_results": os.path.abspath("results")}
        if "dir_train" not in given:
            defaults |= DIGITS
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
        LoopSettings

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
        changed = {name: given[name] for name in cls._changeable if name in given}
        return cls(**{**config, **changed})

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
        known = {field.name for field in dataclasses.fields(cls)}
        if set(config) != known:
            raise UsageError(
                "The run was written by another version of dalmax_sk: the settings "
                f"{sorted(set(config) ^ known)} are not in both. Resume with that "
                "version, or start anew with --overwrite."
            )
        return [
            f"{as_flag(name)} was {_shown(config[name])}, now {_shown(value)}"
            for name, value in given.items()
            if name not in cls._changeable and config[name] != value
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


@dataclass(frozen=True)
class Settings(LoopSettings):
    """What decides the course of ``train-al``; all of it is kept in ``run.json``.

    Attributes
    ----------
    type : str
        The strategy's name.
    seed : int
        Seed of everything random.
    """

    type: str = "uncertainty_sampling"
    seed: int = 0


@dataclass(frozen=True)
class CompareSettings(LoopSettings):
    """What decides the course of ``compare``; all of it is kept in ``run.json``.

    Attributes
    ----------
    types : list of str
        Names of the strategies.
    seeds : int
        Repetitions of each, with seeds 0, 1 …
    baseline : str
        The strategy to compare with.
    target : float or None
        Accuracy, as a fraction, that labels are counted to; None: the baseline's last.
    n_jobs : int
        Runs at a time.
    """

    types: list[str] = dataclasses.field(default_factory=list)
    seeds: int = 5
    baseline: str = "random_sampling"
    target: float | None = None
    n_jobs: int = 1

    # More strategies and seeds can be added to an experiment.
    _changeable: ClassVar[tuple[str, ...]] = (
        "dir_results",
        "types",
        "seeds",
        "baseline",
        "target",
        "n_jobs",
    )


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
