"""The pages say what the record says, and nothing in them is markup by accident."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from dalmax_sk.cli import app
from dalmax_sk.cnn import load_model
from dalmax_sk.evaluation import BudgetCurves, compare
from dalmax_sk.images import load_image_paths
from dalmax_sk.reports import (
    write_comparison_page,
    write_results_page,
    write_run_page,
)
from dalmax_sk.reports.page.comparison_page import _interval
from dalmax_sk.reports.page.contact_sheets import share_of_images
from dalmax_sk.reports.page.markup import element, legible
from dalmax_sk.reports.page.number_format import file_size, fraction, number, seconds
from dalmax_sk.reports.page.run_page import status_words
from dalmax_sk.reports.page.thumbnails import MissingImage, RunImages, thumbnail


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


class Reader(html.parser.HTMLParser):
    """Collects elements, attributes and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        """The text, with ordinary spaces before units."""
        return plain("".join(self.words))


def read(path):
    return Reader(path.read_text("utf-8"))


def open_run(folder):
    """Return the images of a run, and the picks of its first round with picks."""
    run = json.loads((folder / "run.json").read_text("utf-8"))
    return RunImages(folder, run), run["rounds"][1]["picked"]


def n_cards(folder, **limits):
    """Return the number of picks that the page shows in each round."""
    page = write_run_page(folder, **limits).read_text("utf-8")
    sheets = re.findall(r'<ul class="picks">(.*?)</ul>', page, re.DOTALL)
    return [sheet.count("<li") for sheet in sheets]


# ---------------------------------------------------------------------------- escaping


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text())
def test_any_text_stays_text(content, attribute):
    # property: a parser reads one element, and in it exactly what was given
    found = Reader(str(element("p", content, title=attribute)))
    assert found.tags == ["p"]
    assert "".join(found.words) == legible(content)
    assert found.attributes == [("title", legible(attribute))]


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec=None)))
def test_text_is_made_legible(text):
    # property: valid UTF-8 without control characters, as long as it was
    shown = legible(text)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)


def test_elements():
    inner = element("b", "x")
    assert str(element("p", inner, None, 3, ["&", [inner]])) == (
        "<p><b>x</b>3&amp;<b>x</b></p>"
    )
    assert str(element("img", alt="<'\">", hidden=True, width=False)) == (
        '<img alt="&lt;&#x27;&quot;&gt;" hidden>'
    )


def test_hostile_names_are_text(make_run, hostile):
    # property: the names bring no element and no attribute into the page
    plain = make_run(n_rounds=3, n_picks=6, status="failed", error="e", results="plain")
    expected = set(read(write_run_page(plain)).tags)
    found = read(write_run_page(make_run(**hostile, results="hostile")))
    assert set(found.tags) == expected
    assert not {name for name, _ in found.attributes if name.startswith("on")}
    for name in hostile["classes"]:
        assert name in found.text


# --------------------------------------------------------------------- self-containment


def test_the_page_asks_for_nothing(make_run):
    # property: no address but data: and anchors, no style or handler outside the policy
    folder = make_run(n_rounds=3)
    found = read(write_run_page(folder))
    addresses = [
        value for name, value in found.attributes if name in ("src", "href", "data")
    ]
    assert addresses
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "style" not in {name for name, _ in found.attributes}
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(found.tags)


def test_the_policy_allows_this_style_and_script_only(make_run):
    text = write_run_page(make_run()).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    policy = policy.replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    # it stands before anything it has to hold for
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_the_same_run_gives_the_same_page(make_run):
    folder = make_run(n_rounds=3)
    first = write_run_page(folder).read_bytes()
    assert write_run_page(folder).read_bytes() == first
    assert not list(folder.glob(".*"))


# ------------------------------------------------------------------------- what it says


def test_it_shows_what_the_record_says(make_run):
    folder = make_run(n_rounds=2, n_picks=3)
    run = json.loads((folder / "run.json").read_text("utf-8"))
    words = read(write_run_page(folder)).text
    for entry in run["rounds"]:
        assert f"{100 * entry['metrics']['f1_macro']:.2f} %" in words
        for pick in entry["picked"]:
            assert pick["file"] in words
    assert run["command"] in words
    assert run["versions"]["torch"] in words
    assert run["hardware"]["cpu"] in words
    assert "<i>bad</i>.png" in words
    assert "empty file (0 bytes)" in words
    n_other = [
        sum(pick["predicted"] != pick["class"] for pick in entry["picked"])
        for entry in run["rounds"][1:]
    ]
    for n in n_other:
        assert f"another class than the true one for {n} of 3" in words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("finished", "Finished: 2 rounds are done."),
        ("running", "Not finished: 2 of 2 rounds are done."),
        ("interrupted", "Interrupted: 2 of 2 rounds are done; --resume goes on"),
        ("failed", "Failed: 2 of 2 rounds are done; the page shows what there is."),
    ],
)
def test_the_status_in_words(status, words):
    run = {
        "status": status,
        "stop_reason": "2 rounds are done",
        "rounds": [0, 1, 2],
        "config": {"iterations": 2},
    }
    assert status_words(run).startswith(words)


def test_a_run_without_rounds(make_run):
    def empty(run):
        run["rounds"], run["initial"] = [], []

    text = read(write_run_page(make_run(status="running", change=empty))).text
    assert "0 of 2 rounds are done" in text
    assert text.count("No round is done yet.") == 2
    assert "No image has been picked yet." in text


def test_a_record_of_an_earlier_version(make_run):
    # property: what was not recorded then is said to be missing, the rest is shown
    def older(run):
        del run["test"]
        for entry in run["rounds"]:
            del entry["not_known"], entry["seconds"]["eval"]
            entry["seconds"].pop("describe", None)
            for pick in entry["picked"]:
                del pick["predicted"], pick["probability"], pick["nearest"]

    page = read(write_run_page(make_run(change=older)))
    assert page.text.count("Not recorded: ") == 2
    assert "nearest labelled:" not in page.text
    assert "predicted class" not in page.text
    assert "predicted the same" not in page.text
    assert page.tags.count("img") >= 6


def test_reasons_are_given(make_run):
    def without(run):
        for entry in run["rounds"][1:]:
            entry["not_known"] = {"nearest": "the model has <no> embeddings"}
            for pick in entry["picked"]:
                del pick["nearest"]

    text = read(write_run_page(make_run(change=without))).text
    assert text.count("Not known: the model has <no> embeddings") == 2


@pytest.mark.parametrize("n_classes", [1, 2, 30, 31])
def test_the_confusions(make_run, n_classes):
    # property: up to thirty classes the counts are a table, beyond a picture
    classes = [f"c{i}" for i in range(n_classes)]
    page = write_run_page(make_run(classes)).read_text("utf-8")
    matrix = re.search(r'<table class="matrix">.*?</table>', page, re.DOTALL)
    assert (matrix is not None) == (n_classes <= 30)
    if matrix is not None:
        cells = re.findall(r'<td class="h\d">(\d*)</td>', matrix[0])
        assert len(cells) == n_classes**2
        assert "0" not in cells  # blank, so that the confusions are seen
        assert sum(int(cell or 0) for cell in cells) == 3 * n_classes
    confused = "No test image is confused" not in page
    assert confused == (n_classes > 1)


# ------------------------------------------------------------------------------- images


def test_thumbnails_hold_the_images(make_run):
    folder = make_run(side=20)
    images, (first, *_) = open_run(folder)
    small = images.pick(first, 96)
    assert small.is_tiny
    data = base64.b64decode(small.uri.partition(",")[2])
    copy = folder / "selected_images" / "round_01" / first["file"]
    with Image.open(io.BytesIO(data)) as shown, Image.open(copy) as whole:
        assert np.array_equal(np.asarray(shown), np.asarray(whole))
    # the nearest one was in the initial set, so it comes from the training folder
    assert (
        images.labelled(first["nearest"], 48).uri
        == thumbnail(folder.parents[2] / "train" / first["nearest"]["file"], 48).uri
    )


def test_a_large_image_is_made_small(tmp_path):
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.png")
    small = thumbnail(tmp_path / "a.png", 96)
    assert (small.width, small.height, small.is_tiny) == (96, 24, False)
    assert small.uri.startswith("data:image/jpeg;base64,")
    assert len(small.uri) < 2000


def test_images_that_are_gone(make_run):
    folder = make_run(n_rounds=2)
    shutil.rmtree(folder / "selected_images" / "round_01")
    copy = next((folder / "selected_images" / "round_02").rglob("*.png"))
    copy.write_bytes(b"")
    shutil.rmtree(folder.parents[2] / "train")
    words = read(write_run_page(folder)).text
    assert words.count("copy removed from selected_images") == 3
    assert words.count("cannot be read: empty file (0 bytes)") == 1
    assert words.count("no longer in the training folder") == 6


def test_names_do_not_lead_out_of_the_folders(make_run, tmp_path):
    # property: a record from elsewhere pulls no other file into the page
    Image.new("RGB", (9, 9), "red").save(tmp_path / "secret.png")

    def outside(run):
        run["rounds"][1]["picked"][0]["copy"] = "../../../secret.png"
        run["rounds"][1]["picked"][1]["copy"] = str(tmp_path / "secret.png")
        run["rounds"][1]["picked"][2]["nearest"]["file"] = "../secret.png"

    images, picks = open_run(make_run(change=outside))
    found = [images.pick(pick, 96) for pick in picks[:2]]
    found.append(images.labelled(picks[2]["nearest"], 48))
    assert all(isinstance(image, MissingImage) for image in found)


def test_the_number_of_images_is_bounded(make_run):
    folder = make_run(n_rounds=2, n_picks=5)
    page = write_run_page(folder, max_images_per_round=2)
    text = read(page).text
    assert text.count("The first 2 are shown; 3 more are in run.json") == 2
    assert n_cards(folder, max_images_per_round=2) == [2, 2]
    assert n_cards(folder, max_images=6) == [3, 3]
    assert n_cards(folder, max_images=0) == [0, 0]
    assert "20 thumbnails take" in read(write_run_page(folder)).text
    with pytest.raises(ValueError, match=r"max_images must be at least 0.*got -1"):
        write_run_page(folder, max_images=-1)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 50), max_size=8), st.integers(0, 60), st.integers(0, 200)
)
def test_the_share_of_images(n_picked, per_round, together):
    # property: the largest number that keeps both limits
    def total(most):
        return sum(min(most, n) for n in n_picked)

    most = share_of_images(n_picked, per_round, together)
    assert most <= per_round
    assert total(most) <= together
    larger = most + 1
    assert larger > min(per_round, max(n_picked, default=0)) or total(larger) > together


# -------------------------------------------------------------------------- bad records


def test_no_record(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json does not exist.*train-al"):
        write_run_page(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is of kind 'list'"),
        ('{"kind": "training"}', "is of kind 'training'"),
        ('{"kind": "active learning on image folders", "format": 9}', "has format 9"),
        (
            '{"kind": "active learning on image folders", "format": 1, "data": {}}',
            "lacks status, config, resolved",
        ),
    ],
)
def test_a_foreign_record(tmp_path, content, words):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        write_run_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_parts_that_are_missing_are_named(make_run):
    def cut(run):
        del run["rounds"][1]["picked"][0]["file"], run["data"]["test"]["sha256"]

    with pytest.raises(
        ValueError, match=r"lacks data\.test\.sha256, rounds\[1\]\.picked\[0\]\.file;"
    ):
        write_run_page(make_run(change=cut))


# ----------------------------------------------------------------------- results folder


def test_the_page_of_a_results_folder(make_run, tmp_path, caplog):
    # property: every run has its page and a line; one that is broken is told of
    make_run()
    make_run(name="badge", status="running")
    other = make_run(name="badge", results="results/seed 1", seed=1)
    (tmp_path / "results/active_learning/odd").mkdir()
    (tmp_path / "results/active_learning/odd/run.json").write_text("{")
    page = write_results_page(tmp_path / "results")
    assert page == tmp_path / "results" / "report.html"
    assert (other / "report.html").is_file()
    found = read(page)
    links = [value for name, value in found.attributes if name == "href"]
    assert links == [
        "./active_learning/badge/report.html",
        "./active_learning/uncertainty_sampling/report.html",
        "./seed%201/active_learning/badge/report.html",
    ]
    assert "seed 1/badge" in found.text
    assert "Not finished" in found.text
    assert "odd/run.json is not valid JSON" in found.text
    assert "no page for active_learning/odd" in caplog.text


def test_a_moved_run_keeps_the_images_of_its_page(make_run, tmp_path):
    # property: a page is never made poorer by files that are gone
    folder = make_run()
    before = read(write_run_page(folder))
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    run = json.loads((moved / "run.json").read_text("utf-8"))
    run["data"]["train"]["directory"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(run), "utf-8")
    shutil.rmtree(moved / "selected_images")
    for _ in range(2):
        after = read(write_run_page(moved))
        assert after.tags.count("img") == before.tags.count("img")
        assert "no longer in the training folder" not in after.text
    (moved / "report.html").unlink()
    assert "no longer in the training folder" in read(write_run_page(moved)).text


def test_other_results_are_listed(make_run, tmp_path):
    # property: trainings, tests and comparisons have a line each, with or without runs
    results = tmp_path / "results"
    written = {
        "compare/run.json": {"kind": "comparison", "total_seconds": 90.0},
        "train/random/run.json": {
            "kind": "training",
            "n_labels": 58,
            "total_seconds": 1.0,
            "test": {"accuracy": 0.75},
        },
        "train/train/run.json": {"kind": "training"},
    }
    for name, record in written.items():
        (results / name).parent.mkdir(parents=True)
        (results / name).write_text(json.dumps(record))
    (results / "compare/report.html").touch()
    for n_runs in (0, 1):
        found = read(write_results_page(results))
        links = [value for name, value in found.attributes if name == "href"]
        assert "./compare/report.html" in links
        assert "train/random" in found.text
        assert "75.00 %" in found.text
        assert "58" in found.text
        assert "train/train/run.json" in found.text  # without a page
        assert ("uncertainty_sampling" in found.text) == bool(n_runs)
        if not n_runs:
            make_run()


def _put(run, value, *keys):
    for key in keys[:-1]:
        run = run[key]
    run[keys[-1]] = value


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (None, ("rounds",)),
        ([1], ("rounds", 0, "metrics")),
        ({"accuracy": "high"}, ("rounds", 1, "metrics")),
        ({}, ("test",)),
        ({}, ("rounds", 1, "picked", 0, "nearest")),
        ("long", ("total_seconds",)),
        ([], ("data", "train", "sha256")),
        (7, ("classes",)),
        ("many", ("rounds", 1, "n_labeled")),
    ],
)
def test_one_damaged_run_leaves_the_others_their_page(make_run, tmp_path, value, keys):
    # property: a value no run writes costs the run its place, not the others theirs
    make_run()
    make_run(name="badge", change=lambda run: _put(run, value, *keys))
    text = read(write_results_page(tmp_path / "results")).text
    assert "Without a page" in text
    assert "badge/run.json is not as a run writes it (" in text
    assert "uncertainty_sampling" in text


def test_a_folder_named_digits_is_searched(make_run, tmp_path):
    make_run(results="results/digits")
    text = read(write_results_page(tmp_path / "results")).text
    assert "digits/uncertainty_sampling" in text


def test_a_folder_whose_name_is_no_utf_8(make_run, tmp_path):
    # property: the link of the joint page leads to the run's own
    try:
        make_run(results="results/\udce9")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    found = read(write_results_page(tmp_path / "results"))
    links = [value for name, value in found.attributes if name == "href"]
    assert links == ["./%E9/active_learning/uncertainty_sampling/report.html"]


def test_runs_on_other_images_have_other_axes(make_run, tmp_path):
    def elsewhere(run):
        run["data"]["test"] = run["data"]["test"] | {"sha256": "f" * 64}

    make_run()
    make_run(name="badge", change=elsewhere)
    text = read(write_results_page(tmp_path / "results")).text
    assert "Curves, images 1" in text
    assert "Curves, images 2" in text


def test_the_folder_of_one_run(make_run):
    folder = make_run()
    assert write_results_page(folder) == folder / "report.html"


def test_no_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        write_results_page(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no run: expected"):
        write_results_page(tmp_path)
    folder = tmp_path / "active_learning" / "badge"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"No run in .* can be read"):
        write_results_page(tmp_path)


# -------------------------------------------------------------------------- comparisons


def test_a_comparison_needs_one(tmp_path):
    with pytest.raises(TypeError, match="got DataFrame"):
        write_comparison_page(pd.DataFrame(), tmp_path / "c.html")


def test_the_tables_of_a_comparison(tmp_path):
    # property: the numbers are those of the comparison, and what is infinite is told
    # in words
    rng = np.random.default_rng(0)
    rows = [
        {
            "strategy": strategy,
            "split": 0,
            "seed": seed,
            "round": number,
            "n_labeled": 10 + 10 * number,
            "score_accuracy": 0.5 + gain * number + rng.normal(0, 0.001),
        }
        for strategy, gain in (("random_sampling", 0.02), ("badge", 0.05), ("b", 0.0))
        for seed in range(3)
        for number in range(5)
    ]
    comparison = compare(BudgetCurves(pd.DataFrame(rows)), target=0.65, n_bootstrap=199)
    page = write_comparison_page(comparison, tmp_path / "c.html").read_text("utf-8")
    cells = [
        [plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    ]
    by_name = {}
    for row in cells:
        if row and row[0].startswith("<bdi>"):
            by_name.setdefault(row[0][5:-6], []).extend(row[1:])
    table = comparison.table.set_index("strategy")
    badge = by_name["badge"]
    assert badge[1] == f"{100 * table.loc['badge', 'aubc']:.1f} %"
    assert badge[4] == f"+{100 * table.loc['badge', 'aubc_difference']:.1f}"
    assert f"{table.loc['badge', 'labels_to_target']:,.0f}" in badge
    assert "baseline never there" in badge
    assert by_name["random_sampling"][4:6] == ["–", "–"]
    assert "not reached" in by_name["b"]
    assert Reader(page).text.count("not told apart") == 1


@pytest.mark.parametrize("paired", [True, False])
def test_a_comparison_says_each_verdict_once_and_its_test(tmp_path, paired):
    rows = [
        {
            "strategy": strategy,
            "split": 0,
            "seed": seed + (0 if paired else 10 * gain),
            "round": number,
            "n_labeled": 10 + 10 * number,
            "score_accuracy": 0.5 + 0.01 * gain * number + 0.01 * ((seed * number) % 3),
        }
        for gain, strategy in enumerate(["random_sampling", "badge", "bait"])
        for seed in range(4)
        for number in range(3)
    ]
    comparison = compare(BudgetCurves(pd.DataFrame(rows)), paired=paired)
    page = write_comparison_page(comparison, tmp_path / "c.html").read_text("utf-8")
    for name, verdict in zip(
        comparison.table["strategy"], comparison.table["verdict"], strict=True
    ):
        word = "the baseline" if verdict == "baseline" else verdict
        assert (
            f'<li>{name} is <strong class="verdict {verdict}">{word}</strong>' in page
        )
    assert "undecided: " not in page
    assert ("Welch&#x27;s t-test" in page or "Welch's t-test" in page) is not paired
    assert ("a paired t-test" in page) is paired
    assert ('id="ranks"' in page) is paired
    assert ('id="difference"' in page) is paired


def test_the_files_inside_a_comparison(tmp_path):
    # property: what is downloaded is the table that was given
    frame = pd.DataFrame(
        {
            "strategy": ["a<b>", "a<b>"],
            "split": 0,
            "seed": 0,
            "round": [0, 1],
            "n_labeled": [10, 20],
            "score_accuracy": [0.5, 0.75],
        }
    )
    page = write_comparison_page(
        BudgetCurves(frame), tmp_path / "c.html", config={"dir": "</td>"}
    )
    found = read(page)
    assert "</td>" in found.text
    (address,) = [
        value
        for _, value in found.attributes
        if value and value.startswith("data:text")
    ]
    table = pd.read_csv(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert table["score_accuracy"].tolist() == [0.5, 0.75]
    assert table["strategy"].tolist() == ["a<b>"] * 2


# -------------------------------------------------------------------------------- words


def test_an_interval_without_ends_is_one_dash():
    assert _interval("–", "–") == "–"
    assert plain(_interval("1", "–")) == "1 to –"


def test_numbers_in_words():
    assert [plain(fraction(x)) for x in (0.5, 1.0, None, float("nan"))] == [
        "50.0 %",
        "100.0 %",
        "–",
        "–",
    ]
    assert [number(x) for x in (0, 1234, 0.123456, np.inf, None)] == [
        "0",
        "1,234",
        "0.1235",
        "∞",
        "–",
    ]
    assert [plain(seconds(x)) for x in (0.5, 59.96, 3599.9, 7200)] == [
        "0.500 s",
        "1 min 0 s",
        "1 h 0 min",
        "2 h 0 min",
    ]
    assert [plain(file_size(x)) for x in (0, 999, 1500, 2.5e9, 9e13)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 GB",
        "90000 GB",
    ]


# ----------------------------------------------------------------- from a run to a page


def test_a_real_run_ends_with_its_page(tmp_path):
    # property: CoreSet's first pick is scored by its distance to the nearest labelled
    # image, which is what the record tells too; the test counts are the model's
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 5)):
        for label in ("blue & red", "green"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{i}.png")
    flags = "--type core_set_selection --n-initial 6 --query-size 4 --iterations 2"
    words = ["train-al", *flags.split(), "--epochs", "1", "--image-size", "8"]
    for split in ("train", "test"):
        words += [f"--dir-{split}", str(tmp_path / split)]
    result = CliRunner().invoke(app, [*words, "--dir-results", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / "active_learning" / "core_set_selection"
    run = json.loads((folder / "run.json").read_text("utf-8"))
    labelled = {pick["row"]: pick["file"] for pick in run["initial"]}
    for entry in run["rounds"][1:]:
        first = entry["picked"][0]
        assert first["nearest"]["distance"] == pytest.approx(first["score"], rel=1e-5)
        for pick in entry["picked"]:
            assert pick["nearest"]["file"] == labelled[pick["nearest"]["row"]]
            assert pick["predicted"] in run["classes"]
            assert 0.5 <= pick["probability"] <= 1
        labelled |= {pick["row"]: pick["file"] for pick in entry["picked"]}
    model = load_model(folder / "core_set_selection_al_model")
    test = load_image_paths(tmp_path / "test")
    found = model.predict(test.data)
    for i, label in enumerate(test.target_names):
        expected = [
            int((found[test.target == i] == other).sum()) for other in test.target_names
        ]
        assert run["test"]["confusion"][i] == expected, label
    page = read(folder / "report.html")
    assert "Finished: 2 rounds are done." in page.text
    assert page.text.count("nearest labelled:") == 8
