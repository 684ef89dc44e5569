"""Folders of runs as ``dalmax train-al`` leaves them, made without training."""

import numpy as np
import pytest
from PIL import Image

from dalmax_sk.reports import (
    copy_names,
    describe_hardware,
    describe_round,
    describe_test,
    describe_versions,
    write_run_json,
)

# what people, and people who mean harm, call folders and files
HOSTILE_CLASSES = (
    "<img src=x onerror=alert(1)>",
    "\"quotes\"&amp;'single'",
    "חתול 🐈",
    "n" * 200,
    "</style><b onclick='alert(2)'>".replace("/", "\N{DIVISION SLASH}"),
    "$5 {{x}} %s",
)
HOSTILE_FILES = ("#?%\"'.png", "a\nb.png", "<svg onload=alert(3)>.png", "é\u202e.png")
HOSTILE_ERROR = "ValueError: </pre><script>alert(4)</script>\nsecond line & more"


def _images(folder, files, side):
    rng = np.random.default_rng(0)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / file, "PNG")


def _record(number, rows, n_labeled, files, n_classes):
    """What ``history_`` holds of a round; the model predicts the next class."""
    classes = [file.split("/")[0] for file in files]
    names = sorted(set(classes))
    record = {
        "round": number,
        "n_labeled": n_labeled,
        "n_requested": len(rows),
        "queried": rows,
        "query_scores": [1 - i / 10 for i in range(len(rows))] if rows else None,
        "fit_seconds": 1.0 + number,
        "query_seconds": 0.25 * (number > 0),
        "eval_seconds": 0.125,
        "peak_bytes": 10**9,
        "eval_accuracy": 0.5 + number / 10,
        "eval_f1_macro": 0.4 + number / 10,
        "fit_history": [{"train_loss": 2.0, "train_accuracy": 0.5}] * 2,
    }
    if rows:
        others = [
            names[(names.index(classes[row]) + row) % 2 % len(names)] for row in rows
        ]
        record["picks"] = {
            "predicted": others,
            "probability": [0.75] * len(rows),
            "nearest_row": [0] * len(rows),
            "nearest_distance": [1.5] * len(rows),
            "missing": {},
            "seconds": 0.01,
        }
    return record


@pytest.fixture
def make_run(tmp_path):
    """Return a function that makes the folder of a run and gives its path."""

    def make(
        classes=("cat", "dog"),
        *,
        n_rounds=2,
        n_picks=3,
        status="finished",
        error=None,
        side=20,
        name="uncertainty_sampling",
        file_names=(),
        results="results",
        seed=0,
        change=None,
    ):
        folder = tmp_path / results / "active_learning" / name
        folder.mkdir(parents=True)
        n_files = 2 + n_rounds * n_picks
        files = sorted(
            f"{classes[i % len(classes)]}/"
            f"{file_names[i] if i < len(file_names) else f'{i}.png'}"
            for i in range(n_files)
        )
        _images(tmp_path / "train", files, side)
        rounds, labelled = [], 2
        for number in range(n_rounds + 1):
            rows = list(range(labelled, labelled + n_picks)) if number else []
            labelled += len(rows)
            copies = [
                f"selected_images/round_{number:02d}/{copy}"
                for copy in copy_names([files[row] for row in rows])
            ]
            for row, copy in zip(rows, copies, strict=True):
                (folder / copy).parent.mkdir(parents=True, exist_ok=True)
                content = (tmp_path / "train" / files[row]).read_bytes()
                (folder / copy).write_bytes(content)
            record = _record(number, rows, labelled, files, len(classes))
            rounds.append(describe_round(record, files=files, copies=copies))
        truth = [name for name in classes for _ in range(3)]
        guess = (
            [classes[0], *truth[1:]] if len(classes) < 2 else [classes[1], *truth[1:]]
        )
        described = {
            "directory": str(tmp_path / "train"),
            "n_images": n_files,
            "n_per_class": {},
            "skipped": [{"file": "<i>bad</i>.png", "reason": "empty file (0 bytes)"}],
            "sha256": "0123456789abcdef" * 4,
        }
        run = {
            "format": 1,
            "kind": "active learning on image folders",
            "status": status,
            "error": error,
            "stop_reason": f"{n_rounds} rounds are done",
            "command": "dalmax train-al --type '<b>x</b>'",
            "seed": seed,
            "total_seconds": 75.0,
            "config": {"type": name, "iterations": n_rounds, "dir_train": "/<u>d</u>"},
            "resolved": {"n_initial": 2, "device": "cpu"},
            "classes": {label: i for i, label in enumerate(classes)},
            "data": {"train": described, "test": dict(described)},
            "versions": describe_versions(),
            "hardware": describe_hardware(),
            "sessions": [
                {
                    "started": "2026-01-01T00:00:00+00:00",
                    "seconds": 75.0,
                    "status": status,
                    "command": "dalmax train-al",
                }
            ],
            "initial": [
                {"row": row, "file": files[row], "class": "x"} for row in (0, 1)
            ],
            "rounds": rounds,
            "test": describe_test(truth, guess, labels=list(classes))
            if status == "finished"
            else None,
        }
        if change is not None:
            change(run)
        write_run_json(run, folder)
        return folder

    return make


@pytest.fixture
def hostile():
    """Arguments of ``make_run``: names that a page must show and not obey."""
    return {
        "classes": HOSTILE_CLASSES,
        "file_names": HOSTILE_FILES,
        "n_rounds": 3,
        "n_picks": 6,
        "status": "failed",
        "error": HOSTILE_ERROR,
    }
