"""A policy draws what it says, knows its gradient, and survives a file."""

import itertools
import json

import numpy as np
import pytest

from dalmax_sk.strategies.reinforcement import (
    FEATURE_NAMES,
    Policy,
    PolicyFileError,
    default_policy,
    load_policy,
)

N_FEATURES = len(FEATURE_NAMES)


def random_policy(seed=0, n_hidden=5):
    rng = np.random.RandomState(seed)
    return Policy(
        linear=rng.randn(N_FEATURES),
        weight=rng.randn(N_FEATURES, n_hidden),
        bias=rng.randn(n_hidden),
        output=rng.randn(n_hidden),
    )


def features(n, seed=0):
    return np.random.RandomState(seed).rand(n, N_FEATURES)


def test_scores_equal_the_formula():
    policy, X = random_policy(), features(7)
    for i, x in enumerate(X):
        expected = sum(a * v for a, v in zip(policy.linear, x, strict=True))
        for h in range(5):
            inner = sum(policy.weight[f, h] * x[f] for f in range(N_FEATURES))
            expected += policy.output[h] * np.tanh(inner + policy.bias[h])
        assert policy.scores(X)[i] == pytest.approx(expected)


def test_an_untrained_policy_is_uniform():
    np.testing.assert_array_equal(Policy.initial().scores(features(9)), 0)


def test_probabilities_of_all_ordered_batches_sum_to_one():
    policy, X = random_policy(), features(5)
    total = sum(
        np.exp(policy.log_probability(X, batch))
        for batch in itertools.permutations(range(5), 3)
    )
    assert total == pytest.approx(1)


def test_draws_follow_the_probabilities():
    # chi-square over the 12 ordered pairs of 4 candidates
    policy, X = random_policy(1), features(4, seed=1)
    policy.linear *= 0.3
    policy.output *= 0.3
    rng = np.random.RandomState(0)
    pairs = list(itertools.permutations(range(4), 2))
    counts = dict.fromkeys(pairs, 0)
    for _ in range(6000):
        counts[tuple(policy.draw(X, 2, rng).tolist())] += 1
    expected = {p: 6000 * np.exp(policy.log_probability(X, p)) for p in pairs}
    chi = sum((counts[p] - expected[p]) ** 2 / expected[p] for p in pairs)
    assert chi < 31.3  # 99.9 % of chi-square(11)


@pytest.mark.parametrize("n_picks", [1, 3, 6])
def test_the_gradient_equals_finite_differences(n_picks):
    policy, X = random_policy(2), features(6, seed=2)
    picks = np.random.RandomState(0).permutation(6)[:n_picks]
    gradient = policy.gradient(X, picks)
    for name, array in policy.parameters().items():
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + 1e-6
            above = policy.log_probability(X, picks)
            array[index] = kept - 1e-6
            below = policy.log_probability(X, picks)
            array[index] = kept
            assert gradient[name][index] == pytest.approx(
                (above - below) / 2e-6, abs=1e-6
            )


def test_a_copy_is_independent():
    policy = random_policy()
    copy = policy.copy()
    copy.linear += 1
    copy.training["x"] = 1
    assert policy.training == {}
    assert not np.array_equal(policy.linear, copy.linear)


def test_the_text_of_a_policy_is_short_and_tells_its_numbers_apart():
    policy = random_policy()
    assert repr(policy) == repr(policy.copy())
    assert repr(policy).startswith("Policy(n_hidden=5, sha256='")
    before = repr(policy)
    policy.bias[0] += 1e-9
    assert repr(policy) != before


def test_save_and_load_are_exact(tmp_path):
    policy = random_policy()
    policy.training = {"n_episodes": 7}
    again = load_policy(policy.save(tmp_path / "p.json"))
    for name, array in policy.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], array)
    assert again.training == {"n_episodes": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_the_default_policy_is_trained_and_fresh_each_time():
    policy = default_policy()
    assert policy.training["n_episodes"] >= 1000
    assert "digits" not in policy.training["data"]
    policy.linear += 1
    assert not np.array_equal(default_policy().linear, policy.linear)


def spoil(content, change):
    content = json.loads(json.dumps(content))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="model"), "does not say format 'dalmax_sk policy'"),
        (lambda c: c.update(format_version=2), "has format version 2, this dalmax_sk"),
        (lambda c: c.pop("format_version"), "format version None"),
        (lambda c: c.update(features=["margin"]), r"for the features \['margin'\]"),
        (lambda c: c.pop("parameters"), "must hold linear, weight, bias, output"),
        (lambda c: c["parameters"].pop("bias"), "must hold linear, weight"),
        (lambda c: c["parameters"].update(bias=["x"]), "'bias' is not an array"),
        (lambda c: c["parameters"].update(bias=[[1], [1, 2]]), "'bias' is not an arr"),
        (lambda c: c["parameters"].update(bias=1.0), "finite with 1 axes, got shape"),
        (lambda c: c["parameters"].update(bias=[0.0]), "'weight' has shape"),
        (lambda c: c["parameters"]["linear"].pop(), "'linear' has shape"),
        (
            lambda c: c["parameters"]["linear"].__setitem__(0, float("nan")),
            "'linear' must be finite",
        ),
    ],
)
def test_spoilt_files_are_refused(tmp_path, change, message):
    path = random_policy().save(tmp_path / "p.json")
    path.write_text(spoil(json.loads(path.read_text()), change))
    with pytest.raises(PolicyFileError, match=message):
        load_policy(path)


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b"\xff\xfe\x00", b"{}"])
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(PolicyFileError, match="is not a policy file"):
        load_policy(path)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no policy .*none\.json"):
        load_policy(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        random_policy().save(tmp_path / "nowhere" / "p.json")
