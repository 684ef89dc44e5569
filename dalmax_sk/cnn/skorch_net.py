"""A skorch net that trains on whole-tensor batches."""

import functools
import logging
import math

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer
from skorch.utils import TeeGenerator

from dalmax_sk._base import progress
from dalmax_sk._base.devices import autocast_dtype
from dalmax_sk.nets import InputClassifier, build_net
from dalmax_sk.nets.inference import autocast

__all__ = [
    "BatchNet",
    "FactorSchedule",
    "TrainingData",
    "build_module",
    "compile_module",
    "epoch_records",
]

logger = logging.getLogger("dalmax_sk")

_HALF_PRECISION = (torch.bfloat16, torch.float16)


def build_module(
    architecture,
    input_shape,
    n_classes,
    dropout,
    weights,
    mean,
    std,
    image_size,
    freeze=None,
):
    """Build the net behind its normalisation; tables are computed in float64."""
    net = build_net(
        architecture,
        input_shape=input_shape,
        n_classes=n_classes,
        dropout=dropout,
        weights=weights,
    )
    module = InputClassifier(net, mean, std, image_size)
    if len(input_shape) == 1:
        module = module.double()
    else:
        module = module.float().to(memory_format=torch.channels_last)
    if freeze is not None:
        module.freeze(freeze, input_shape)
    return module


class TrainingData:
    """Data of one fit: ``train`` and ``valid`` (or None) are `Batches`.

    Parameters
    ----------
    train : Batches
    valid : Batches or None
    """

    def __init__(self, train, valid=None):
        self.train = train
        self.valid = valid

    def __len__(self):
        return len(self.train)


class BatchNet(NeuralNetClassifier):
    """A skorch net that trains on :class:`TrainingData`, whole batches at a time.

    Losses and accuracies are summed on the device and read once an epoch, so the
    history has ``train_loss``, ``train_accuracy``, ``valid_loss``, ``valid_accuracy``,
    ``lr`` and ``dur`` for each epoch, and no losses of batches. Callbacks see all else
    as in any skorch net.

    Parameters
    ----------
    amp : bool
        Run the net in bfloat16 where autocast allows it; on GPUs without bfloat16 in
        float16, with the loss scaled so that small gradients do not vanish.
    """

    def __init__(self, *args, amp=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.amp = amp
        self._warm_start = None
        self._scaler = None

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def torch_compile(self, module, name):
        # In place: the state dict keeps its keys and the module can be pickled.
        if self.compile and name == "module":
            compile_module(module, **self.get_params_for("compile"))
        return module

    def initialize_module(self):
        super().initialize_module()
        if self._warm_start is not None:
            self._warm_start.load_into(self.module_)
        return self

    def release(self, device):
        """Drop what only training needs, such as gradients and optimizer state."""
        self.module_.eval()
        self.optimizer_.zero_grad(set_to_none=True)
        self.optimizer_.state.clear()
        self.device = str(device)

    def check_data(self, X, y=None):
        """Accept `TrainingData`, which brings its labels along."""
        if not isinstance(X, TrainingData):
            super().check_data(X, y)

    def get_split_datasets(self, X, y=None, **fit_params):
        if isinstance(X, TrainingData):
            return X.train, X.valid
        return super().get_split_datasets(X, y, **fit_params)

    def get_iterator(self, dataset, training=False):
        if hasattr(dataset, "n_batches"):
            return dataset
        return super().get_iterator(dataset, training=training)

    def _set_training(self, training=True):
        # Once a change of mode, not once a batch: it walks through all layers.
        if self.module_.training != training:
            super()._set_training(training)

    def infer(self, x, **fit_params):
        if self._on_features:
            fit_params["from_features"] = True
        if not self.amp:
            return super().infer(x, **fit_params)
        with autocast(x.device if torch.is_tensor(x) else "cpu", True):
            logits = super().infer(x, **fit_params)
        return logits.float() if logits.dtype in _HALF_PRECISION else logits

    def get_loss(self, y_pred, y_true, X=None, training=False):
        loss = super().get_loss(y_pred, y_true, X=X, training=training)
        if training and self._scaler is not None:
            # Scales what flows back and leaves the loss itself as it is.
            loss.register_hook(self._scaler.scale)
        return loss

    def train_step(self, batch, **fit_params):
        if self._scaler is None:
            return super().train_step(batch, **fit_params)
        # As skorch's, without its closure, which a scaler cannot call.
        self._zero_grad_optimizer()
        step = self.train_step_single(batch, **fit_params)
        self._scaler.unscale_(self.optimizer_)
        parameters = TeeGenerator(self.get_all_learnable_params())
        self.notify(
            "on_grad_computed", named_parameters=parameters, batch=batch, training=True
        )
        self._scaler.step(self.optimizer_)  # not with infinite gradients
        self._scaler.update()
        return step

    def train(self, data, warm_start=None, make_features=None):
        """Initialize and run all epochs; an interrupt from the keyboard is raised.

        Parameters
        ----------
        data : TrainingData
        warm_start : WarmStart or None, default=None
            Weights to start from in place of fresh ones.
        make_features : callable or None, default=None
            Takes the net that was built; puts features of its frozen layers in the
            place of what ``data`` holds and returns True, or False to train on that.

        Raises
        ------
        ValueError
            If the loss or the weights become NaN or infinite.
        """
        self._warm_start = warm_start
        self.initialize()
        self._warm_start = None
        self._on_features = make_features is not None and make_features(self.module_)
        self._scaler = self._make_scaler(data.train.device)
        self.notify("on_train_begin", X=data, y=None)
        try:
            self.fit_loop(data)
        except TrainingStopped:
            logger.info("A callback ended the training.")
        self.notify("on_train_end", X=data, y=None)
        self._scaler = None
        self._on_features = False
        self._check_weights()
        return self

    def _make_scaler(self, device):
        if not self.amp or autocast_dtype(device) != torch.float16:
            return None
        return torch.amp.GradScaler(device.type)

    def _check_weights(self):
        # The loss is that before the last step, which may have gone astray.
        weights = [p.detach() for p in self.module_.parameters()]
        finite = [torch.isfinite(p).all() for p in weights]
        if finite and not torch.stack(finite).all():
            raise ValueError(self._astray("weights became NaN or infinite"))

    def _astray(self, what):
        advice = "Lower lr, or look for extreme values in X."
        if self.amp:
            advice = "Lower lr, pass amp=False, or look for extreme values in X."
        return (
            f"The training {what} in epoch {len(self.history)} with lr={self.lr:.3g}. "
            f"{advice}"
        )

    def notify(self, method_name, **cb_kwargs):
        # By skorch's convention a callback ends the training by raising
        # KeyboardInterrupt; told apart here from a user's Ctrl-C.
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as interrupt:
            if _raised_in_skorch_callback(interrupt):
                raise TrainingStopped from interrupt
            raise

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        # (sum of losses, number of right predictions, number of samples)
        sums = None
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            new = self._sums(step, batch[1], training)
            sums = new if sums is None else sums + new
            self.notify("on_batch_end", batch=batch, training=training, **step)
        loss, right, n = self.gather(sums).tolist()
        loss, accuracy = (loss / n, right / n) if n else (math.nan, math.nan)
        if training and not math.isfinite(loss):
            raise ValueError(self._astray(f"loss became {loss}"))
        before = self.history[:-1, f"{prefix}_loss"] if len(self.history) > 1 else []
        self.history.record(f"{prefix}_loss", loss)
        # what skorch's Checkpoint looks at
        self.history.record(f"{prefix}_loss_best", all(loss < b for b in before))
        self.history.record(f"{prefix}_accuracy", accuracy)

    @torch.no_grad()
    def _sums(self, step, y, training):
        """Sum of losses, right predictions and samples of a batch, on the device."""
        loss = step["loss"].detach() * len(y)
        right = (step["y_pred"].argmax(1) == y).sum()
        sums = torch.stack([loss, right, torch.full_like(loss, len(y))])
        if training and self._scaler is not None:
            # A step with an infinite loss in float16 is left out by the scaler.
            sums = torch.where(loss.isfinite(), sums, 0.0)
        return sums

    def gather(self, sums):
        """Add up the sums of all processes; here there is one."""
        return sums

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.history.record("lr", self.optimizer_.param_groups[0]["lr"])
        return super().on_epoch_end(
            net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs
        )


class TrainingStopped(Exception):
    """A callback asked for the end of the training."""


def _raised_in_skorch_callback(interrupt):
    """Whether the innermost frame is a callback's own ``raise``, no signal handler."""
    traceback = interrupt.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    return frame.f_code.co_name.startswith("on_") and isinstance(
        frame.f_locals.get("self"), Callback
    )


class FactorSchedule(Callback):
    """Multiply the learning rate by a function of the share of training that is done.

    Parameters
    ----------
    factor : callable
        Maps a number in [0, 1) to a factor; called before each batch.
    n_batches : int
        Batches in the whole training.
    """

    def __init__(self, factor, n_batches):
        self.factor = factor
        self.n_batches = n_batches

    def on_train_begin(self, net, **kwargs):
        self.step_ = 0
        self.base_lrs_ = [group["lr"] for group in net.optimizer_.param_groups]

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if not training:
            return
        factor = self.factor(self.step_ / self.n_batches)
        for group, lr in zip(net.optimizer_.param_groups, self.base_lrs_, strict=True):
            group["lr"] = lr * factor
        self.step_ += 1


class EpochReport(Callback):
    """Log each epoch and report it to whoever listens to `dalmax_sk._base.progress`."""

    def on_epoch_end(self, net, **kwargs):
        record = epoch_records(net.history[-1:])[0]
        values = {k: v for k, v in record.items() if k != "epoch"}
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("epoch %d/%d: %s", record["epoch"], net.max_epochs, text)
        progress.report("epoch", record["epoch"], net.max_epochs, **values)


def epoch_records(history):
    """Turn skorch's history into a list of dicts of plain numbers, one an epoch."""
    names = ("train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "lr")
    return [
        {"epoch": int(row["epoch"])}
        | {name: float(row[name]) for name in names if name in row}
        | {"seconds": float(row["dur"])}
        for row in history
    ]


def compile_module(module, **options):
    """Compile a module in place for batches of any size.

    The module keeps its class, its state dict and its pickle. Its first axis is marked
    as one that changes: the sizes of batches differ within a fit (nearly equal), from
    fit to fit (more labels), and at the end of a pool, and each would be compiled for
    itself. So there is one compilation for training, one for inference with embeddings
    and one for inference without, and modules of the same form share them.

    Parameters
    ----------
    module : nn.Module
        Called with a batch as its first argument.
    **options
        For :func:`torch.compile`.
    """
    module.compile(**options)
    # Called by torch in place of the module's forward; not part of its pickle.
    module._compiled_call_impl = functools.partial(
        _call_compiled, module, module._compiled_call_impl
    )


def _call_compiled(module, compiled, x, *args, **kwargs):
    is_cut = getattr(module, "frozen", None) is not None and module.training
    if is_cut and not kwargs.get("from_features"):
        # Outside of the graph: the layers run in evaluation mode, and stop at the cut.
        x, kwargs["from_features"] = module.frozen_features(x), True
    torch._dynamo.maybe_mark_dynamic(x, 0)
    try:
        return compiled(x, *args, **kwargs)
    except torch._dynamo.exc.BackendCompilerFailed as error:
        raise RuntimeError(
            "compile=True, but torch.compile cannot compile the net here: "
            f"{str(error).splitlines()[0]} On a CPU it needs a C++ compiler (g++ or "
            "clang++; the environment variable CXX may name it), on a GPU Triton. "
            "Install what is missing, or pass compile=False."
        ) from error
