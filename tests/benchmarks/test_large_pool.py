"""bench_large_pool.py: what it writes, and that it goes on where it was cut off."""

import csv
import hashlib
import json

import numpy as np
import pytest

from dalmax_sk.pool import Pool
from dalmax_sk.strategies import get_strategy


@pytest.fixture
def bench(benchmark_module, monkeypatch):
    module = benchmark_module("bench_large_pool")
    monkeypatch.setattr(module, "BLOCK", 150)
    monkeypatch.setattr(module, "matrix_rate", lambda *args: 1e9)
    monkeypatch.setattr(module, "memory_rates", lambda *args: {"read": 1e9})
    return module


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_the_inputs_are_a_pool_and_are_written_once(bench, tmp_path):
    bench.write_inputs(tmp_path, 400, 12, 40)
    embeddings = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    assert embeddings.shape == (400, 12)
    assert embeddings.dtype == np.float32
    # blocks differ from one another
    assert len(np.unique(np.asarray(embeddings), axis=0)) == 400
    proba = np.load(tmp_path / "proba.npy")
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    # the model knows something, and not everything
    right = proba.argmax(axis=1)
    assert len(np.unique(right)) > 3
    assert 0.2 < proba.max(axis=1).mean() < 0.99
    labels = np.load(tmp_path / "y_labeled.npy")
    assert labels.shape == (40,)
    known = np.load(tmp_path / "labeled_proba.npy").argmax(axis=1)
    assert (known == labels).mean() > 0.3

    before = (tmp_path / "embeddings.npy").stat().st_mtime_ns
    bench.write_inputs(tmp_path, 400, 12, 40)
    assert (tmp_path / "embeddings.npy").stat().st_mtime_ns == before
    # a run that was cut off has left no note, and begins again
    (tmp_path / "inputs.json").unlink()
    (tmp_path / "proba.npy").unlink()
    bench.write_inputs(tmp_path, 400, 12, 40)
    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), proba)


@pytest.mark.slow
def test_each_strategy_has_one_row(bench, tmp_path, capsys):
    output = tmp_path / "large_pool.csv"
    command = ["--folder", str(tmp_path / "pool"), "--output", str(output)]
    command += ["--n", "400", "--d", "12", "--labeled", "40", "--picks", "5"]
    command += ["--max-memory", "10000", "--strategies"]
    bench.main([*command, "margin_sampling"])
    bench.main([*command, "margin_sampling", "badge"])
    rows = rows_of(output)
    assert [row["strategy"] for row in rows] == ["margin_sampling", "badge"]
    arrays = {name: np.load(tmp_path / "pool" / f"{name}.npy") for name in bench.ARRAYS}
    for row in rows:
        pool = Pool.from_arrays(**arrays, random_state=0)
        picks = get_strategy(row["strategy"]).query(pool, 5)
        expected = hashlib.sha256(picks.astype("<i8").tobytes()).hexdigest()
        assert expected.startswith(row["picks_hash"])
        assert float(row["seconds"]) > 0
        assert float(row["peak_mb"]) >= float(row["start_mb"]) > 0
        times = float(row["seconds"]) / float(row["floor_seconds"])
        assert float(row["times_floor"]) == pytest.approx(times, rel=1e-3)
    # 400 x (12 + 10) numbers of 4 bytes, at 1 GB/s; 2 operations with each of 5 picks
    assert float(rows[1]["floor_gb"]) == pytest.approx(400 * 22 * 4 / 1e9)
    assert float(rows[1]["floor_gflop"]) == pytest.approx(2 * 400 * 22 * 5 / 1e9)
    assert float(rows[1]["floor_seconds"]) == pytest.approx(2 * 400 * 22 * 5 / 1e9)
    assert f"written: {output}" in capsys.readouterr().out


def test_one_query_in_this_process(bench, tmp_path, capsys):
    bench.write_inputs(tmp_path, 300, 8, 30)
    bench.main(
        ["--one", "core_set_selection", "--folder", str(tmp_path), "--picks", "4"]
    )
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert len(found["picks_hash"]) == 12
