"""Torch modules and nothing but torch: own nets and torchvision's, one interface."""

from dalmax_sk.nets.base import LastLinearNet, Net, NoEmbeddingError
from dalmax_sk.nets.classifier import InputClassifier
from dalmax_sk.nets.registry import Architecture, build_net, net_names
from dalmax_sk.nets.resnet import CIFARResNet18
from dalmax_sk.nets.small import MLP, SmallCNN
from dalmax_sk.nets.torchvision_nets import TorchvisionNet

__all__ = [
    "MLP",
    "Architecture",
    "CIFARResNet18",
    "InputClassifier",
    "LastLinearNet",
    "Net",
    "NoEmbeddingError",
    "SmallCNN",
    "TorchvisionNet",
    "build_net",
    "net_names",
]
