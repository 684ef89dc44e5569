"""Parts of a fit of CNNClassifier: data, net, callbacks, normalisation.

Each function takes the classifier for its parameters and changes nothing in it.
"""

import copy
import functools
import gc
import math
import warnings

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.callbacks import EarlyStopping
from torch import nn

from dalmax_sk._base import progress
from dalmax_sk._base.devices import is_out_of_memory, release_unused, resolve_device
from dalmax_sk._base.processes import process_group_of
from dalmax_sk._base.seeds import derive_seed, torch_seed
from dalmax_sk.cnn.augment import get_augmentation
from dalmax_sk.cnn.batches import Batches, input_statistics, place_on_device
from dalmax_sk.cnn.frozen import collect_features
from dalmax_sk.cnn.labels import class_weights, stratified_split
from dalmax_sk.cnn.skorch_net import (
    BatchNet,
    EpochReport,
    FactorSchedule,
    TrainingData,
    build_module,
    logger,
)
from dalmax_sk.cnn.warm_start import WarmStart, check_shrink_perturb
from dalmax_sk.nets.classifier import IMAGENET_MEAN, IMAGENET_STD
from dalmax_sk.nets.inference import inference_batch_size
from dalmax_sk.nets.weights import is_weights_file, saved_normalization

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "restore_net",
    "train_net",
    "warm_start_state",
]

OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


def _cosine(done):
    return 0.5 * (1 + math.cos(math.pi * done))


def _one_cycle(done, warm_up=0.3):
    """Rise from 1/25 to 1 over ``warm_up`` of the training, then fall to nearly 0."""
    if done < warm_up:
        return 1 / 25 + (1 - 1 / 25) * done / warm_up
    return max(_cosine((done - warm_up) / (1 - warm_up)), 1e-4)


SCHEDULES = {"cosine": _cosine, "one_cycle": _one_cycle}


def warm_start_state(clf, spec, classes):
    """Weights that a warm start continues from, or None."""
    if not clf.warm_start or not hasattr(clf, "net_"):
        return None
    if not np.array_equal(classes, clf.classes_):
        raise ValueError(
            f"warm_start=True cannot go from the classes {clf.classes_.tolist()!r} to "
            f"{classes.tolist()!r}. Pass classes= with all of them, or "
            "warm_start=False."
        )
    if spec != clf.input_spec_:
        raise ValueError(
            f"warm_start=True cannot go from {clf.input_spec_} to {spec}. Give X in "
            "the same form, or pass warm_start=False."
        )
    return clf.module_.state_dict()


def train_net(clf, source, y_index, spec, classes, start_state):
    """Train a net; return the `BatchNet` that holds it.

    Parameters
    ----------
    clf : CNNClassifier
    source : TensorSource or FileSource
    y_index : Tensor of shape (n,), int64
        Positions of the labels in ``classes``.
    spec : InputSpec
    classes : ndarray of shape (n_classes,)
    start_state : dict of Tensor or None
        Weights to continue from.
    """
    if clf.freeze is not None and start_state is None:
        _warn_of_random_layers(clf)
    seed = check_random_state(clf.random_state).randint(2**31 - 1)
    shrink_perturb = check_shrink_perturb(clf.shrink_perturb)
    if start_state is not None and shrink_perturb is not None:
        # An int gives every fit the same seed, and so every round the same noise.
        seed = derive_seed(seed, clf.n_fits_)
    group = process_group_of(clf)
    # Without a random_state each process would draw its own.
    seed = group.broadcast(seed)
    accelerator = _make_accelerator(clf, group)
    device = resolve_device(accelerator.device if accelerator else clf.device)
    failure = None
    try:
        return _train(
            clf,
            source,
            y_index,
            spec,
            classes,
            seed=seed,
            start=_make_start(clf, start_state, shrink_perturb),
            group=group,
            accelerator=accelerator,
            device=device,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failure = type(error), str(error)
    # Not before the handler has ended: until then the traceback keeps all tensors.
    gc.collect()
    release_unused(device)
    kind, message = failure
    raise kind(_out_of_memory_advice(clf, spec, device, message))


def _train(
    clf, source, y_index, spec, classes, *, seed, start, group, accelerator, device
):
    with progress.logged(clf.verbose), torch_seed(seed, _generators_of(device)):
        data = _make_data(clf, source, y_index, spec, device, group)
        state = None if start is None else start.state
        mean, std = _get_normalization(clf, data.train, spec, state)
        weight = class_weights(clf.class_weight, y_index, classes)
        if weight is not None and spec.kind == "image":
            weight = weight.float()
        net = _make_net(
            clf,
            spec,
            len(classes),
            mean=mean,
            std=std,
            weights=clf.weights if start is None else None,
            device=device,
            accelerator=accelerator,
            criterion__weight=weight,
            callbacks=_make_callbacks(clf, data),
        )
        make_features = None
        if clf.freeze is not None:
            make_features = functools.partial(_put_features, clf, data, spec, device)
        net.train(data, start, make_features)
    net.release(device)
    return net


def _put_features(clf, data, spec, device, module):
    """Replace images by features of the frozen layers; False if they have to stay."""
    parts = [part for part in (data.train, data.valid) if part is not None]
    source = parts[0].source
    features = None
    if get_augmentation(clf.augment) is None:  # else they differ in every epoch
        module = getattr(module, "module", module)  # of DistributedDataParallel
        amp = clf.amp and spec.kind == "image"
        features = collect_features(module, source, device, amp=amp)
    for part in parts:
        part.source = place_on_device(source if features is None else features, device)
    return features is not None


def _warn_of_random_layers(clf):
    if clf.weights is None and isinstance(clf.architecture, str):
        warnings.warn(
            f"freeze={clf.freeze!r} keeps layers of {clf.architecture!r} as they are, "
            "which are random: weights=None. Give weights= (--weights on the command "
            "line) a name or a file, or a trained module as the architecture.",
            UserWarning,
            stacklevel=4,
        )


def _make_start(clf, start_state, shrink_perturb):
    if start_state is None:
        return None
    given = isinstance(clf.architecture, nn.Module)
    return WarmStart(start_state, shrink_perturb, fresh_is_random=not given)


def _out_of_memory_advice(clf, spec, device, message):
    ways = ["a smaller batch_size"]
    if spec.kind == "image":
        ways.append("smaller images (image_size=)")
        if not clf.amp:
            ways.append("amp=True")
    ways.append("a smaller net")
    cause = message.partition("\n")[0]
    return (
        f"Training ran out of memory on {device} with batches of {clf.batch_size} "
        f"samples of shape {tuple(spec.shape)}. Pass {', '.join(ways[:-1])} or "
        f"{ways[-1]}, or free memory that other programs hold. A run with a checkpoint "
        "goes on where it was if it is called again as it was; with other settings it "
        f"is another run and begins anew. ({cause})"
    )


def restore_net(clf, state, spec, n_classes):
    """Return a `BatchNet` whose net has the weights ``state``, as after a training."""
    device = resolve_device("auto" if clf.device == "multi" else clf.device)
    n_values = spec.shape[0]  # channels or columns
    with torch_seed(devices=_generators_of(device)):
        net = _make_net(
            clf,
            spec,
            n_classes,
            mean=torch.zeros(n_values),
            std=torch.ones(n_values),
            weights=None,
            device=device,
        )
        net.initialize()
    net.module_.load_state_dict(state)
    net.release(device)
    return net


def _generators_of(device):
    """Return the devices, besides the CPU, whose generators a fit draws from."""
    return [device] if device.type == "cuda" else []


def _make_accelerator(clf, group):
    """Return Accelerate's accelerator for ``device="multi"``, else None."""
    if clf.device != "multi":
        return None
    # torch.distributed takes a while to load, and few need it.
    from dalmax_sk.cnn.multi_gpu import make_accelerator

    return make_accelerator(group)


def _make_data(clf, source, y_index, spec, device, group):
    """Return the TrainingData of one fit, as near to the device as memory allows."""
    augment = get_augmentation(clf.augment)
    if augment is not None and spec.kind == "table":
        raise ValueError(
            f"augment={clf.augment!r} changes images, but X is a table. Pass "
            "augment=False."
        )
    rows, valid_rows = torch.arange(len(source)), None
    if clf.early_stopping:
        rows, valid_rows = stratified_split(y_index, clf.validation_fraction)
    # Frozen layers see each image once, so it need not be at hand for every epoch.
    if clf.freeze is None or augment is not None:
        source = place_on_device(source, device)
    common = {"source": source, "y": y_index.to(device), "device": device}
    make_train = Batches
    if group.world_size > 1:
        from dalmax_sk.cnn.multi_gpu import ShardedBatches

        make_train = functools.partial(ShardedBatches, group=group)
    train = make_train(
        **common, rows=rows, batch_size=clf.batch_size, shuffle=True, augment=augment
    )
    if valid_rows is None:
        return TrainingData(train)
    batch_size = inference_batch_size(source.values_per_sample, device, amp=clf.amp)
    valid = Batches(**common, rows=valid_rows, batch_size=batch_size)
    return TrainingData(train, valid)


def _get_normalization(clf, train, spec, start_state):
    """Mean and standard deviation to standardise inputs by, float64."""
    if start_state is not None:
        return start_state["mean"].cpu(), start_state["std"].cpu()
    if clf.freeze is not None and clf.normalize == "auto" and clf.weights is not None:
        saved = saved_normalization(clf.weights)
        if saved is not None:
            return saved
    if _normalize(clf, spec) == "train":
        return input_statistics(train.source, train.rows)
    if spec.kind == "table" or spec.shape[0] not in (1, 3):
        raise ValueError(
            "ImageNet's mean and standard deviation are for images of 3 channels "
            f"(or 1); X has the shape {spec.shape} for each sample. Pass "
            "normalize='train'."
        )
    if spec.dtype == "float" and train.source.in_memory:
        low, high = (float(edge) for edge in train.source.data.aminmax())
        if low < 0 or high > 1:
            raise ValueError(
                f"X holds floats from {low:g} to {high:g}; for ImageNet's mean and "
                "standard deviation they must lie in [0, 1]. Scale them, give "
                "uint8 images, or pass normalize='train'."
            )
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    if spec.shape[0] == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    return mean, std


def _normalize(clf, spec):
    """Resolve ``normalize`` to "train" or "imagenet"."""
    if clf.normalize != "auto":
        return clf.normalize
    if clf.freeze is not None:
        # The frozen layers get what they were trained on; it must not follow the
        # labelled samples, or the features would change from round to round.
        return "imagenet" if spec.kind == "image" else "train"
    by_name = clf.weights is not None and not is_weights_file(clf.weights)
    return "imagenet" if by_name else "train"


def _make_callbacks(clf, data):
    callbacks = [("report", EpochReport())]
    if clf.lr_schedule != "constant":
        factor = SCHEDULES.get(clf.lr_schedule, clf.lr_schedule)
        n_batches = data.train.n_batches * clf.max_epochs
        callbacks.append(("lr_schedule", FactorSchedule(factor, n_batches)))
    callbacks += copy.deepcopy(list(clf.callbacks or []))
    if clf.early_stopping:  # last, so that all see the epoch that it stops after
        stopping = EarlyStopping(
            patience=clf.patience, load_best=True, sink=logger.info
        )
        callbacks.append(("early_stopping", stopping))
    return callbacks


def _make_net(
    clf, spec, n_classes, *, mean, std, weights, device, accelerator=None, **kwargs
):
    """Return a `BatchNet`, not yet initialized."""
    optimizer, options = OPTIMIZERS.get(clf.optimizer, (clf.optimizer, {}))
    if optimizer is not clf.optimizer and device.type in ("cpu", "cuda"):
        options = {**options, "fused": True}
    if clf.weight_decay:
        options = {**options, "weight_decay": clf.weight_decay}
    kwargs |= {f"optimizer__{name}": value for name, value in options.items()}
    net_class = BatchNet
    if accelerator is not None:
        from dalmax_sk.cnn.multi_gpu import AccelerateNet

        net_class = AccelerateNet
        kwargs["accelerator"] = accelerator
    return net_class(
        module=functools.partial(
            build_module,
            clf.architecture,
            input_shape=spec.shape,
            n_classes=n_classes,
            dropout=clf.dropout,
            weights=weights,
            mean=mean,
            std=std,
            image_size=spec.shape[1:] if spec.resize else None,
            freeze=clf.freeze,
        ),
        classes=np.arange(n_classes),
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer,
        lr=clf.lr,
        max_epochs=clf.max_epochs,
        batch_size=clf.batch_size,
        train_split=None,
        amp=clf.amp and spec.kind == "image",
        compile=clf.compile,
        device=None if accelerator else str(device),
        verbose=0,
        **kwargs,
    )
