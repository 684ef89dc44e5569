"""The profile of a round: its clock, its floors, and a small run of it."""

import time
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from dalmax_sk.nets import build_net
from dalmax_sk.nets.classifier import InputClassifier
from dalmax_sk.strategies import get_strategy, strategy_names


@pytest.fixture
def Clock(benchmark_module):
    return benchmark_module("_clock").Clock


@pytest.fixture
def ticking(Clock, monkeypatch):
    """Return a clock whose time stands still until it is told to go on."""
    clock = Clock()
    clock.time = 0.0
    monkeypatch.setattr(clock, "now", lambda: clock.time)
    return clock


def go(clock, seconds):
    clock.time += seconds


def test_nested_parts_are_counted_once(ticking):
    with ticking.part("round"):
        go(ticking, 1)
        with ticking.part("fit"):
            go(ticking, 10)
            with ticking.part("round"):
                go(ticking, 100)
        go(ticking, 1000)
    assert ticking.parts() == {"round": 1101, "fit": 10}
    assert not ticking.is_open("round")


def test_what_measuring_takes_belongs_to_no_part(ticking):
    with ticking.part("fit"):
        go(ticking, 1)
        with ticking.pause():
            go(ticking, 10)
            with ticking.inside("mark"):
                assert ticking.is_open("mark")
                assert ticking.is_open("fit")
    ticking.credit("fit", 5)
    assert ticking.parts() == {"fit": 6}
    assert ticking.credited == 5


def test_time_of_other_threads_is_not_counted(Clock):
    import threading

    clock = Clock()

    def beside():
        with clock.part("beside"):
            time.sleep(0.01)

    with clock.part("main"):
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
    assert list(clock.parts()) == ["main"]
    assert clock.parts()["main"] >= 0.01


def test_a_failing_part_is_closed(ticking):

    @ticking.part("fit")
    def fail():
        go(ticking, 2)
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        fail()
    assert ticking.parts() == {"fit": 2}
    assert not ticking.is_open("fit")


def test_patched_restores_also_what_is_inherited(benchmark_module):
    patched = benchmark_module("_clock").patched

    class Parent:
        def name(self):
            return "parent"

    class Child(Parent):
        pass

    @patched((Child, "name", lambda name: lambda self: name(self) + "!"))
    def fail():
        assert Child().name() == "parent!"
        assert Parent().name() == "parent"
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        fail()
    assert Child().name() == "parent"
    assert "name" not in vars(Child)


def test_operations_of_a_net(benchmark_module):
    net = build_net("small_cnn", input_shape=(3, 32, 32), n_classes=10)
    module = InputClassifier(net, torch.zeros(3), torch.ones(3))
    batch = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flops = benchmark_module("_rates").net_flops(module, batch)
    # 3×3 convolutions at 32², 16² and 8² pixels, then one linear layer
    layers = [
        2 * 9 * 3 * 32 * 32**2,
        2 * 9 * 32 * 64 * 16**2,
        2 * 9 * 64 * 128 * 8**2,
        2 * 128 * 10,
    ]
    assert flops["forward"] == sum(layers)
    assert flops["head"] == layers[-1]
    # backward: twice as many, but for the gradient by the pixels
    assert flops["training"] == 3 * sum(layers) - layers[0]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(weight.grad is None for weight in module.parameters())


def test_rates_are_of_a_machine(benchmark_module, monkeypatch, tmp_path):
    rates = benchmark_module("_rates")
    monkeypatch.setattr(rates, "SECONDS", 0.01)
    monkeypatch.setattr(rates, "MATRIX_SIDES", {"cpu": (64, 128)})
    monkeypatch.setattr(rates, "N_VALUES", {"cpu": 2**20})
    device = torch.device("cpu")
    assert 1e8 < rates.matrix_rate(device, torch.float32) < 1e14
    assert all(1e8 < rate < 1e13 for rate in rates.memory_rates(device).values())
    benchmark_module("bench_round").write_images(tmp_path, 6, n_classes=2)
    paths = sorted(map(str, tmp_path.rglob("*.jpg")))
    assert len(paths) == 6
    assert 10 < rates.decode_rate(paths, 2)[1] < 1e7


def test_floors_are_those_of_the_definitions(benchmark_module):
    work = benchmark_module("_work")
    sizes = work.Sizes(n=1000, m=100, b=10, d=8, C=4, forward=1e6, fit=1e9)
    assert work.selection_work("core_set_selection", sizes).flops == 2 * 1000 * 110 * 8
    assert work.selection_work("margin_sampling", sizes).n_bytes == 8 * 1000 * 4
    assert work.selection_work("badge", sizes).flops == 2 * 1000 * 10 * 12
    assert work.selection_work("prob_cover", sizes).flops == 1100**2 * 8
    assert work.selection_work("uherding", sizes).flops == 1100**2 * 8 + 8e8
    assert work.selection_work("random_sampling", sizes) is None
    names = set(strategy_names())
    assert set(work._WORK) <= names


def test_every_strategy_is_timed_once(benchmark_module):
    script = benchmark_module("bench_round")
    for alias, name in script.BETTER_KNOWN.items():
        one, other = get_strategy(alias), get_strategy(name)
        assert type(one) is type(other)
        assert repr(one.get_params()) == repr(other.get_params())
    timed = script.strategies()
    kinds = {repr(get_strategy(name)) for name in strategy_names()}
    assert len(timed) >= len(kinds) - 1  # "auto" is a Switch with other parameters
    assert kinds == {repr(get_strategy(name)) for name in timed}


SMALL = (
    "--n-pool 90 --n-labeled 30 --n-test 20 --query 5 --epochs 1 --repeats 2 "
    "--device cpu --strategies margin_sampling badge drop_query bald random_sampling "
    "bait"
)


@pytest.fixture
def small_run(benchmark_module, monkeypatch, tmp_path):
    """Run the script at small size; return it and the folder of its files."""
    rates = benchmark_module("_rates")
    monkeypatch.setattr(rates, "SECONDS", 0.001)
    monkeypatch.setattr(rates, "MATRIX_SIDES", {"cpu": (64,)})
    monkeypatch.setattr(rates, "N_VALUES", {"cpu": 2**16})
    script = benchmark_module("bench_round")
    monkeypatch.setattr(script, "PROBES", (2, 2))
    too_slow = script.too_slow

    def bait_is_too_slow(name, meter, arguments):
        # whatever the machine does meanwhile
        limit = 1e-9 if name == "bait" else 1e9
        given = Namespace(**{**vars(arguments), "limit": limit})
        return too_slow(name, meter, given)

    monkeypatch.setattr(script, "too_slow", bait_is_too_slow)
    words = [*SMALL.split(), "--output", str(tmp_path)]
    script.main(words)
    return script, words, tmp_path


@pytest.mark.slow
def test_a_small_run(small_run, benchmark_module):
    script, words, folder = small_run
    rows = pd.read_csv(folder / "round.csv", comment="#")
    rates = pd.read_csv(folder / "round_floors.csv", comment="#")
    parts = benchmark_module("_work").PARTS
    left_out = set(rows[rows["part"] == "left out"]["strategy"])
    assert "bait" in left_out
    assert "random_sampling" not in left_out
    timed = rows[(rows["repeat"] > 0) & rows["strategy"].notna()]
    timed = timed[timed["part"].isin(parts)]
    assert (timed.groupby(["repeat", "strategy"])["part"].count() == len(parts)).all()
    assert (timed["seconds"] >= 0).all()
    assert set(timed["repeat"]) == {1, 2}
    passes = rows[(rows["repeat"] == 1) & rows["strategy"].isna()]
    assert {"decode", "read", "fit", "scoring"} <= set(passes["part"])
    assert set(passes[passes["part"].str.startswith("pool")]["images"]) == {90}
    random = timed[timed["strategy"] == "random_sampling"].set_index("part")
    assert (random.loc["pool pass", "seconds"] == 0).all()
    assert {"matrix_float32", "decode", "net_forward"} <= set(rates["name"])
    # a second call finds everything done
    before = (folder / "round.csv").read_bytes()
    script.main(words)
    assert (folder / "round.csv").read_bytes() == before

    tables = benchmark_module("_performance_tables")
    shown = tables.round_table(rows)
    assert shown.loc["random_sampling", "looks at"] == "-"
    assert shown.loc["badge", "looks at"] == "p e"
    assert shown.loc["bald", "looks at"] == "s 20"
    assert "unexplained" in tables.whole_rounds(rows)
    assert "bait" in tables.left_out(rows)
    assert tables.selection_table(rows, rates).loc["random_sampling", "floor"] == "-"
    assert (
        "decode every image (first round only)" in tables.parts_table(rows, rates).index
    )
    assert "matrix product, float32" in tables.machine_table(rates).index
    assert "of the float32 matrix rate" in tables.convolution_words(rates)
    settings = tables.file_settings(folder / "round.csv")
    assert settings["n_pool"] == "90"
    figure = tables.draw_round(rows, settings)
    assert len(figure.axes[0].containers) == len(parts)


def test_watching_a_round_changes_nothing(benchmark_module, tmp_path):
    """Picks are those of a round that nobody watches, and all is as before."""
    from dalmax_sk import ActiveLearningClassifier, CNNClassifier

    script, rounds = (benchmark_module(m) for m in ("bench_round", "_round"))
    arguments = script.parse(
        [*"--n-pool 60 --n-labeled 20 --n-test 10 --query 4 --epochs 1".split()]
    )
    images = script.Images(arguments, tmp_path)
    classes = list(range(len(images.classes)))
    unfitted = CNNClassifier(classes=classes, max_epochs=1, device="cpu")
    meter = rounds.RoundMeter(unfitted, images, arguments)
    owners = CNNClassifier, ActiveLearningClassifier, rounds.QueryStrategy
    before = [dict(vars(owner)) for owner in owners]
    picked = []
    query = rounds.QueryStrategy.query

    def noting(strategy, pool, n, **options):
        found = query(strategy, pool, n, **options)
        picked.append(found[0] if isinstance(found, tuple) else found)
        return found

    for name in ("badge", "bald"):
        picked.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounds.QueryStrategy, "query", noting)
            meter.plain_round(name)
            n_alone = len(picked)
            meter.round(name)
            meter.round(name)  # with what is known by now
        alone, fresh, known = (picked[i * n_alone - 1] for i in (1, 2, 3))
        assert alone.tolist() == fresh.tolist() == known.tolist()
    assert [dict(vars(owner)) for owner in owners] == before
    whole, parts, needs = meter.round("badge")
    assert_allclose(sum(parts.values()), whole, rtol=0.05)
    assert needs == ["proba and embeddings"]
    # what is not computed again is counted as often as it is needed
    meter.forget()
    fresh, known = (meter.round("badge")[1] for _ in range(2))
    assert known["fit"] == pytest.approx(fresh["fit"], rel=0.1)
    assert known["pool pass"] == pytest.approx(fresh["pool pass"], rel=0.5)
    assert known["scoring"] > 0.5 * fresh["scoring"]


def test_too_few_images_are_refused(benchmark_module, tmp_path):
    script = benchmark_module("bench_round")
    script.write_images(tmp_path, 10)
    arguments = Namespace(
        data=tmp_path, test=None, n_pool=9, n_labeled=5, n_test=1, seed=0
    )
    with pytest.raises(SystemExit, match="10 images are too few for 14"):
        script.Images(arguments, None)
    assert np.isnan(
        benchmark_module("_performance_tables").floor_seconds(1, 1, 1, np.nan, {})
    )
