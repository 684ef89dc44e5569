"""Two nets that train in seconds on a CPU: a small CNN and a perceptron for tables."""

import math

from torch import Tensor, nn

from dalmax_sk.nets.base import Net

__all__ = ["MLP", "SmallCNN"]


def conv_block(in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    """3×3 convolution, batch normalisation, 2×2 max-pooling if asked for, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    # Before the ReLU, with which it commutes: a quarter of the values to rectify.
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class SmallCNN(Net):
    """Three convolutions (32, 64, 128 channels), pooling between, one linear layer.

    0.09 M parameters at 3 channels and 10 classes. Any image of 4×4 pixels or more
    will do; it is meant for 8×8 grey to 64×64 colour.

    Parameters
    ----------
    in_channels : int
    n_classes : int
    dropout : float, default=0.25
        Share of embedding entries zeroed in training, right before the last layer.
    width : int, default=32
        Channels of the first convolution; the embedding has ``4 * width`` entries.

    Examples
    --------
    >>> import torch
    >>> net = SmallCNN(in_channels=1, n_classes=10)
    >>> net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, in_channels: int, n_classes: int, dropout: float = 0.25, width: int = 32
    ) -> None:
        super().__init__()
        self.num_features = 4 * width
        self.body = nn.Sequential(
            conv_block(in_channels, width, pool=True),
            conv_block(width, 2 * width, pool=True),
            conv_block(2 * width, 4 * width, pool=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.num_features, n_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Pooled feature maps: (n, in_channels, H, W) to (n, 4 * width)."""
        return self.body(x)

    def pre_logits(self, features: Tensor) -> Tensor:
        """Embeddings (n, 4 * width), with dropout in training mode."""
        return self.dropout(features)


class MLP(Net):
    """A multi-layer perceptron: linear layers with ReLU, dropout before the last.

    Parameters
    ----------
    n_inputs : int or tuple of int
        Number of columns, or the shape of one sample, which is flattened.
    n_classes : int
    dropout : float, default=0.1
    hidden_sizes : tuple of int, default=(64, 64)
        The last of them is the embedding's width.

    Examples
    --------
    >>> import torch
    >>> MLP(n_inputs=4, n_classes=3)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_inputs: int | tuple[int, ...],
        n_classes: int,
        dropout: float = 0.1,
        hidden_sizes: tuple[int, ...] = (64, 64),
    ) -> None:
        super().__init__()
        size = n_inputs if isinstance(n_inputs, int) else math.prod(n_inputs)
        layers: list[nn.Module] = [nn.Flatten()]
        for hidden in hidden_sizes:
            layers += [nn.Linear(size, hidden), nn.ReLU(inplace=True)]
            size = hidden
        self.num_features = size
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(size, n_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last hidden layer: (n, ...) to (n, hidden_sizes[-1])."""
        return self.body(x)

    def pre_logits(self, features: Tensor) -> Tensor:
        """Embeddings (n, hidden_sizes[-1]), with dropout in training mode."""
        return self.dropout(features)
