"""The blocks of docs/performance.md hold what the files hold."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest


@pytest.fixture
def blocks(benchmark_module):
    return benchmark_module("_performance_blocks")


@pytest.fixture
def renderer(tmp_path):
    return SimpleNamespace(results=tmp_path, images=tmp_path)


def write(path, columns, *rows, head=()):
    lines = [*(f"# {line}" for line in head), columns, *rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_missing_file_is_an_error(blocks, renderer):
    for make, *arguments in blocks.PERFORMANCE.values():
        with pytest.raises(
            FileNotFoundError, match=r"(csv|json) is missing, and a block"
        ):
            make(renderer, *arguments)


def test_large_pools(blocks, renderer):
    write(
        renderer.results / "large_pool.csv",
        "strategy,n_pool,n_features,picks,check_seconds,seconds,peak_mb,start_mb,"
        "floor_seconds,floor_gb,floor_gflop,times_floor,picks_hash",
        "badge,1000000,256,1000,1.5,20.0,1234.5,400.1,5,1,2,4,abc",
        head=["command: python x.py"],
    )
    text = blocks.large_pool(renderer)
    assert "- command: `python x.py`" in text
    assert "| badge | 1,000,000 × 256 | 1,000 | 20.0 | 5.00 | 0.25 | 1,23" in text


def test_start(blocks, renderer):
    write(
        renderer.results / "start.csv",
        "command,first_line_seconds,beyond_imports_seconds",
        "train-al,0.25,0.41",
        head=["machine: A, 2 cores"],
    )
    text = blocks.start(renderer)
    assert "- machine: `A, 2 cores`" in text
    assert "| command | first line (s) | beyond imports (s) |" in text
    assert "| train-al | 0.25 | 0.41 |" in text


def test_ways_to_refit(blocks, renderer):
    baseline = "scratch, 20 epochs"
    sidecar = {
        "command": "python benchmarks/bench_refit.py",
        "date": "2026-01-01",
        "hardware": {"cpu": "A", "usable_cores": 2, "torch_threads": 1},
        "seeds": [0, 1, 2],
        "baseline": baseline,
    }
    (renderer.results / "refit.json").write_text(json.dumps(sidecar), encoding="utf-8")
    write(
        renderer.results / "refit_times.csv",
        "strategy,fit,query,score,whole,query_round,peak_mb",
        '"continue, 5 epochs",2.0,1,1,4,0.1,1',
        f'"{baseline}",10.0,1,1,12,0.1,1',
    )
    write(
        renderer.results / "refit_comparison.csv",
        "strategy,aubc,aubc_difference,difference_low,difference_high,final_score",
        f'"{baseline}",0.5,0,0,0,0.6',
        '"continue, 5 epochs",0.51,0.01,-0.02,0.03,0.615',
    )
    text = blocks.refit(renderer, "refit")
    lines = text.splitlines()
    assert "3 seeds" in text
    first = next(i for i, line in enumerate(lines) if baseline in line)
    assert lines[first] == f"| {baseline} | 10.0 | 1.0 | 50.0 | - | 60.0 |"
    assert lines[first + 1] == (
        "| continue, 5 epochs | 2.00 | 5.0 | 51.0 | +1.0 [−2.0, +3.0] | 61.5 |"
    )


def test_main_job(blocks, renderer):
    rows = [
        f'{version},badge,{part},{value},{unit},"{note}"'
        for version, whole, fit in (("before", 90, 40), ("after", 30, 20))
        for part, value, unit, note in (
            ("fit", fit, "s", ""),
            ("whole process", whole, "s", ""),
            ("rounds", 5, "", ""),
            ("accuracy at the end", 61.257, "%", ""),
            ("picks", "", "", "x"),
        )
    ]
    rows.insert(4, 'after,badge,other,0.5,s,""')
    columns = "version,strategy,part,value,unit,note"
    path = renderer.results / "main_job.csv"
    write(path, columns, *rows, head=["settings: threads=2"])
    text = blocks.main_job(renderer)
    assert "| seconds | before | after | times as fast |" in text
    assert "| fit | 40.0 | 20.0 | 2.00 |" in text
    assert "| other | 0 | 0.500 | 0.00 |" in text
    assert text.index("| other") < text.index("| whole process | 90.0 | 30.0 | 3.00 |")
    assert "before 61.26 %; after 61.26 %. 'after' picked the same" in text
    rows = [row.replace('"x"', '"y"') if row[:6] == "before" else row for row in rows]
    write(path, columns, *rows)
    assert "'after' picked other images than before." in blocks.main_job(renderer)


def test_seconds_have_as_many_digits_as_are_worth_reading(benchmark_module):
    word = benchmark_module("_performance_tables").seconds_word
    seconds = [0, 0.000234, 0.0123, 0.5, 1.234, 12.34, 123.4, 99.96]
    assert [word(s) for s in seconds] == [
        "0",
        "0.0002",
        "0.012",
        "0.500",
        "1.23",
        "12.3",
        "123",
        "100.0",
    ]


def test_floors_take_the_longer_of_computing_and_reading(benchmark_module):
    floor = benchmark_module("_performance_tables").floor_seconds
    values = {"matrix_float32": 100.0, "memory_read": 10.0, "decode": 4.0}
    nothing = float("nan")
    assert floor(200, 50, 1, "matrix_float32", values) == 5
    assert floor(2000, 50, 1, "matrix_float32", values) == 20
    assert floor(nothing, 50, 1, "memory_read", values) == 5
    assert floor(nothing, nothing, 8, "decode", values) == 2
    assert pd.isna(floor(1, 1, 1, nothing, values))
