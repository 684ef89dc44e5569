"""Attacks equal their definitions, and foolbox finds the same."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from dalmax_sk.cnn import CNNClassifier
from dalmax_sk.nets import MLP, InputClassifier, SmallCNN
from dalmax_sk.strategies.attacks import (
    InputSpace,
    attack_batch_size,
    linear_sizes,
    smallest_perturbations,
    unit_noise,
)

ATTACKS = ("deepfool", "fgsm", "bim", "pgd")


@pytest.fixture(scope="module")
def digits_net():
    """A small CNN trained on digits, and a uint8 batch of 8 it has not seen."""
    digits = load_digits()
    images = np.clip(digits.images * 16, 0, 255).astype(np.uint8)
    clf = CNNClassifier(max_epochs=6, random_state=0, device="cpu")
    # sums depend on the number of threads, and the tests want one and the same net
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    clf.fit(images[:400], digits.target[:400])
    torch.set_num_threads(n_threads)
    return clf.module_.eval(), torch.from_numpy(images[400:408]).unsqueeze(1)


@pytest.fixture(scope="module")
def table_net():
    """An MLP whose columns have units of their own, and a batch of a table."""
    torch.manual_seed(0)
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0])
    module = InputClassifier(MLP(4, 3), torch.ones(4), scale).eval()
    return module, torch.randn(20, 4) * scale + 1


def noise_for(batch, norm, seed=0):
    seeds = np.arange(len(batch)) + seed
    return torch.from_numpy(unit_noise(tuple(batch.shape[1:]), norm, seeds))


def attacked(module, batch, attack, norm, **params):
    noise = noise_for(batch, norm) if attack == "pgd" else None
    return smallest_perturbations(
        module, batch, attack=attack, norm=norm, noise=noise, **params
    )


def change_of(module, batch, found, norm):
    """Size of each perturbation, in the units of the space."""
    space = InputSpace(module, batch)
    change = (space.enter(found.adversarial) - space.enter(batch)).flatten(1)
    return torch.linalg.vector_norm(change, ord=2 if norm == "l2" else torch.inf, dim=1)


# ------------------------------------------------------------------------- definitions


def deepfool_of_one(logits_of, x0, norm, max_iter=50, overshoot=0.02, bounds=None):
    """Algorithm 2 of the paper for one sample, gradients from the full Jacobian."""
    x, total = x0.clone(), torch.zeros_like(x0)
    order = torch.argsort(logits_of(x0), descending=True)[:10].tolist()
    label = order[0]
    for _ in range(max_iter):
        f = logits_of(x).detach()
        if int(f.argmax()) != label:
            break
        jacobian = torch.autograd.functional.jacobian(logits_of, x)
        best, step = np.inf, None
        for k in order[1:]:
            w, gap = jacobian[k] - jacobian[label], abs(float(f[k] - f[label]))
            size = float(w.norm()) if norm == "l2" else float(w.abs().sum())
            if gap / size < best:
                best = gap / size
                unit = w / w.norm() if norm == "l2" else w.sign()
                step = (best + 1e-4) * unit
        total = total + step
        x = x0 + (1 + overshoot) * total
        x = x if bounds is None else x.clamp(*bounds)
    change = (x - x0).flatten()
    return float(change.norm() if norm == "l2" else change.abs().max())


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_equals_its_definition_on_images(digits_net, norm):
    module, batch = digits_net
    found = attacked(module, batch[:8], "deepfool", norm)
    expected = [
        deepfool_of_one(lambda x: module(x[None])[0], x / 255, norm, bounds=(0, 1))
        for x in batch[:8]
    ]
    assert_allclose(found.sizes, expected, rtol=2e-3)
    assert found.sizes.dtype == torch.float64


# the columns of a table are measured in standard deviations
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_equals_its_definition_on_tables(table_net, norm):
    module, batch = table_net
    found = attacked(module, batch, "deepfool", norm)
    expected = [
        deepfool_of_one(lambda x: module((x * module.std)[None])[0], x, norm)
        for x in batch / module.std
    ]
    assert_allclose(found.sizes, expected, rtol=2e-3)


def reference_flips(module, x0, eps, norm, n_steps, share, start=None):
    """Whether one sample flips within a ball: plain cross-entropy, one step a time."""
    label = int(module(x0[None]).argmax())
    x = x0 if start is None else (x0 + eps * start).clamp(0, 1)
    if int(module(x[None]).argmax()) != label:
        return True
    for _ in range(n_steps):
        leaf = x.clone().requires_grad_()
        logits = module(leaf[None]).double()
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        (g,) = torch.autograd.grad(loss, leaf)
        g = g / g.norm() if norm == "l2" else g.sign()
        change = x + share * eps * g - x0
        if norm == "l2":
            change = change * min(1.0, eps / float(change.norm()))
        else:
            change = change.clamp(-eps, eps)
        x = (x0 + change).clamp(0, 1)
        if int(module(x[None]).argmax()) != label:
            return True
    return False


# ε is the end of a bisection: it flips, and a little less does not
@pytest.mark.parametrize("attack", ["fgsm", "bim", "pgd"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.slow
def test_sizes_are_where_the_prediction_begins_to_flip(digits_net, attack, norm):
    module, batch = digits_net
    batch = batch[:4]
    found = attacked(module, batch, attack, norm, tolerance=0.02)
    noise = noise_for(batch, norm)
    assert found.sizes.isfinite().all()
    for x, size, start in zip(batch / 255, found.sizes, noise, strict=True):
        start = start if attack == "pgd" else None
        n_steps, share = (1, 1.0) if attack == "fgsm" else (10, 0.2)
        args = (norm, n_steps, share, start)
        assert reference_flips(module, x, float(size) * 1.0001, *args)
        assert not reference_flips(module, x, float(size) * 0.979, *args)


# the smallest ε, not just any: nothing on a fine grid below flips
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.slow
def test_no_smaller_epsilon_of_fgsm_flips(digits_net, norm):
    module, batch = digits_net
    found = attacked(module, batch[:6], "fgsm", norm)
    for x, size in zip(batch[:6] / 255, found.sizes.tolist(), strict=True):
        for share in np.linspace(0.02, 0.98, 25):
            assert not reference_flips(module, x, size * share, norm, 1, 1.0)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("kind", ["images", "table"])
def test_what_is_found_flips_and_has_the_size(
    digits_net, table_net, attack, norm, kind
):
    module, batch = digits_net if kind == "images" else table_net
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = attacked(module, batch, attack, norm)
    flipped = found.sizes.isfinite()
    assert flipped.float().mean() >= 0.8  # a single step may miss every other class
    after = module(found.adversarial)
    assert_array_equal(after.argmax(dim=1) != found.outputs, flipped)
    assert_array_equal(found.outputs, module(batch).argmax(dim=1))
    size = change_of(module, batch, found, norm)
    if attack == "deepfool":
        assert_allclose(size[flipped], found.sizes[flipped], rtol=1e-4)
    else:
        assert (size <= found.sizes * (1 + 1e-4)).all()
    if kind == "images":
        assert found.adversarial.min() >= 0
        assert found.adversarial.max() <= 1
    two = module(batch).double().softmax(dim=1).sort(dim=1).values[:, -2:]
    assert_allclose(found.margins, (two[:, 1] - two[:, 0]).detach(), atol=1e-6)
    # the net is as it was
    for name, value in module.state_dict().items():
        assert_array_equal(value, before[name])
    assert all(p.grad is None for p in module.parameters())


# ----------------------------------------------------------------------------- oracles


def foolbox_model(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        foolbox = pytest.importorskip("foolbox")
    return foolbox, foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.filterwarnings("ignore")
def test_foolbox_finds_the_same_sizes_by_deepfool(digits_net, norm):
    module, batch = digits_net
    foolbox, model = foolbox_model(module)
    attack = {
        "l2": foolbox.attacks.L2DeepFoolAttack,
        "linf": foolbox.attacks.LinfDeepFoolAttack,
    }[norm](steps=50, candidates=10)
    images = batch / 255
    labels = module(batch).argmax(dim=1)
    _, clipped, success = attack(model, images, labels, epsilons=None)
    assert success.all()
    change = (clipped - images).flatten(1)
    expected = change.norm(dim=1) if norm == "l2" else change.abs().amax(dim=1)
    found = attacked(module, batch, "deepfool", norm)
    assert_allclose(found.sizes, expected.detach(), rtol=5e-3)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("attack", ["fgsm", "bim"])
@pytest.mark.filterwarnings("ignore")
def test_foolbox_flips_at_our_epsilon_and_not_below(digits_net, attack, norm):
    module, batch = digits_net
    foolbox, model = foolbox_model(module)
    attacks = foolbox.attacks
    theirs = {
        ("fgsm", "l2"): attacks.L2FastGradientAttack,
        ("fgsm", "linf"): attacks.LinfFastGradientAttack,
        ("bim", "l2"): attacks.L2BasicIterativeAttack,
        ("bim", "linf"): attacks.LinfBasicIterativeAttack,
    }[attack, norm]
    if attack == "fgsm":
        theirs = theirs(random_start=False)
    else:
        theirs = theirs(rel_stepsize=0.2, steps=10, random_start=False)
    found = attacked(module, batch, attack, norm)
    labels = module(batch).argmax(dim=1)
    flips, below = [], []
    for image, label, size in zip(batch / 255, labels, found.sizes, strict=True):
        for share, seen in ((1.001, flips), (0.98, below)):
            _, _, success = theirs(
                model, image[None], label[None], epsilons=float(size) * share
            )
            seen.append(bool(success))
    # foolbox looks at the last step only, and steps may cross back over a boundary
    least = 1.0 if attack == "fgsm" else 0.7
    assert np.mean(flips) >= least
    assert not any(below)


# ------------------------------------------------------------- linear: exact distances


def random_linear(seed, n_classes=4, d=6, n=15):
    rng = np.random.RandomState(seed)
    weight, bias = rng.randn(n_classes, d), rng.randn(n_classes)
    X = rng.randn(n, d)
    return X, weight, bias, X @ weight.T + bias


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_linear_sizes_equal_their_definition(norm, n_classes):
    X, weight, bias, scores = random_linear(0, n_classes)
    sizes, gaps = linear_sizes(scores, weight, norm)
    for i, x in enumerate(X):
        f = weight @ x + bias
        y = int(f.argmax())
        distances, differences = [], []
        for k in range(n_classes):
            if k != y:
                w = weight[k] - weight[y]
                length = np.sqrt((w**2).sum()) if norm == "l2" else np.abs(w).sum()
                distances.append(abs(f[k] - f[y]) / length)
                differences.append(f[y] - f[k])
        assert_allclose(sizes[i], min(distances))
        assert_allclose(gaps[i], min(differences))


# no perturbation of less than the size flips, and one of a little more does
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["l2", "linf"]))
def test_linear_sizes_are_the_smallest(seed, norm):
    X, weight, bias, scores = random_linear(seed, n=1)
    size = linear_sizes(scores, weight, norm)[0][0]
    y = scores[0].argmax()
    rng = np.random.RandomState(seed)
    if norm == "l2":
        moves = rng.randn(500, X.shape[1])
        moves /= np.linalg.norm(moves, axis=1, keepdims=True)
        best = (weight - weight[y]) / np.maximum(
            np.linalg.norm(weight - weight[y], axis=1, keepdims=True), 1e-12
        )
    else:
        moves = rng.choice([-1.0, 1.0], size=(500, X.shape[1]))
        best = np.sign(weight - weight[y])
    stay = (X + 0.999 * size * moves) @ weight.T + bias
    assert (stay.argmax(axis=1) == y).all()
    go = (X + 1.001 * size * best) @ weight.T + bias
    assert (go.argmax(axis=1) != y).any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_attacks_on_a_linear_net_find_the_exact_size(norm):
    X, weight, bias, scores = random_linear(1, d=6, n=30)
    net = MLP(6, 4, hidden_sizes=())
    net.classifier.weight.data = torch.from_numpy(weight).float()
    net.classifier.bias.data = torch.from_numpy(bias).float()
    module = InputClassifier(net, torch.zeros(6), torch.ones(6)).eval()
    exact = linear_sizes(scores, weight, norm)[0]
    found = attacked(module, torch.from_numpy(X).float(), "deepfool", norm)
    assert_allclose(found.sizes, 1.02 * (exact + 1e-4), rtol=1e-3)
    two = weight[:2], scores[:, :2]  # with two classes the gradient leads straight on
    net.reset_classifier(2)
    net.classifier.weight.data = torch.from_numpy(two[0]).float()
    net.classifier.bias.data = torch.from_numpy(bias[:2]).float()
    exact = linear_sizes(two[1], two[0], norm)[0]
    for attack in ("fgsm", "bim"):
        found = attacked(module, torch.from_numpy(X).float(), attack, norm)
        inside = exact < InputSpace(module, torch.zeros(1, 6)).largest_size(norm) / 2
        assert_allclose(found.sizes[inside], exact[inside], rtol=0.011)
        assert (found.sizes.numpy()[inside] >= exact[inside] * (1 - 1e-5)).all()


def test_classes_that_no_change_reaches():
    weight = np.array([[1.0, 0.0], [1.0, 0.0]])
    sizes, gaps = linear_sizes(np.array([[2.0, 1.0]]), weight)
    assert sizes.tolist() == [np.inf]
    assert gaps.tolist() == [1.0]
    sizes, gaps = linear_sizes(np.array([[2.0]]), weight[:1])
    assert sizes.tolist() == gaps.tolist() == [np.inf]


# -------------------------------------------------------------------------- edge cases


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.slow
def test_a_batch_is_attacked_as_its_samples_by_themselves(digits_net, attack):
    module, batch = digits_net
    together = attacked(module, batch[:2], attack, "l2").sizes
    for i in range(2):
        noise = noise_for(batch[:2], "l2")[i : i + 1] if attack == "pgd" else None
        alone = smallest_perturbations(
            module, batch[i : i + 1], attack=attack, noise=noise
        )
        assert_allclose(alone.sizes[0], together[i], rtol=2e-2)


def test_what_does_not_flip_is_infinite_and_unchanged(digits_net):
    module, batch = digits_net
    found = attacked(module, batch, "deepfool", "l2", max_iter=1)
    assert found.sizes.isinf().any()
    unflipped = found.sizes.isinf()
    assert_array_equal(found.adversarial[unflipped], batch[unflipped] / 255)
    for attack in ("fgsm", "bim", "pgd"):
        found = attacked(module, batch, attack, "l2", max_size=1e-3)
        sure = attacked(module, batch, "deepfool", "l2").sizes > 0.01
        assert found.sizes[sure].isinf().all()
        assert_array_equal(found.adversarial[sure], batch[sure] / 255)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_sure_net_is_attacked_all_the_same(attack):
    # logits hundreds apart: the gradient of the cross-entropy itself is exactly 0
    net = MLP(2, 2, hidden_sizes=())
    net.classifier.weight.data = torch.tensor([[-500.0, 0.0], [500.0, 0.0]])
    net.classifier.bias.data = torch.zeros(2)
    module = InputClassifier(net, torch.zeros(2), torch.ones(2)).eval()
    found = attacked(module, torch.tensor([[1.0, 0.3]]), attack, "l2")
    assert 0.9 < float(found.sizes) < 2.1
    if attack != "pgd":
        assert float(found.sizes) < 1.03


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_net_that_is_constant_never_flips(attack):
    net = MLP(2, 3, hidden_sizes=())
    net.classifier.weight.data.zero_()
    net.classifier.bias.data = torch.tensor([0.0, 1.0, 0.5])
    module = InputClassifier(net, torch.zeros(2), torch.ones(2)).eval()
    found = attacked(module, torch.randn(3, 2), attack, "linf")
    assert found.sizes.isinf().all()
    assert found.outputs.tolist() == [1, 1, 1]


@pytest.mark.parametrize("attack", ATTACKS)
def test_on_the_boundary_the_search_ends(attack):
    net = MLP(1, 2, hidden_sizes=())
    net.classifier.weight.data = torch.tensor([[-1.0], [1.0]])
    net.classifier.bias.data.zero_()
    module = InputClassifier(net, torch.zeros(1), torch.ones(1)).eval()
    found = attacked(module, torch.zeros(1, 1), attack, "l2")
    assert float(found.sizes) < 2e-4


def test_one_class_never_flips():
    module = InputClassifier(MLP(2, 1), torch.zeros(2), torch.ones(2)).eval()
    found = attacked(module, torch.randn(3, 2), "deepfool", "l2")
    assert found.sizes.isinf().all()
    assert found.margins.tolist() == [1.0] * 3


def test_unknown_attacks_and_norms_are_refused(table_net):
    module, batch = table_net
    with pytest.raises(ValueError, match=r"attack must be one of .* got 'cw'"):
        smallest_perturbations(module, batch, attack="cw")
    with pytest.raises(ValueError, match=r"norm must be one of .* got 'l1'"):
        smallest_perturbations(module, batch, norm="l1")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), norm=st.sampled_from(["l2", "linf"]))
def test_noise_lies_in_the_ball_and_depends_on_its_seed_only(seed, norm):
    seeds = np.arange(5) + seed
    noise = unit_noise((2, 3), norm, seeds)
    flat = noise.reshape(5, -1)
    sizes = np.linalg.norm(flat, axis=1, ord=2 if norm == "l2" else np.inf)
    assert noise.shape == (5, 2, 3)
    assert (sizes <= 1 + 1e-6).all()
    assert_array_equal(unit_noise((2, 3), norm, seeds[3:4])[0], noise[3])


# a point drawn evenly from a ball of dimension 2 has E[radius²] = 1/2
def test_noise_fills_the_ball_evenly():
    noise = unit_noise((2,), "l2", np.arange(4000))
    assert abs((noise**2).sum(axis=1).mean() - 0.5) < 0.02
    assert np.abs(noise.mean(axis=0)).max() < 0.03


def test_batches_fit_the_memory():
    module = InputClassifier(SmallCNN(3, 10), torch.zeros(3), torch.ones(3)).eval()
    sample = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    sizes = [attack_batch_size(module, sample, limit) for limit in (1, 2**23, 2**24)]
    assert sizes[0] == 1
    assert 1 < sizes[1] < sizes[2] <= 128
    # weights, here 64 times as large as a sample, are not counted as parts of it
    wide = InputClassifier(MLP((3, 32, 32), 10), torch.zeros(3), torch.ones(3)).eval()
    assert attack_batch_size(wide, sample, 2**24) > 60


@pytest.mark.gpu
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_gpu_finds_the_same(digits_net, attack):
    module, batch = digits_net
    here = attacked(module, batch, attack, "l2").sizes
    there = smallest_perturbations(
        module.cuda(),
        batch.cuda(),
        attack=attack,
        noise=noise_for(batch, "l2").cuda() if attack == "pgd" else None,
    )
    module.cpu()
    assert there.sizes.is_cuda
    assert_allclose(there.sizes.cpu(), here, rtol=3e-2)
