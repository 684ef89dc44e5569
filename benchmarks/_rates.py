"""What this machine can do at most: the rates that floors are stated against."""

import functools
import io
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "convolution_rates",
    "decode_rate",
    "flops_of",
    "matrix_rate",
    "memory_rates",
    "net_flops",
]

#: Seconds spent on one rate.
SECONDS = 0.6
#: Sides of square matrices; the fastest size counts.
MATRIX_SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
#: Numbers in the arrays whose reading is timed: far more than any cache holds.
N_VALUES = {"cpu": 2**26, "cuda": 2**28}


def best_seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Return the shortest time of a call, repeated for a while after a first one."""
    cuda = device.type == "cuda"
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        if cuda:
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return floating-point operations a second of large matrix products, at best."""
    rates = []
    for side in MATRIX_SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty(side, side, device=device, dtype=dtype)
        product = functools.partial(torch.mm, a, b, out=out)
        rates.append(2 * side**3 / best_seconds(product, device))
    return max(rates)


def memory_rates(device: torch.device) -> dict[str, float]:
    """Return bytes a second of reading one array, and of copying it (both ways)."""
    values = torch.ones(N_VALUES[device.type], device=device)
    other = torch.empty_like(values)
    n_bytes = 4 * len(values)
    reads = [lambda: values.sum(), lambda: torch.dot(values, values)]
    if device.type == "cpu":
        reads.append(lambda: values.numpy().max())
    return {
        "read": n_bytes / min(best_seconds(read, device) for read in reads),
        "copy": 2 * n_bytes / best_seconds(lambda: other.copy_(values), device),
    }


def flops_of(call: Callable[[], Any]) -> int:
    """Return the floating-point operations of a call: products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def net_flops(module: nn.Module, batch: torch.Tensor) -> dict[str, float]:
    """Return operations an image: forward pass, its head alone, training step.

    Parameters
    ----------
    module : InputClassifier
    batch : Tensor of shape (b, channels, H, W)
        On the module's device.
    """
    n = len(batch)
    was_training = module.training
    module.eval()
    with torch.no_grad():
        features = module.forward_features(batch)
        forward = flops_of(lambda: module(batch))
        head = flops_of(lambda: module.forward_head(features))
    module.train()
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    training = flops_of(lambda: module(batch).float().sum().backward())
    with torch.no_grad():  # the running averages of batch normalisation
        for name, value in module.named_buffers():
            value.copy_(buffers[name])
    module.zero_grad(set_to_none=True)
    module.train(was_training)
    return {"forward": forward / n, "head": head / n, "training": training / n}


def convolution_rates(
    module: nn.Module, batch: torch.Tensor, dtype: torch.dtype
) -> list[tuple[str, float, float]]:
    """Return (shape, operations, operations a second) of each convolution of a net.

    Forward alone, on inputs of the shapes that the net's layers see, channels last.

    Parameters
    ----------
    module : InputClassifier
    batch : Tensor of shape (b, channels, H, W)
    dtype : torch.dtype
    """
    seen: list[tuple[nn.Conv2d, torch.Size]] = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, output: seen.append((layer, inputs[0].shape))
        )
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    was_training = module.training
    module.eval()
    with torch.no_grad():
        module(batch)
    for hook in hooks:
        hook.remove()
    module.train(was_training)
    found = []
    for layer, shape in seen:
        x = torch.randn(shape, device=batch.device).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        weight = layer.weight.detach().to(dtype)
        weight = weight.contiguous(memory_format=torch.channels_last)

        def call(x=x, weight=weight, layer=layer):
            with torch.inference_mode():
                nn.functional.conv2d(
                    x, weight, None, layer.stride, layer.padding, layer.dilation,
                    layer.groups,
                )  # fmt: skip

        flops = flops_of(call)
        name = f"{shape[0]}×{shape[1]}×{shape[2]}×{shape[3]} to {len(weight)} channels"
        found.append((name, flops, flops / best_seconds(call, batch.device)))
    return found


def decode_rate(paths: list[str], n_threads: int) -> tuple[str, float]:
    """Return (decoder, images a second) of decoding JPEGs that lie in memory.

    torchvision's binding of libjpeg in a bare loop, one loop a thread; Pillow's where
    torchvision cannot decode JPEGs.
    """
    contents = [Path(path).read_bytes() for path in paths]
    with warnings.catch_warnings():
        # torchvision gives its decoders up; here they only stand for libjpeg
        warnings.filterwarnings("ignore", ".*TorchVision.*", DeprecationWarning)
        decoder, loop = _decoder(contents)
        return decoder, len(contents) / _shortest_loop(loop, contents, n_threads)


def _shortest_loop(
    loop: Callable[[list[bytes]], None], contents: list[bytes], n_threads: int
) -> float:
    parts = [contents[i::n_threads] for i in range(n_threads)]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(loop, [part[:8] for part in parts]))
        times = []
        for _ in range(3):
            started = time.perf_counter()
            list(pool.map(loop, parts))
            times.append(time.perf_counter() - started)
    # small images: threads may only wait for one another
    started = time.perf_counter()
    loop(contents)
    return min(*times, time.perf_counter() - started)


def _decoder(contents: list[bytes]) -> tuple[str, Callable[[list[bytes]], None]]:
    def by_pillow(parts: list[bytes]) -> None:
        for part in parts:
            np.asarray(Image.open(io.BytesIO(part)).convert("RGB"))

    try:
        from torchvision.io import decode_jpeg
    except ImportError:
        return "Pillow", by_pillow

    def by_torchvision(parts: list[bytes]) -> None:
        for part in parts:
            decode_jpeg(torch.frombuffer(bytearray(part), dtype=torch.uint8))

    try:
        by_torchvision(contents[:1])
    except RuntimeError:  # built without libjpeg, or no JPEG at all
        return "Pillow", by_pillow
    return "torchvision.io.decode_jpeg", by_torchvision
