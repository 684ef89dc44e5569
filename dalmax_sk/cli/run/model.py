"""The classifier that the settings describe."""

import importlib.util
import sys
from collections.abc import Sequence

from dalmax_sk._base.devices import resolve_device
from dalmax_sk._base.processes import ProcessGroup, is_launched, join_process_group
from dalmax_sk._base.seeds import torch_seed
from dalmax_sk.cli.errors import UsageError
from dalmax_sk.cli.flags.settings import Settings
from dalmax_sk.cli.launch import count_gpus, run_processes
from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.nets import build_net

__all__ = ["check_model", "find_process_group", "make_classifier"]


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
    if settings.mult_gpu:
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
    if not settings.mult_gpu:
        resolve_device(settings.device)
    side = settings.image_size
    with torch_seed():  # the caller's random state is not ours
        build_net(
            settings.architecture,
            input_shape=(3, side, side),
            n_classes=n_classes,
            weights=settings.weights,
        )


def find_process_group(settings: Settings, *, after_death: str) -> ProcessGroup:
    """Return the processes that do the command's work: one, or one for each GPU.

    With ``--mult-gpu True`` in a plain shell, the command is run again in a process for
    each GPU; this one waits for them and ends as they do.

    Parameters
    ----------
    settings : Settings
        Says whether all GPUs are wanted.
    after_death : str
        What to tell the user if the first of the processes is killed.

    Raises
    ------
    UsageError
        If all GPUs are wanted and there are not two, or Accelerate is not installed.
    SystemExit
        When the other processes have ended, with their exit code.
    """
    if not settings.mult_gpu:
        return ProcessGroup()
    if importlib.util.find_spec("accelerate") is None:
        raise UsageError(
            "--mult-gpu True needs the package accelerate, which is not installed: "
            'pip install "dalmax_sk[accelerate]".'
        )
    if is_launched():
        return join_process_group()
    raise SystemExit(run_processes(count_gpus(), sys.argv[1:], after_death=after_death))
