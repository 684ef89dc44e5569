"""The nets' common interface, the registry, and weights from files."""

import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from dalmax_sk.nets import (
    MLP,
    CIFARResNet18,
    InputClassifier,
    LastLinearNet,
    NoEmbeddingError,
    SmallCNN,
    TorchvisionNet,
    build_net,
    net_names,
)

OWN = ["small_cnn", "cifar_resnet18", "mlp"]
QUICK_TORCHVISION = [
    "resnet18",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
]


def random_batch(n=3, shape=(3, 32, 32)):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def check_interface(net, x, n_classes):
    """The promises of dalmax_sk.nets.Net, on a net in evaluation mode."""
    net.eval()
    with torch.inference_mode():
        features = net.forward_features(x)
        embeddings = net.forward_head(features, pre_logits=True)
        logits = net.forward_head(features)
        assert embeddings.shape == (len(x), net.num_features)
        assert logits.shape == (len(x), n_classes)
        torch.testing.assert_close(net(x), logits)
        torch.testing.assert_close(net.get_classifier()(embeddings), logits)


@pytest.mark.parametrize("name", OWN + QUICK_TORCHVISION)
def test_interface(name):
    # the logits are the last layer applied to the embedding, and forward is body + head
    net = build_net(name, input_shape=(3, 32, 32), n_classes=5)
    check_interface(net, random_batch(), 5)
    net.reset_classifier(7)
    check_interface(net, random_batch(), 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "width"),
    [
        ("vgg16", 32, 4096),
        ("resnet50", 32, 2048),
        ("efficientnet_b0", 32, 1280),
        ("densenet121", 32, 1024),
        ("convnext_tiny", 32, 768),
        ("swin_t", 32, 768),
        ("vit_b_16", 32, 768),
        ("googlenet", 32, 1024),
        ("inception_v3", 96, 2048),
        ("regnet_y_400mf", 32, 440),
        ("alexnet", 64, 4096),
        ("maxvit_t", 224, 512),
    ],
)
def test_interface_of_large_torchvision_nets(name, size, width):
    net = build_net(name, input_shape=(3, size, size), n_classes=5)
    assert net.num_features == width
    check_interface(net, random_batch(2, (3, size, size)), 5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small_cnn", (1, 8, 8)),
        ("small_cnn", (3, 64, 48)),
        ("small_cnn", (4, 12, 12)),
        ("cifar_resnet18", (4, 8, 8)),
        ("mlp", (1, 8, 8)),
    ],
)
def test_own_nets_take_any_image(name, shape):
    net = build_net(name, input_shape=shape, n_classes=3)
    check_interface(net, random_batch(2, shape), 3)


def test_cifar_resnet18_has_the_published_size():
    # 11.17 M parameters with 10 classes, the usual ResNet-18 with a 3×3 stem
    net = CIFARResNet18(3, 10)
    assert sum(p.numel() for p in net.parameters()) == 11_173_962


@pytest.mark.parametrize(
    "name", ["small_cnn", "mlp", "googlenet", "mobilenet_v3_small"]
)
def test_dropout_sits_in_the_head(name):
    # Monte-Carlo dropout runs the body once: nothing else may be random
    net = build_net(name, input_shape=(3, 32, 32), n_classes=3, dropout=0.5)
    net.eval()
    x = random_batch(2)
    with torch.no_grad():
        features = net.forward_features(x)
        for layer in net.modules():
            if isinstance(layer, nn.Dropout):
                layer.train()
        torch.testing.assert_close(net.forward_features(x), features)
        # an untrained body may give next to nothing in evaluation mode, so look inside
        assert not any(isinstance(layer, nn.Dropout) for layer in net.body.modules())
        noise = torch.randn_like(features)
        assert not torch.equal(net.forward_head(noise), net.forward_head(noise))


def test_dropout_rate_reaches_the_layers():
    net = build_net("resnet18", input_shape=(3, 32, 32), n_classes=3, dropout=0.3)
    rates = [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.3]


def test_names():
    names = net_names()
    assert {"small_cnn", "cifar_resnet18", "mlp", "vgg16", "vit_b_16"} <= set(names)
    assert not any(name.startswith("squeezenet") for name in names)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", r"architecture='resnet81' is unknown\. Did you mean 'resnet18'\?"),
        ("small_CNN", "Did you mean 'small_cnn'"),
        ("qqq", r"is unknown\. Known are small_cnn"),
    ],
)
def test_unknown_name(name, message):
    with pytest.raises(ValueError, match=message):
        build_net(name, input_shape=(3, 32, 32), n_classes=3)


def test_conv_net_on_a_table():
    with pytest.raises(ValueError, match=r"'resnet18' needs images.*table with 6 col"):
        build_net("resnet18", input_shape=(6,), n_classes=3)
    assert isinstance(build_net("small_cnn", input_shape=(6,), n_classes=3), MLP)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet18", (4, 32, 32), "takes images with 3 channels"),
        ("vit_b_32", (3, 32, 64), "takes square images, got 32×64"),
        ("small_cnn", (3, 2, 2), r"shape 3×2×2: .* Images of 4×4 pixels fit"),
    ],
)
def test_images_that_do_not_fit(name, shape, message):
    with pytest.raises(ValueError, match=message):
        build_net(name, input_shape=shape, n_classes=3)


def test_grey_images_are_repeated_for_torchvision():
    net = build_net("resnet18", input_shape=(1, 32, 32), n_classes=3).eval()
    x = random_batch(2, (1, 32, 32))
    with torch.inference_mode():
        torch.testing.assert_close(
            net(x),
            net.body(x.repeat(1, 3, 1, 1)) @ (net.classifier.weight.T)
            + net.classifier.bias,
        )


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_same_function_as_torchvision(name, tmp_path):
    # a state dict under torchvision's names gives torchvision's outputs
    model = torchvision.models.get_model(name, num_classes=4).eval()
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    net = build_net(name, input_shape=(3, 32, 32), n_classes=4, weights=path).eval()
    x = random_batch()
    with torch.inference_mode():
        torch.testing.assert_close(net(x), model(x))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(tmp_path, suffix):
    # everything but a last layer of another shape comes from the file
    saved = SmallCNN(3, 10)
    path = tmp_path / f"weights{suffix}"
    state = saved.state_dict()
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        save_file(state, path)
    same = build_net("small_cnn", input_shape=(3, 8, 8), n_classes=10, weights=path)
    other = build_net("small_cnn", input_shape=(3, 8, 8), n_classes=4, weights=path)
    for key, tensor in state.items():
        torch.testing.assert_close(same.state_dict()[key], tensor)
        if not key.startswith("classifier"):
            torch.testing.assert_close(other.state_dict()[key], tensor)
    assert other.get_classifier().out_features == 4


def test_weights_of_another_net(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(SmallCNN(3, 10, width=16).state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"weights\.safetensors does not fit.*body\.0\.0\.weight has shape "
        r"\(16, 3, 3, 3\), expected \(32, 3, 3, 3\).* more\. Only the last layer",
    ):
        build_net("small_cnn", input_shape=(3, 8, 8), n_classes=10, weights=path)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is missing"):
        build_net("small_cnn", input_shape=(3, 8, 8), n_classes=10, weights=path)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file ran code",))


def test_files_that_are_no_weights(tmp_path):
    def build(name):
        shape = (3, 8, 8)
        weights = tmp_path / name
        return build_net("small_cnn", input_shape=shape, n_classes=2, weights=weights)

    with pytest.raises(FileNotFoundError, match=r"no file of weights .*absent\.pth"):
        build("absent.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match=r"damaged\.safetensors cannot be read"):
        build("damaged.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt must hold a state dict.*a list"):
        build("list.pt")
    # a pickle that would run code is refused, not run
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(ValueError, match=r"bomb\.pth cannot be read as weights"):
        build("bomb.pth")
    with pytest.raises(ValueError, match=r"weights\.bin must end in one of"):
        build("weights.bin")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("small_cnn", "imagenet", "no pretrained weights by that name"),
        ("resnet18", "IMAGENET9K", "does not exist.*knows IMAGENET1K_V1, DEFAULT"),
    ],
)
def test_unknown_weights(name, weights, message):
    with pytest.raises(ValueError, match=message):
        build_net(name, input_shape=(3, 32, 32), n_classes=2, weights=weights)


class Plain(nn.Module):
    """A net without the interface: a linear layer in the middle of forward."""

    def __init__(self, n_classes=3, last=nn.Linear):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.out = last(4, n_classes)

    def forward(self, x):
        return self.out(self.conv(x).relu().mean((2, 3)))


def test_foreign_module_gets_the_interface():
    # the embedding is what enters the last linear layer
    module = Plain()
    net = build_net(module, input_shape=(3, 8, 8), n_classes=3)
    check_interface(net, random_batch(2, (3, 8, 8)), 3)
    x = random_batch(2, (3, 8, 8))
    expected = net.module.conv(x).relu().mean((2, 3))
    torch.testing.assert_close(net.forward_features(x), expected)


def test_foreign_module_is_copied_and_its_head_resized():
    module = Plain(n_classes=3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    net = build_net(module, input_shape=(3, 8, 8), n_classes=5)
    check_interface(net, random_batch(2, (3, 8, 8)), 5)
    with torch.no_grad():
        net.module.conv.weight.zero_()
    for key, tensor in before.items():
        torch.testing.assert_close(module.state_dict()[key], tensor)


def test_callable_architecture():
    def make(input_shape, n_classes):
        assert input_shape == (3, 8, 8)
        return SmallCNN(input_shape[0], n_classes, width=4)

    net = build_net(make, input_shape=(3, 8, 8), n_classes=3)
    assert isinstance(net, SmallCNN)
    assert net.num_features == 16


def test_module_without_linear_layer():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3))

    net = build_net(Pooled(), input_shape=(3, 8, 8), n_classes=2)
    assert net(random_batch(2, (3, 8, 8))).shape == (2, 2)
    with pytest.raises(NoEmbeddingError, match=r"Pooled has no torch\.nn\.Linear"):
        net.forward_features(random_batch(2, (3, 8, 8)))


@pytest.mark.parametrize(
    ("architecture", "error", "message"),
    [
        (lambda shape, n: "net", TypeError, "must return a torch.nn.Module, got a str"),
        (
            lambda shape, n: nn.Flatten(),
            ValueError,
            r"must map .* \(2, 3\).*\(2, 192\)",
        ),
    ],
)
def test_bad_callables(architecture, error, message):
    with pytest.raises(error, match=message):
        build_net(architecture, input_shape=(3, 8, 8), n_classes=3)


def test_options_that_a_module_cannot_take():
    with pytest.raises(ValueError, match=r"weights='imagenet' and dropout=0\.5 cannot"):
        build_net(
            Plain(),
            input_shape=(3, 8, 8),
            n_classes=3,
            dropout=0.5,
            weights="imagenet",
        )


def test_weights_file_for_a_foreign_module(tmp_path):
    module = Plain(n_classes=4)
    save_file(module.state_dict(), tmp_path / "plain.safetensors")
    net = build_net(
        Plain(),
        input_shape=(3, 8, 8),
        n_classes=3,
        weights=tmp_path / "plain.safetensors",
    )
    torch.testing.assert_close(net.module.conv.weight, module.conv.weight)


def test_embedding_of_a_linear_layer_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    net = LastLinearNet(Twice(), 3)
    with pytest.raises(NoEmbeddingError, match="called once a forward pass"):
        net.forward_features(torch.zeros(2, 3))


def input_classifier(**kwargs):
    net = SmallCNN(3, 2, width=4)
    mean, std = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.5, 0.0])
    return InputClassifier(net, mean, std, **kwargs).eval()


def test_uint8_and_float_are_the_same_image():
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    module = input_classifier()
    torch.testing.assert_close(module(pixels), module(pixels / 255))


def test_normalisation():
    # (x - mean) / std; a channel without variation is only centred
    x = random_batch(2, (3, 8, 8))
    expected = x - torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1)
    expected /= torch.tensor([0.1, 0.5, 1.0]).view(3, 1, 1)
    torch.testing.assert_close(input_classifier().prepare(x), expected)


def test_images_of_another_size():
    module = input_classifier(image_size=(8, 8))
    assert module.prepare(random_batch(2, (3, 20, 12))).shape == (2, 3, 8, 8)


def test_gradients_reach_the_inputs():
    x = random_batch(2, (3, 8, 8)).requires_grad_()
    input_classifier()(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_both_outputs_of_one_pass():
    module, x = input_classifier(), random_batch(2, (3, 8, 8))
    logits, embeddings = module(x, return_embeddings=True)
    torch.testing.assert_close(logits, module(x))
    torch.testing.assert_close(module.get_classifier()(embeddings), logits)


def test_torchvision_net_without_pretrained_weights_has_fresh_head():
    net = TorchvisionNet("resnet18", n_classes=6)
    assert net.get_classifier().weight.shape == (6, 512)
