"""What one writes by hand in PyTorch, tuned and untuned, beside CNNClassifier.

:class:`PlainLoop` is a training loop over whole tensors in which each trick can be
switched off; :func:`plain_pool_pass` its inference; :class:`FolderNet` plain skorch on
torchvision's ``ImageFolder``, as their tutorials have it. None of them uses anything of
dalmax_sk but the net itself.
"""

import functools
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from dalmax_sk.nets import CIFARResNet18, build_net

__all__ = [
    "FolderNet",
    "PlainLoop",
    "architecture_of",
    "make_net",
    "normalisation",
    "plain_pool_pass",
]

LR = 1e-3


def architecture_of(name):
    """Return what CNNClassifier takes for a name; ``cifar_resnet18:16`` has width 16.

    Parameters
    ----------
    name : str
        A name of :func:`dalmax_sk.nets.net_names`, or ``cifar_resnet18:WIDTH``.
    """
    kind, _, width = name.partition(":")
    if not width:
        return name
    if kind != "cifar_resnet18":
        raise ValueError(f"only cifar_resnet18 takes a width, got {name!r}.")
    return functools.partial(_narrow_resnet, width=int(width))


def _narrow_resnet(input_shape, n_classes, *, width):
    return CIFARResNet18(input_shape[0], n_classes, width=width)


def make_net(name, input_shape, n_classes):
    """Build the same net as CNNClassifier does."""
    architecture = architecture_of(name)
    if callable(architecture):
        return architecture(input_shape, n_classes)
    return build_net(name, input_shape=input_shape, n_classes=n_classes)


def normalisation(pixels):
    """Mean and deviation of each channel, in units of uint8, (1, C, 1, 1) each.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (n, H, W, C)
    """
    values = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
    mean, std = values.mean(0), values.std(0)
    shape = (1, -1, 1, 1)
    return (
        torch.from_numpy(mean).float().view(shape),
        torch.from_numpy(std).float().view(shape),
    )


@dataclass(frozen=True)
class PlainLoop:
    """A hand-written training loop; the defaults are the tuned one.

    ``inputs`` is ``"uint8"`` (pixels on the device, normalised batch by batch, as
    CNNClassifier does), ``"float32"`` (normalised once, before the clock starts) or
    ``"files"`` (every batch decoded from its files by Pillow, every epoch anew).
    """

    channels_last: bool = True
    fused: bool = True
    amp: bool = False
    compile: bool = False
    log_every_batch: bool = False
    inputs: str = "uint8"

    def prepare(self, pixels, mean, std, device):
        """Return the inputs on the device, before the clock starts.

        Parameters
        ----------
        pixels : ndarray of uint8 of shape (n, H, W, C)
        """
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device)
        if self.inputs == "float32":
            x = (x.float() - mean.to(device)) / std.to(device)
        return x.contiguous(memory_format=self._format())

    def _format(self):
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def train(self, make, x, y, mean, std, *, epochs, batch_size):
        """Train a fresh net; return it.

        Parameters
        ----------
        make : callable
            Builds the net.
        x : Tensor of shape (n, C, H, W), or list of paths with ``inputs="files"``
        y : Tensor of shape (n,), int64, on the device
        """
        device = y.device
        if device.type == "cuda" and not torch.backends.cudnn.benchmark:
            with torch.backends.cudnn.flags(benchmark=True):
                words = {"epochs": epochs, "batch_size": batch_size}
                return self.train(make, x, y, mean, std, **words)
        mean, scale = mean.to(device), 1 / std.to(device)
        net = make().to(device, memory_format=self._format())
        forward = torch.compile(net) if self.compile else net
        optimizer = torch.optim.Adam(net.parameters(), lr=LR, fused=self.fused)
        loss_function = nn.CrossEntropyLoss()
        n_batches = epochs * math.ceil(len(y) / batch_size)
        step = 0
        logged = 0.0
        for _ in range(epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(len(y)).to(device)
            for rows in order.split(batch_size):
                lr = LR * 0.5 * (1 + math.cos(math.pi * step / n_batches))
                optimizer.param_groups[0]["lr"] = lr
                batch = self._batch(x, rows, mean, scale)
                with torch.autocast(device.type, torch.bfloat16, enabled=self.amp):
                    loss = loss_function(forward(batch), y.index_select(0, rows))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                if self.log_every_batch:
                    logged += loss.item()  # waits for the device
                else:
                    total += loss.detach()
                step += 1
            logged += total.item()
        return net

    def _batch(self, x, rows, mean, scale):
        if self.inputs == "files":
            names = [x[row] for row in rows.tolist()]
            pixels = np.stack([np.asarray(Image.open(n).convert("RGB")) for n in names])
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(rows.device)
        else:
            batch = x.index_select(0, rows)
        if batch.dtype == torch.uint8:
            batch = batch.float().sub_(mean).mul_(scale)
        return batch.contiguous(memory_format=self._format())


def plain_pool_pass(net, x, mean, std, *, batch_size, amp=False):
    """Return probabilities and embeddings of all rows, by hand.

    Parameters
    ----------
    net : nn.Module
        On the device of `x`, with ``forward_features`` and ``forward_head``.
    x : Tensor of shape (n, C, H, W)
        uint8, or normalised float32; in the memory order that the net wants.

    Returns
    -------
    proba, embeddings : ndarray of float32 of shape (n, n_classes), (n, d)
    """
    net.eval()
    mean, scale = mean.to(x.device), 1 / std.to(x.device)
    parts = []
    with torch.inference_mode():
        for batch in x.split(batch_size):
            if batch.dtype == torch.uint8:
                batch = batch.float().sub_(mean).mul_(scale)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
                features = net.forward_head(net.forward_features(batch), True)
                logits = net.get_classifier()(features)
            parts.append((logits.float().softmax(1), features.float()))
    proba, embeddings = zip(*parts, strict=True)
    return torch.cat(proba).cpu().numpy(), torch.cat(embeddings).cpu().numpy()


class FolderNet:
    """Plain skorch on ``ImageFolder``: decode, ToTensor, Normalize for every image.

    Parameters
    ----------
    make : callable
        Builds the net.
    folder : path-like
        Class folders of images.
    mean, std : Tensor of shape (1, C, 1, 1), in units of uint8
    """

    def __init__(
        self, make, folder, mean, std, *, epochs, batch_size, num_workers, device
    ):
        from skorch import NeuralNetClassifier
        from skorch.callbacks import Callback
        from torchvision import transforms
        from torchvision.datasets import ImageFolder

        times = self.times = []

        class Clock(Callback):
            def on_epoch_end(self, net, **kwargs):
                times.append((time.perf_counter(), time.process_time()))

        transform = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Normalize(
                    mean.flatten().div(255).tolist(), std.flatten().div(255).tolist()
                ),
            ]
        )
        self.data = ImageFolder(folder, transform=transform)
        self.net = NeuralNetClassifier(
            make,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=LR,
            max_epochs=epochs,
            batch_size=batch_size,
            train_split=None,
            iterator_train__shuffle=True,
            iterator_train__num_workers=num_workers,
            callbacks=[Clock()],
            device=device,
            verbose=0,
        )

    def fit(self):
        """Train from scratch; return (seconds, processor seconds) of each epoch but 1.

        Processor seconds are this process's alone, without the workers'.
        """
        self.times.clear()
        self.net.fit(self.data, y=None)
        return [
            tuple(np.subtract(b, a))
            for a, b in zip(self.times, self.times[1:], strict=False)
        ]
