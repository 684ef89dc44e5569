"""Going on from present weights: as they are, or shrunk and perturbed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from torch import nn

from dalmax_sk import ActiveLearningClassifier
from dalmax_sk.cnn import CNNClassifier, load_model, save_model
from dalmax_sk.cnn.warm_start import WarmStart, check_shrink_perturb
from dalmax_sk.nets.classifier import InputClassifier
from dalmax_sk.strategies import UncertaintySampling


@pytest.fixture(scope="module")
def digits():
    data = load_digits(n_class=3)
    return data.images[:150], data.target[:150]


def net(**params):
    settings = {"max_epochs": 1, "random_state": 0, "device": "cpu", "lr": 3e-3}
    return CNNClassifier(**settings | params)


def weights(clf):
    return {name: value.clone() for name, value in clf.module_.state_dict().items()}


class Body(nn.Module):
    """Convolution, batch normalisation (with and without parameters), linear layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.BatchNorm2d(4, affine=False),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x))


def module(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = InputClassifier(Body(), torch.full((1,), 2.0), torch.full((1,), 3.0))
        for part in made.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                if part.affine:
                    part.bias.data.normal_()
                part.num_batches_tracked += seed
        return made


def running_means(net):
    return [pair for pair in net.named_buffers() if "running_mean" in pair[0]]


def states(seed=1):
    """Return a net as just built, its state, and the state it goes on from."""
    fresh = module(seed)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    return fresh, before, module(2).state_dict()


def test_definition():
    # each trained parameter is shrunk and a fresh one's share added; the statistics of
    # batch normalisation start afresh
    fresh, before, old = states()
    WarmStart(old, (0.4, 0.1)).load_into(fresh)
    parameters = dict(fresh.named_parameters())
    for name, value in fresh.state_dict().items():
        if name in parameters:
            expected = 0.4 * old[name] + 0.1 * before[name]
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)
            assert not torch.equal(value, old[name])
        else:
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(("pair", "which"), [((1.0, 0.0), "old"), ((0.0, 1.0), "new")])
def test_ends_of_the_scale(pair, which):
    fresh, before, old = states()
    WarmStart(old, pair).load_into(fresh)
    for name, value in fresh.named_parameters():
        assert torch.equal(value, (old if which == "old" else before)[name])


def test_a_plain_warm_start_takes_everything():
    fresh, _, old = states()
    WarmStart(old).load_into(fresh)
    assert all(torch.equal(v, old[name]) for name, v in fresh.state_dict().items())


def test_frozen_parts_stay_as_they_are():
    fresh, before, old = states()
    fresh.net.body.requires_grad_(False)
    WarmStart(old, (0.4, 0.1)).load_into(fresh)
    for name, value in fresh.state_dict().items():
        if name.startswith("net.body"):  # the buffers of its layers as well
            assert torch.equal(value, old[name]), name
    expected = 0.4 * old["net.head.weight"] + 0.1 * before["net.head.weight"]
    torch.testing.assert_close(fresh.net.head.weight.data, expected)


def test_shared_parameters_are_changed_once():
    fresh, _, old = states()
    fresh.net.twin = fresh.net.head
    before = fresh.net.head.weight.detach().clone()
    old = {**old, "net.twin.weight": old["net.head.weight"]}
    old["net.twin.bias"] = old["net.head.bias"]
    WarmStart(old, (0.4, 0.1)).load_into(fresh)
    expected = 0.4 * old["net.head.weight"] + 0.1 * before
    torch.testing.assert_close(fresh.net.head.weight.data, expected)


def test_a_given_module_is_drawn_anew(digits):
    # its own weights, a copy of which each fit gets, would be no noise
    given = Body()
    fresh = InputClassifier(Body(), torch.zeros(1), torch.ones(1))
    fresh.net.load_state_dict(module(1).net.state_dict())
    assert all(float(v.abs().max()) for n, v in running_means(fresh))
    before = fresh.net.head.weight.detach().clone()
    old = module(2).state_dict()
    WarmStart(old, (0.0, 1.0), fresh_is_random=False).load_into(fresh)
    assert not torch.equal(fresh.net.head.weight, before)
    assert all(not float(v.abs().max()) for n, v in running_means(fresh))
    clf = net(architecture=given, warm_start=True, shrink_perturb=(0.4, 0.1))
    kept = given.head.weight.detach().clone()
    clf.fit(*digits).fit(*digits)
    assert torch.equal(given.head.weight, kept)


def test_a_layer_that_cannot_draw_anew_is_named(digits):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.factor

    given = nn.Sequential(nn.Flatten(), Scale(), nn.Linear(64, 3))
    clf = net(architecture=given, warm_start=True, shrink_perturb=(0.4, 0.1))
    clf.fit(*digits)
    with pytest.raises(ValueError, match=r"'net\.module\.1' \(Scale\).*has no reset_p"):
        clf.fit(*digits)


def test_another_architecture_is_refused(digits):
    clf = net(warm_start=True, shrink_perturb=(0.4, 0.1)).fit(*digits)
    clf.set_params(architecture="cifar_resnet18")
    with pytest.raises(ValueError, match="the present weights do not fit the arch"):
        clf.fit(*digits)


@pytest.mark.parametrize(
    "value",
    [(0.4,), (0.4, 0.1, 0), (-0.1, 0.1), (1.1, 0.1), (0.4, -1), (0, 0), (np.nan, 1)]
    + [("a", 1), (0.4, np.inf), (True, 0.1), 0.4, "0.4,0.1"],
)
def test_wrong_values(digits, value):
    with pytest.raises(ValueError, match=r"shrink_perturb.*must be"):
        net(shrink_perturb=value).fit(*digits)


def test_right_values():
    assert check_shrink_perturb(None) is None
    assert check_shrink_perturb([1, 0]) == (1.0, 0.0)
    assert check_shrink_perturb((np.float32(0.5), np.int64(2))) == (0.5, 2.0)


def test_fits_that_go_on_from_nothing_are_unchanged(digits):
    # without warm_start, and in the first fit with it
    expected = weights(net().fit(*digits))
    for params in ({}, {"warm_start": True}):
        clf = net(shrink_perturb=(0.4, 0.1), **params).fit(*digits)
        found = weights(clf)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert clf.n_fits_ == 1


def test_each_fit_has_its_own_noise_and_a_repeated_run_the_same(digits):
    # lr so small that training changes nothing: what is left is the start
    def run():
        clf = net(warm_start=True, shrink_perturb=(1.0, 0.1), lr=1e-30)
        starts = [weights(clf.fit(*digits))["net.classifier.weight"] for _ in range(4)]
        assert clf.n_fits_ == 4
        return starts

    first, again = run(), run()
    assert all(map(torch.equal, first, again))
    noise = [(after - before) / 0.1 for before, after in pairwise(first)]
    for i, one in enumerate(noise):
        assert 0.01 < float(one.std()) < 1
        for other in [first[0], *noise[:i]]:  # nor is it the first fit's fresh net
            flat = torch.stack([one.flatten(), other.flatten()])
            assert abs(float(torch.corrcoef(flat)[0, 1])) < 0.2


def test_optimizer_and_schedule_start_afresh(digits):
    clf = net(warm_start=True, shrink_perturb=(0.4, 0.1), max_epochs=3)
    first = [row["lr"] for row in clf.fit(*digits).history_]
    second = [row["lr"] for row in clf.fit(*digits).history_]
    assert first == second
    assert not clf.net_.optimizer_.state


def test_normalisation_of_inputs_stays(digits):
    X, y = digits
    clf = net(warm_start=True, shrink_perturb=(0.4, 0.1)).fit(X, y)
    mean = clf.module_.mean.clone()
    clf.fit(X[:60] * 0.5, y[:60])
    assert torch.equal(clf.module_.mean, mean)


def test_clones_and_files(digits, tmp_path):
    clf = net(warm_start=True, shrink_perturb=(0.4, 0.1)).fit(*digits)
    assert clone(clf).shrink_perturb == (0.4, 0.1)
    save_model(clf, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert loaded.shrink_perturb == (0.4, 0.1)
    again = loaded.fit(*digits)
    expected = weights(clf.fit(*digits))
    assert all(torch.equal(v, expected[k]) for k, v in weights(again).items())


def test_frozen_layers_of_a_classifier_stay(digits, tmp_path):
    X, y = digits
    clf = net(warm_start=True, shrink_perturb=(0.4, 0.1))
    torch.save(clf.fit(X, y).module_.net.state_dict(), tmp_path / "net.pt")
    clf = clone(clf).set_params(freeze="body", weights=str(tmp_path / "net.pt"))
    clf.set_params(normalize="train")
    before = weights(clf.fit(X, y))
    after = weights(clf.fit(X, y))
    trained = dict(clf.module_.named_parameters())
    frozen = [name for name, value in trained.items() if not value.requires_grad]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in trained)


# ------------------------------------------------------------------------- in a learner


def learner(checkpoint_dir=None, **params):
    return ActiveLearningClassifier(
        net(random_state=None, shrink_perturb=(0.5, 0.1), max_epochs=2),
        UncertaintySampling(),
        refit="continue",
        n_initial=20,
        query_size=10,
        random_state=0,
        checkpoint_dir=checkpoint_dir,
        **params,
    )


def test_a_resumed_run_draws_the_same_noise(digits, tmp_path):
    whole = learner(n_rounds=3).fit(*digits)
    learner(tmp_path, n_rounds=1).fit(*digits)
    resumed = learner(tmp_path, n_rounds=3).fit(*digits)
    np.testing.assert_array_equal(resumed.labeled_indices_, whole.labeled_indices_)
    expected = weights(whole.estimator_)
    found = weights(resumed.estimator_)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.estimator_.n_fits_ == whole.estimator_.n_fits_ == 4


def test_stages_are_those_of_the_rounds(digits):
    X, y = digits
    run = learner(n_rounds=2).fit(X, y, eval_set=(X, y))
    expected = [record["eval_accuracy"] for record in run.history_]
    assert list(run.staged_score(X, y)) == expected


def test_shrinking_throws_the_net_back(digits):
    # property: with (1, 0) the first epoch begins where the last fit ended, with a
    # fresh net's weights as high as at the very start
    losses = {}
    for pair in [(1.0, 0.0), (0.0, 1.0)]:
        clf = net(warm_start=True, shrink_perturb=pair, max_epochs=8)
        first = clf.fit(*digits).history_[0]["train_loss"]
        losses[pair] = clf.fit(*digits).history_[0]["train_loss"] / first
    assert losses[(1.0, 0.0)] < 0.5
    assert losses[(0.0, 1.0)] > 0.7
