"""The timed main job, at small size."""

import csv

import pytest


@pytest.fixture
def script(benchmark_module):
    return benchmark_module("main_job")


@pytest.mark.slow
def test_rows_of_a_small_run(script, benchmark_module, tmp_path):
    images = benchmark_module("bench_round").write_images
    images(tmp_path / "train", 60, n_classes=3)
    images(tmp_path / "test", 12, n_classes=3)
    output = tmp_path / "main_job.csv"
    folders = [
        *("--dir-train", str(tmp_path / "train")),
        *("--dir-test", str(tmp_path / "test")),
        *("--output", str(output), "--threads", "1"),
        *("--checkout", str(script.Path(script.__file__).parents[1])),
    ]
    flags = "--n-initial 9 --query-size 3 --iterations 2 --epochs 1 --type badge"
    script.main(["--version", "now", *folders, "--", *flags.split()])
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    values = {row["part"]: row["value"] for row in rows}
    assert {row["strategy"] for row in rows} == {"badge"}
    assert values["rounds"] == "2"
    parts = [float(row["value"]) for row in rows if row["unit"] == "s"]
    assert all(seconds > 0 for seconds in parts)
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.01)
    assert float(values["start, find and decode images"]) < parts[-1]
    with pytest.raises(SystemExit, match="holds rows of the version 'now'"):
        script.main(["--version", "now", *folders, "--", *flags.split()])
    with pytest.raises(SystemExit, match="other settings"):
        script.main(["--version", "b", *folders, "--", *flags.split(), "--seed", "1"])


def test_a_checkout_without_the_package_is_refused(script, tmp_path):
    words = ["--version", "x", "--checkout", str(tmp_path)]
    for name in ("--dir-train", "--dir-test"):
        words += [name, str(tmp_path)]
    with pytest.raises(SystemExit, match="holds no package dalmax_sk"):
        script.main([*words, "--output", str(tmp_path / "rows.csv")])


def test_digest_tells_picks_and_their_order(script):
    def record(*names):
        picked = [{"file": name} for name in names]
        return {"initial": [{"file": "i"}], "rounds": [{"picked": picked}]}

    digest = script.digest_of_picks
    assert digest(record("a", "b")) == digest(record("a", "b"))
    assert digest(record("a", "b")) != digest(record("b", "a"))
