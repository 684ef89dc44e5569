"""The classifier that the settings describe."""

import importlib.util
import sys
from collections.abc import Sequence

from dalmax_sk._base.devices import resolve_device
from dalmax_sk._base.processes import ProcessGroup, is_launched, join_process_group
from dalmax_sk._base.seeds import torch_seed
from dalmax_sk.cli.console import Console
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.settings import Settings
from dalmax_sk.cli.launch import count_gpus, run_processes
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.nets import build_net

__all__ = ["check_model", "find_process_group", "make_classifier"]

_ACCELERATE = (
    "the package accelerate, which is not installed: "
    'pip install "dalmax_sk[accelerate]"'
)


def make_classifier(settings: Settings, class_names: Sequence[str]) -> CNNClassifier:
    """Return the classifier, not yet fitted.

    Parameters
    ----------
    settings : Settings
        The net and its training.
    class_names : sequence of str
        All classes; one that no image is drawn of keeps its output.

    Returns
    -------
    CNNClassifier
    """
    parameters = settings.parameters("net")
    if settings.mult_gpu and is_launched():
        parameters["device"] = "multi"
    return CNNClassifier(classes=list(class_names), **parameters)


def check_model(settings: Settings, n_classes: int) -> None:
    """Build the net once and look for the device, before anything long or lasting.

    Parameters
    ----------
    settings : Settings
        The net and its training.
    n_classes : int
        Number of classes.

    Raises
    ------
    UsageError, ValueError
        If there is no such net, its weights cannot be read, it cannot take images of
        this size, or the device is not there.
    """
    if settings.device != "multi":
        resolve_device(settings.device)
    side = settings.image_size
    with torch_seed():  # the caller's random state is not ours
        build_net(
            settings.architecture,
            input_shape=(3, side, side),
            n_classes=n_classes,
            weights=settings.weights,
        )


def find_process_group(
    settings: Settings, *, after_death: str, screen: Console
) -> ProcessGroup:
    """Return the processes that do the command's work: one, or one for each GPU.

    With several GPUs and ``--mult-gpu True`` in a plain shell, the command is run again
    in a process for each GPU; this one waits for them and ends as they do. With fewer,
    ``--mult-gpu True`` takes the device that is there; ``--device multi`` is an error.

    Parameters
    ----------
    settings : Settings
        Says whether all GPUs are wanted.
    after_death : str
        What to tell the user if the first of the processes is killed.
    screen : Console
        Where the number of devices is written.

    Raises
    ------
    UsageError
        If ``--device multi`` finds fewer than two GPUs, or if several processes are
        wanted and Accelerate is not installed.
    SystemExit
        When the other processes have ended, with their exit code.
    """
    insists = settings.device == "multi"
    if not (insists or settings.mult_gpu):
        return ProcessGroup()
    n_gpus = count_gpus()
    has_accelerate = importlib.util.find_spec("accelerate") is not None
    if is_launched() or n_gpus > 1:
        if has_accelerate:
            if is_launched():
                return join_process_group()
            screen.say(f"Training on {n_gpus} GPUs")
            words = sys.argv[1:]
            raise SystemExit(run_processes(n_gpus, words, after_death=after_death))
        if insists or is_launched():
            raise UsageError(f"Several processes need {_ACCELERATE}.")
    elif insists:
        raise UsageError(
            "--device multi needs two GPUs or more, and torch sees "
            f"{n_gpus or 'none'}. --device auto takes the GPU if there is one, "
            "--mult-gpu True as many as there are. To try several processes without "
            "GPUs: ACCELERATE_USE_CPU=1 torchrun --nproc-per-node 2 -m dalmax_sk and "
            "the same flags."
        )
    device = resolve_device("auto")
    missing = f"; using them together needs {_ACCELERATE}" if n_gpus > 1 else ""
    screen.say(f"--mult-gpu: torch sees {n_gpus} GPUs, training on {device}{missing}")
    return ProcessGroup()
