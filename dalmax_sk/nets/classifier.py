"""The whole way from raw inputs to logits: scaling, resizing, normalising, the net."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dalmax_sk.nets.freeze import FrozenPart

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "InputClassifier"]

# Mean and standard deviation of ImageNet's training images, scaled to [0, 1] (RGB).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class InputClassifier(nn.Module):
    """A net behind its input normalisation, which becomes part of the saved state.

    Parameters
    ----------
    net : nn.Module
        With ``forward_features`` and ``forward_head``.
    mean, std : Tensor
        (channels,) or (n_columns,), in units of floating-point inputs; those of uint8
        inputs are divided by 255 first. Zeros in ``std`` count as one, so that a
        constant channel becomes zero.
    image_size : tuple of int or None, default=None
        Images of another height or width are resized to it (bilinear, antialiased).

    Examples
    --------
    >>> import torch
    >>> from dalmax_sk.nets import SmallCNN
    >>> module = InputClassifier(SmallCNN(1, 10), torch.zeros(1), torch.ones(1)).eval()
    >>> logits, embeddings = module(
    ...     torch.zeros(2, 1, 8, 8, dtype=torch.uint8), return_embeddings=True
    ... )
    >>> logits.shape, embeddings.shape
    (torch.Size([2, 10]), torch.Size([2, 128]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Tensor,
        std: Tensor,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", torch.where(std > 0, std, torch.ones_like(std)))
        self.image_size = image_size
        self.frozen: FrozenPart | None = None

    def freeze(self, where: str, input_shape: tuple[int, ...]) -> None:
        """Freeze the net's layers up to a cut, see `FrozenPart`.

        Parameters
        ----------
        where : str
            ``"body"``, or the name of a layer.
        input_shape : tuple of int
            Of one sample.
        """
        generator = torch.Generator().manual_seed(0)
        sample = torch.randn(2, *input_shape, generator=generator)
        self.frozen = FrozenPart(self.net, where, sample.to(self.mean))

    def frozen_features(self, x: Tensor) -> Tensor:
        """Features of a raw batch from the frozen layers, in evaluation mode."""
        assert self.frozen is not None
        return self.frozen.features(self.prepare(x))

    def train(self, mode: bool = True) -> "InputClassifier":
        """Set the mode; layers behind a cut are in containers of their own."""
        super().train(mode)
        if self.frozen is not None:
            self.frozen.train_rest(mode)
        return self

    def prepare(self, x: Tensor) -> Tensor:
        """Normalise a raw batch, (n, channels, H, W) or (n, n_columns)."""
        raw = x
        x = x.to(self.mean.dtype)
        if raw.dtype == torch.uint8:
            x.div_(255)
        if x.ndim == 2:
            return (x - self.mean) / self.std
        if self.image_size is not None and x.shape[2:] != self.image_size:
            x = interpolate(x, self.image_size, mode="bilinear", antialias=True)
        mean, std = _as_map(self.mean, x), _as_map(self.std, x)
        # What was made here is worked on in place; the caller's batch is left alone.
        x = x - mean if x is raw else x.sub_(mean)
        return x.div_(std)

    @property
    def num_features(self) -> int:
        """Width d of the embedding."""
        width = self.net.num_features
        assert isinstance(width, int)
        return width

    def forward_features(self, x: Tensor) -> Tensor:
        """Body features of a raw batch."""
        return self.net.forward_features(self.prepare(x))  # type: ignore[operator]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (n, C) of body features, or with ``pre_logits`` embeddings (n, d)."""
        return self.net.forward_head(features, pre_logits=pre_logits)  # type: ignore[operator]

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.net.get_classifier()  # type: ignore[operator]

    def reset_classifier(self, n_classes: int) -> None:
        """Replace the last layer by a fresh one with ``n_classes`` outputs."""
        self.net.reset_classifier(n_classes)  # type: ignore[operator]

    def forward(
        self, x: Tensor, return_embeddings: bool = False, from_features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (n, C) of a raw batch, and the embeddings (n, d) if asked for.

        With ``from_features`` the batch holds `frozen_features` instead.
        """
        if self.frozen is not None and self.training and not from_features:
            x, from_features = self.frozen_features(x), True
        if not (return_embeddings or from_features):
            return self.net(self.prepare(x))
        if from_features:
            assert self.frozen is not None
            features = self.frozen.body_features(x)
        else:
            features = self.forward_features(x)
        if not return_embeddings:
            return self.forward_head(features)
        embeddings = self.forward_head(features, pre_logits=True)
        return self.get_classifier()(embeddings), embeddings


def _as_map(values: Tensor, x: Tensor) -> Tensor:
    """One value a channel, (channels,), in a shape to combine with images ``x``."""
    values = values[:, None, None]
    if x.device.type != "cpu":
        return values
    # A CPU broadcasts along the innermost axis, the channels, several times slower than
    # it combines equal shapes.
    values = values.expand(x.shape[1:])[None]
    return values.contiguous(memory_format=torch.channels_last)
