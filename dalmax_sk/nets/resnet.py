"""ResNet-18 for small images."""

from torch import Tensor, nn

from dalmax_sk.nets.base import Net

__all__ = ["CIFARResNet18"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3×3 convolution with padding 1 and no bias (batch normalisation follows)."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside an identity, or a projection where shapes differ."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv3x3(in_channels, out_channels, stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            conv3x3(out_channels, out_channels),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_channels, H, W) to (n, out_channels, H / stride, W / stride)."""
        return self.relu(self.residual(x) + self.shortcut(x))


class CIFARResNet18(Net):
    """ResNet-18 [1]_ with a 3×3 stem and no max-pooling, as is usual on 32×32 images.

    11.2 M parameters, embeddings of 512 entries.

    Parameters
    ----------
    in_channels : int
    n_classes : int
    dropout : float, default=0.0
        Share of embedding entries zeroed in training, right before the last layer.
    width : int, default=64
        Channels of the stem; the embedding has ``8 * width`` entries.

    References
    ----------
    .. [1] He, K., Zhang, X., Ren, S., & Sun, J. (2016). Deep residual learning for
       image recognition. CVPR. https://doi.org/10.1109/CVPR.2016.90

    Examples
    --------
    >>> import torch
    >>> net = CIFARResNet18(in_channels=3, n_classes=10, width=8)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, in_channels: int, n_classes: int, dropout: float = 0.0, width: int = 64
    ) -> None:
        super().__init__()
        self.num_features = 8 * width
        stem = [
            conv3x3(in_channels, width),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        blocks = []
        channels = width
        for stage in range(4):
            out_channels = width * 2**stage
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(BasicBlock(channels, out_channels, stride))
                channels = out_channels
        self.body = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.num_features, n_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He initialisation of the convolutions (fan-out, as in the paper's code)."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(
                    layer.weight, mode="fan_out", nonlinearity="relu"
                )

    def forward_features(self, x: Tensor) -> Tensor:
        """Pooled feature maps: (n, in_channels, H, W) to (n, 8 * width)."""
        return self.body(x)

    def pre_logits(self, features: Tensor) -> Tensor:
        """Embeddings (n, 8 * width), with dropout in training mode."""
        return self.dropout(features)
