"""The benchmark on frozen features: names, features, and a run of a few seconds."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits

from dalmax_sk import ImageEmbedder
from dalmax_sk.images import decode_image
from dalmax_sk.strategies import CoreSet, Filtered, RandomSampling


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("frozen_features")


def arguments(script, tmp_path, *more):
    folders = ["--dir-train", "train", "--dir-test", "test", "--cache", "cache"]
    results = ["--results", str(tmp_path / "results.jsonl")]
    return script.make_parser().parse_args([*folders, *results, *more])


def test_names_with_the_suffix_see_a_part_of_the_pool(script):
    strategies = script.make_strategies(["random_sampling", "core_set_10k"])
    assert isinstance(strategies["random_sampling"], RandomSampling)
    sampled = strategies["core_set_10k"]
    assert isinstance(sampled, Filtered)
    assert isinstance(sampled.strategy, CoreSet)
    assert sampled.subsample == 10_000


def test_every_listed_strategy_exists(script):
    names = [*script.STRATEGIES, *script.FURTHER_STRATEGIES]
    assert list(script.make_strategies(names)) == names
    assert len(set(names)) == len(names)


def test_features_are_scaled_by_the_training_part_alone(
    script, image_folder, tmp_path, monkeypatch
):
    def mean_colours(self, X):
        pixels = [decode_image(path) for path in X]
        return np.stack([image.mean((0, 1)) for image in pixels]).astype(np.float32)

    monkeypatch.setattr(ImageEmbedder, "fit_transform", mean_colours)
    folders = SimpleNamespace(
        dir_train=image_folder / "train",
        dir_test=image_folder / "test",
        per_class=9,
        image_size=8,
        cache=tmp_path,
        unit_length=False,
    )
    X, y, (train, test) = script.load_features(folders)
    assert (len(train), len(test)) == (27, 27)
    assert np.bincount(y[train]).tolist() == [9, 9, 9]
    assert_allclose(X[train].mean(axis=0), 0, atol=1e-5)
    assert_allclose(X[train].std(axis=0), 1, rtol=1e-5)
    assert abs(X[test].mean(axis=0)).max() > 1e-3
    folders.unit_length = True
    scaled, _, _ = script.load_features(folders)
    assert_allclose((scaled**2).mean(axis=1), 1, rtol=1e-5)
    # the direction is kept
    ratio = scaled / X
    assert_allclose(ratio, np.broadcast_to(ratio[:, :1], X.shape), rtol=1e-4)


def test_picks_are_described(benchmark_module, tmp_path):
    picks_script = benchmark_module("frozen_features_picks")
    rng = np.random.RandomState(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3)) + 3 * y[:, None]
    X[:20] *= 100  # the longest tenth
    records = [
        {"kind": "header"},
        {"strategy": "far", "round": 0, "queried": [50]},
        {"strategy": "far", "round": 1, "queried": [0, 2]},
        {"strategy": "far", "round": 6, "queried": [4, 101]},
        {"strategy": "near", "round": 1, "queried": [102, 103]},
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    picks = picks_script.read_picks(path)
    assert picks["far"] == [(1, [0, 2]), (6, [4, 101])]
    table = picks_script.describe(picks, X, y).set_index("strategy")
    assert table.loc["(the pool)", "longest"] == 0.1
    assert table.loc["far", "longest"] == 0.75
    assert table.loc["far", "longest_rounds_1_to_5"] == 1
    assert table.loc["near", "longest"] == 0
    assert table.loc["far", ["rarest_class", "commonest_class"]].tolist() == [
        0.25,
        0.75,
    ]


def test_a_run_is_paired_and_goes_on(script, tmp_path):
    X, y = load_digits(return_X_y=True)
    split = (np.arange(1000), np.arange(1000, len(X)))
    small = ["--seeds", "2", "--rounds", "2", "--n-initial", "20", "--jobs", "1"]
    small += ["--query-size", "10", "--strategies", "random_sampling"]
    first, _ = script.run(arguments(script, tmp_path, *small), X, y, split)
    more = arguments(script, tmp_path, *small, "uncertainty_sampling")
    curves, settings = script.run(more, X, y, split)
    assert curves.strategies == ["random_sampling", "uncertainty_sampling"]
    _, budgets, scores = curves.by_seed("uncertainty_sampling")
    assert budgets.tolist() == [20, 30, 40]
    # one initial set for all, and what was done before is not done again
    assert_allclose(scores[:, 0], first.by_seed("random_sampling")[2][:, 0])
    assert settings["n_pool"] == 1000
    assert settings["query_size"] == 10


def test_the_choice_of_c_is_printed(script, capsys):
    X, y = load_digits(return_X_y=True)
    script.tune(X / 16, y, n_repeats=1, budgets=(100, 200), n_validation=500)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert f"C={script.C:g}: " in "\n".join(lines)
