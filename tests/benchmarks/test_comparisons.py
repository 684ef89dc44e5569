"""The comparisons with others: toy runs, what they write, and the blocks made of it."""

import time

import numpy as np
import pandas as pd
import pytest
import torch

from dalmax_sk import CNNClassifier
from dalmax_sk.images import make_digits_folder

LINES = ["command: python x.py", "machine: one", "settings: n=1"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return make_digits_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture
def rows_module(benchmark_module):
    return benchmark_module("_rows")


class FakeRenderer:
    def __init__(self, results):
        self.results = results

    def missing(self, file):
        return f"no {file}"


def block(benchmark_module, name, results):
    make, *arguments = benchmark_module("_comparison_blocks").COMPARISONS[name]
    return make(FakeRenderer(results), *arguments)


# ------------------------------------------------------------------------- the file


def test_rows_go_on_where_they_were(rows_module, tmp_path):
    path = tmp_path / "deep" / "rows.csv"
    columns = ("what", "size", "value", "note")
    table = rows_module.Rows(path, columns, ("what", "size"), LINES)
    assert not table.has(what="a", size=1)
    table.add([{"what": "a", "size": 1, "value": 0.123456789, "note": None}])
    again = rows_module.Rows(path, columns, ("what", "size"), [*LINES[:2], LINES[2]])
    assert again.has(what="a", size=1)
    assert not again.has(what="a", size=2)
    again.add([{"what": "b", "size": 2, "value": 3.0, "note": "x"}])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == [f"# {line}" for line in LINES]
    assert lines[3:] == ["what,size,value,note", "a,1,0.12346,", "b,2,3,x"]


def test_rows_of_other_settings_are_refused(rows_module, tmp_path):
    path = tmp_path / "rows.csv"
    rows_module.Rows(path, ("a",), ("a",), LINES).add([{"a": 1}])
    with pytest.raises(SystemExit, match=r"settings: n=1; now settings: n=2.*--output"):
        rows_module.Rows(path, ("a",), ("a",), ["settings: n=2"])
    with pytest.raises(SystemExit, match="Remove it"):
        rows_module.Rows(path, ("a", "b"), ("a",), LINES)


# ------------------------------------------------------------------- training, loops


def test_the_plain_loop_trains_what_the_classifier_trains(benchmark_module):
    loops = benchmark_module("_plain_loops")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    pixels = rng.integers(0, 90, (60, 12, 12, 3), dtype=np.uint8)
    pixels[..., 0] += (60 * y).astype(np.uint8)[:, None, None]
    mean, std = loops.normalisation(pixels)
    make = lambda: loops.make_net("small_cnn", (3, 12, 12), 3)  # noqa: E731
    clf = CNNClassifier(max_epochs=6, batch_size=20, device="cpu", random_state=0)
    assert clf.fit(pixels, y).score(pixels, y) > 0.9
    cpu = torch.device("cpu")
    for loop in (
        loops.PlainLoop(),
        loops.PlainLoop(inputs="float32", log_every_batch=True),
        loops.PlainLoop(channels_last=False, fused=False),
        loops.PlainLoop(amp=True),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = loop.prepare(pixels, mean, std, cpu)
            labels = torch.from_numpy(y)
            net = loop.train(make, x, labels, mean, std, epochs=6, batch_size=20)
        proba, embeddings = loops.plain_pool_pass(
            net, x, mean, std, batch_size=16, amp=loop.amp
        )
        assert (proba.argmax(1) == y).mean() > 0.9
        assert embeddings.shape == (60, 128)
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    # inference by hand is the classifier's
    with torch.no_grad():
        net.load_state_dict(clf.module_.net.state_dict())
    x = loops.PlainLoop().prepare(pixels, mean, std, cpu)
    proba, embeddings = loops.plain_pool_pass(net, x, mean, std, batch_size=16)
    ours = clf.predict_proba_and_embeddings(pixels)
    np.testing.assert_allclose(proba, ours[0], atol=1e-5)
    np.testing.assert_allclose(embeddings, ours[1], atol=1e-4)


def test_narrow_nets_by_name(benchmark_module):
    loops = benchmark_module("_plain_loops")
    assert loops.architecture_of("small_cnn") == "small_cnn"
    assert loops.make_net("cifar_resnet18:8", (3, 16, 16), 4).num_features == 64
    with pytest.raises(ValueError, match="only cifar_resnet18 takes a width"):
        loops.architecture_of("vgg16:4")


def test_turns_are_paired(benchmark_module):
    script = benchmark_module("bench_training")
    seconds = {"one": [(2.0, 2.0), (4.0, 2.0), (1.0, 2.0)], "other": [(1.0, 1.0)] * 3}
    key = dict.fromkeys(script.KEY, 1)
    one, other = script.rows_of(key, 100, seconds)
    assert one["ratio_to_first"] == "1.000"
    assert (one["images_per_second"], other["images_per_second"]) == (50, 100)
    assert other["ratio_to_first"] == "2.000"  # of 2, 4 and 1
    calls = []
    measured = script.measure(
        {"a": lambda: calls.append("a"), "b": lambda: time.sleep(0.02)},
        2,
        torch.device("cpu"),
    )
    assert len(calls) == 3  # the first warms up
    assert len(measured["b"]) == 2
    assert all(wall >= 0.02 for wall, _ in measured["b"])


def test_every_setting_is_planned_once(benchmark_module):
    script = benchmark_module("bench_training")
    keys = [tuple(key.values()) for key in script.plan(script.parse([]))]
    assert len(keys) == len(set(keys))
    by_task = pd.Series([key[0] for key in keys]).value_counts().to_dict()
    # 2 precisions × 2 threads × (2 batches of the first net + 1 of the second)
    assert by_task == {"training": 12, "pool": 8, "samples": 2, "parts": 1, "files": 1}


@pytest.mark.filterwarnings("ignore:The image decoding")
@pytest.mark.slow
def test_training_runs_goes_on_and_is_shown(
    benchmark_module, tmp_path, capsys, monkeypatch
):
    script = benchmark_module("bench_training")
    monkeypatch.setattr(script, "POOL_BATCHES", (16, 64))
    words = [
        *("--nets", "small_cnn", "--precisions", "float32", "--threads", "1"),
        *("--batch-sizes", "16", "--n-images", "32", "--n-pool", "40"),
        *("--n-files", "40", "--repeats", "1", "--file-repeats", "1"),
        *("--workers", "0", "--output", str(tmp_path / "training.csv")),
        *("--device", "cpu"),
    ]
    script.main(words)
    first = (tmp_path / "training.csv").read_bytes()
    script.main(words)
    assert (tmp_path / "training.csv").read_bytes() == first
    rows = pd.read_csv(tmp_path / "training.csv", comment="#")
    assert set(rows["task"]) == set(script.TASKS)
    assert (rows["images_per_second"] > 0).all()
    assert "generated JPEGs" in capsys.readouterr().out
    shown = {
        name: block(benchmark_module, name, tmp_path)
        for name in benchmark_module("_comparison_blocks").COMPARISONS
        if name.startswith("training")
    }
    assert "- command: `python benchmarks/" in shown["training_setup"]
    assert "ratio, float32 inputs" in shown["training_loop"]
    assert "| small_cnn | float32 | 1 |" in shown["training_pool"]
    assert "| files decoded every epoch |" in shown["training_parts"]
    assert "| skorch, ImageFolder, 0 workers |" in shown["training_files"]
    assert "| 20 dropout samples |" in shown["training_samples"]
    part = rows[(rows["task"] == "samples")].iloc[1]
    assert f"{1 / part['ratio_to_first']:.2f} |" in shown["training_samples"]


# ------------------------------------------------------------------------ whole rounds


@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_rounds_of_both_libraries(benchmark_module, digits, tmp_path, capsys):
    pytest.importorskip("skactiveml")
    script = benchmark_module("bench_peer_round")
    words = [
        *("--data", str(digits / "train"), "--test", str(digits / "test")),
        *("--n-pool", "60", "--n-labeled", "40", "--n-test", "30", "--picks", "5"),
        *("--epochs", "2", "--output", str(tmp_path / "peer_round.csv")),
        *("--strategies", "margin_sampling", "core_set", "badge", "bald"),
    ]
    script.main(words)
    script.main(words)
    assert capsys.readouterr().out.count("bald: fit") == 1
    rows = pd.read_csv(tmp_path / "peer_round.csv", comment="#")
    assert rows["strategy"].tolist() == [script.LOADING, *words[-4:]]
    rounds = rows.iloc[1:]
    np.testing.assert_allclose(
        rounds["ratio"], rounds["peer_total"] / rounds["total"], rtol=1e-3
    )
    assert rounds["note"].isna().all()
    shown = block(benchmark_module, "peer_round", tmp_path)
    assert "| margin_sampling | UncertaintySampling margin | 5 of 60 |" in shown


def test_margins_of_both_libraries_agree_on_one_net(benchmark_module, tmp_path):
    """The peer's round asks what ours asks: with one net's outputs, the same rows."""
    pytest.importorskip("skactiveml")
    from skactiveml.base import SkactivemlClassifier

    from dalmax_sk.pool import Pool
    from dalmax_sk.strategies import get_strategy

    peers = benchmark_module("_peer_rounds")
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(50, 4))
    proba = rng.dirichlet(np.ones(3), size=50)
    y = np.r_[np.arange(10) % 3, np.full(40, -1)]

    class Known(SkactivemlClassifier):
        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.arange(3)
            return self

        def predict_proba(self, X, extra_outputs=None):
            rows = [int(row) for row in np.asarray(X)[:, 0]]
            if extra_outputs is None:
                return proba[rows]
            return proba[rows], embeddings[rows]

        def predict(self, X, extra_outputs=None):
            found = self.predict_proba(X, extra_outputs="emb")
            return found[0].argmax(1), found[1]

    clf = Known(classes=np.arange(3), missing_label=-1).fit(None, None)
    X = np.arange(50.0)[:, None]
    pool = Pool.from_arrays(
        proba=proba[10:],
        embeddings=embeddings[10:],
        labeled_embeddings=embeddings[:10],
        y_labeled=y[:10],
        random_state=0,
    )
    for ours, theirs in (
        ("margin_sampling", "UncertaintySampling margin"),
        ("entropy_sampling", "UncertaintySampling entropy"),
        ("least_confidence_sampling", "UncertaintySampling least confident"),
        ("core_set", "CoreSet"),
    ):
        rows = peers.PEERS[theirs](clf, X, y, 6)
        np.testing.assert_array_equal(get_strategy(ours).query(pool, 6) + 10, rows)


def test_a_query_past_the_limit_is_a_bound(
    benchmark_module, digits, tmp_path, monkeypatch
):
    pytest.importorskip("skactiveml")
    script = benchmark_module("bench_peer_round")

    def endless(clf, X, y, n):
        while True:
            time.sleep(0.01)

    monkeypatch.setitem(script.PEERS, "RandomSampling", endless)
    script.main(
        [
            *("--data", str(digits / "train"), "--n-pool", "40", "--n-labeled", "30"),
            *("--n-test", "20", "--picks", "5", "--epochs", "1", "--limit", "0.2"),
            *("--output", str(tmp_path / "peer_round.csv")),
            *("--strategies", "random_sampling"),
        ]
    )
    row = pd.read_csv(tmp_path / "peer_round.csv", comment="#").iloc[1]
    assert row["note"] == "theirs stopped after 0.2 s"
    assert 0.2 <= row["peer_query"] < 5
    shown = block(benchmark_module, "peer_round", tmp_path)
    assert f"| > {row['ratio']:.1f} |" in shown


def test_wrong_picks_are_noted(benchmark_module):
    script = benchmark_module("bench_peer_round")
    arguments = script.parse(["--data", "x", "--n-labeled", "10"])
    assert script.check_rows([12, 13, 14], "theirs", 3, arguments) == ""
    assert "2 distinct rows of 3" in script.check_rows([12, 12, 13], "t", 3, arguments)
    assert "labelled rows" in script.check_rows([9, 12, 13], "t", 3, arguments)


# --------------------------------------------------------------------------- precision


def test_precision_runs_goes_on_and_is_shown(benchmark_module, digits, tmp_path):
    script = benchmark_module("bench_precision")
    words = [
        *("--dir-train", str(digits / "train"), "--dir-test", str(digits / "test")),
        *("--per-class", "12", "--budgets", "30", "50", "--epochs", "2"),
        *("--n-pool", "40", "--n-picks", "10", "--output", str(tmp_path)),
        *("--device", "cpu"),
    ]
    script.main([*words, "--seeds", "1"])
    assert not (tmp_path / "precision_summary.csv").exists()
    script.main([*words, "--seeds", "3"])
    rows = pd.read_csv(tmp_path / "precision.csv", comment="#")
    assert rows["seed"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows.filter(like="overlap").max().max() <= 1
    shown = block(benchmark_module, "precision", tmp_path)
    assert "| small_cnn | 30 | 3 | bfloat16 less float32 |" in shown


def test_precision_is_paired_by_seed(benchmark_module):
    script = benchmark_module("bench_precision")
    frame = pd.DataFrame(
        {
            "net": "n",
            "n_labeled": 10,
            "seed": range(5),
            "accuracy_float32": [0.5, 0.6, 0.7, 0.8, 0.9],
            "accuracy_bfloat16": [0.51, 0.61, 0.7, 0.81, 0.92],
            "accuracy_other_seed": [0.4, 0.7, 0.6, 0.9, 0.9],
            "overlap_two_nets": 0.5,
            "overlap_one_net": 1.0,
            "overlap_other_seed": 0.25,
            "seconds_float32": 2.0,
            "seconds_bfloat16": 1.0,
        }
    )
    summary = script.summarize(frame).set_index("what")
    row = summary.loc["bfloat16 less float32"]
    assert row["difference"] == pytest.approx(0.01)
    assert 0 < row["low"] < 0.01 < row["high"] < 0.02
    assert row["speed_up"] == 2
    from scipy import stats

    differences = frame["accuracy_bfloat16"] - frame["accuracy_float32"]
    assert row["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    other = summary.loc["other training seed less float32"]
    assert other["low"] < 0 < other["high"]
    assert script.overlap({1, 2, 3, 4}, {3, 4, 5, 6}) == 0.5


# -------------------------------------------------------------------------------- GPUs


def test_without_a_gpu_it_says_so(benchmark_module, monkeypatch, tmp_path):
    script = benchmark_module("bench_gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit, match="There is no GPU here: torch sees 0 CUDA"):
        script.main(["--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="only a GPU is measured here"):
        script.main(["--device", "cpu", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_gpu_benchmark_tries_every_step(
    benchmark_module, digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(benchmark_module("_rates"), "SECONDS", 0.01)
    monkeypatch.setattr(benchmark_module("_rates"), "MATRIX_SIDES", {"cpu": (64,)})
    script = benchmark_module("bench_gpu")
    script.main(
        [
            *("--toy", "--output", str(tmp_path), "--results", str(tmp_path / "r")),
            *("--dir-train", str(digits / "train")),
            *("--dir-test", str(digits / "test")),
        ]
    )
    rows = pd.read_csv(tmp_path / "gpu_toy.csv", comment="#")
    assert set(rows["task"]) == {"training", "pool"}
    np.testing.assert_allclose(
        rows["share_of_floor"],
        rows["images_per_second"] / rows["floor_images_per_second"],
        rtol=1e-3,
    )
    seconds = pd.read_csv(tmp_path / "gpu_protocol_a.csv", index_col="strategy")
    assert list(seconds.index) == ["random", "entropy", "k-center", "BALD", "BADGE"]
    assert "Protocol A, low:" in capsys.readouterr().out


def test_a_block_without_its_file_says_so(benchmark_module, tmp_path):
    for name in benchmark_module("_comparison_blocks").COMPARISONS:
        assert block(benchmark_module, name, tmp_path).startswith("no ")
