"""The flags of ``dalmax test``."""

from typing import Annotated, Any

from dalmax_sk.cli.execution import execute
from dalmax_sk.cli.flags import flags as f
from dalmax_sk.cli.flags.checks import check_flags

__all__ = ["evaluate"]


def evaluate(
    dir_model: Annotated[
        str | None,
        f.flag(
            "dir-model",
            "The model: a folder that holds one, or one of its two files.",
            f.DATA,
            "FOLDER|FILE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        f.flag("model", "The same under its other name.", f.DATA, "FOLDER|FILE"),
    ] = None,
    dir_test: Annotated[
        str | None,
        f.flag(
            "dir-test",
            "Folder of test images with the model's classes. Default: that of the run "
            "in whose folder the model lies.",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    dir_results: Annotated[
        str | None,
        f.flag(
            "dir-results",
            "Where the results go: straight into this folder. Default: results",
            f.DATA,
            "FOLDER",
        ),
    ] = None,
    on_bad_image: f.OnBadImage = None,
    device: f.Device = None,
    config: f.Config = None,
    overwrite: f.Overwrite = False,
    quiet: f.Quiet = False,
    debug: f.Debug = False,
) -> None:
    """Test a saved model on a folder of images.

    Models are .safetensors files with a .json beside them, as train-al and train write
    them. Nothing is ever unpickled.
    """
    execute(
        "test",
        locals(),
        _work,
        check=lambda flags: check_flags(flags, folders_together=False),
        after_interrupt=lambda given: "Nothing is kept; run the command again.",
    )


def _work(given: dict[str, Any], **modes: Any) -> None:
    from dalmax_sk.cli.evaluate import evaluate

    evaluate(given, **modes)
