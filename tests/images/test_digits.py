"""make_digits_folder: what it writes, when it writes, what it never touches."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits

import dalmax_sk.images.digits as datasets_module
from dalmax_sk.images import get_image_cache, load_image_paths, make_digits_folder


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    return make_digits_folder(tmp_path_factory.mktemp("data") / "deep" / "digits")


def snapshot(folder):
    """Every file's time of last change; equal snapshots: nothing was written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def rows_of(bunch):
    return np.array(
        [int(Path(path).stem.removeprefix("digit_")) for path in bunch.data]
    )


def test_every_digit_is_there_once_with_its_pixels_and_label(digits_folder):
    digits = load_digits()
    train = load_image_paths(digits_folder / "train")
    test = load_image_paths(digits_folder / "test", class_names=train.target_names)
    assert train.target_names == [str(label) for label in range(10)]
    rows = np.concatenate([rows_of(train), rows_of(test)])
    assert_array_equal(np.sort(rows), np.arange(1797))
    target = np.concatenate([train.target, test.target])
    assert_array_equal(target, digits.target[rows])
    paths = np.concatenate([train.data, test.data])
    pixels = get_image_cache().load(paths, image_size=None, mode="grey")
    expected = np.rint(digits.images[rows] * 255 / 16)
    assert_array_equal(pixels[..., 0], expected)
    with Image.open(paths[0]) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (8, 8))


def test_the_split_is_stratified(digits_folder):
    share = np.bincount(load_digits().target) * 0.2
    counts = np.bincount(load_image_paths(digits_folder / "test").target)
    assert counts.sum() == 360
    assert np.all(np.abs(counts - share) <= 1)


def test_no_other_file_is_left(digits_folder):
    assert sorted(p.name for p in digits_folder.parent.iterdir()) == ["digits"]
    assert sorted(p.name for p in digits_folder.iterdir()) == [
        "dataset.json",
        "test",
        "train",
    ]
    marker = json.loads((digits_folder / "dataset.json").read_text())
    assert marker["test_size"] == 0.2
    assert marker["random_state"] == 0
    # The folder can be read like any other one made here.
    assert digits_folder.stat().st_mode == digits_folder.parent.stat().st_mode


def test_a_complete_folder_is_used_again(digits_folder):
    before = snapshot(digits_folder)
    assert make_digits_folder(str(digits_folder)) == digits_folder
    assert snapshot(digits_folder) == before


def test_the_split_follows_the_seed(digits_folder, tmp_path):
    def test_rows(folder):
        return rows_of(load_image_paths(folder / "test")).tolist()

    same = make_digits_folder(tmp_path / "same", random_state=0)
    other = make_digits_folder(tmp_path / "other", random_state=1)
    assert test_rows(same) == test_rows(digits_folder)
    assert test_rows(other) != test_rows(digits_folder)


def test_other_parameters_are_an_error(digits_folder):
    before = snapshot(digits_folder)
    with pytest.raises(FileExistsError, match="tells of other contents") as info:
        make_digits_folder(digits_folder, test_size=0.5)
    assert "0.2" in str(info.value)
    assert "0.5" in str(info.value)
    assert snapshot(digits_folder) == before


@pytest.mark.parametrize("lost", ["train", "dataset.json", "test/3"])
def test_a_half_written_folder_is_written_anew(tmp_path, lost):
    folder = make_digits_folder(tmp_path / "digits", test_size=30)
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if name == lost or name.startswith(f"{lost}/"):
            path.rmdir() if path.is_dir() else path.unlink()
    make_digits_folder(folder, test_size=30)
    assert len(list(folder.rglob("*.png"))) == 1797
    assert len(list((folder / "test").rglob("*.png"))) == 30
    assert [p.name for p in tmp_path.iterdir()] == ["digits"]


@pytest.mark.parametrize(
    "foreign", ["thesis.txt", "train/0/photo.png", "train/cats/digit_0000.png"]
)
def test_foreign_folders_are_not_touched(tmp_path, foreign):
    path = tmp_path / "mine" / foreign
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    before = snapshot(tmp_path)
    with pytest.raises(FileExistsError, match="not of the digits data set"):
        make_digits_folder(tmp_path / "mine")
    assert snapshot(tmp_path) == before
    assert path.read_text() == "precious"


def test_someone_elses_marker_is_not_touched(tmp_path):
    (tmp_path / "dataset.json").write_text('{"name": "iris"}')
    with pytest.raises(FileExistsError, match=r'other contents: \{"name": "iris"\}'):
        make_digits_folder(tmp_path)
    assert (tmp_path / "dataset.json").read_text() == '{"name": "iris"}'


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "digits").write_text("x")
    with pytest.raises(NotADirectoryError, match="digits is a file"):
        make_digits_folder(tmp_path / "digits")


def test_a_stop_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    saved = []
    save = Image.Image.save

    def stop(self, path, *args, **kwargs):
        if len(saved) == 50:
            raise KeyboardInterrupt
        saved.append(path)
        save(self, path, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        make_digits_folder(tmp_path / "digits")
    assert list(tmp_path.iterdir()) == []
    # Nothing has ever been written under the final name.
    assert all(tmp_path / "digits" not in Path(path).parents for path in saved)


def test_another_process_is_quicker(tmp_path, monkeypatch):
    # It finishes while this one is writing, and may be reading its files already.
    write_tree = datasets_module._write_tree

    def overtaken(tree, parameters):
        write_tree(tree, parameters)
        monkeypatch.setattr(datasets_module, "_write_tree", write_tree)
        make_digits_folder(tmp_path / "digits")
        written.update(snapshot(tmp_path / "digits"))

    written = {}
    monkeypatch.setattr(datasets_module, "_write_tree", overtaken)
    folder = make_digits_folder(tmp_path / "digits")
    assert snapshot(folder) == written
    assert [p.name for p in tmp_path.iterdir()] == ["digits"]


@pytest.mark.parametrize("quicker", [True, False])
def test_a_rename_that_fails(tmp_path, monkeypatch, quicker):
    rename = Path.rename

    def failing(self, target):
        monkeypatch.setattr(Path, "rename", rename)
        if quicker:  # another process finished at the last moment
            make_digits_folder(tmp_path / "digits")
        raise OSError("Directory not empty")

    monkeypatch.setattr(Path, "rename", failing)
    if quicker:
        folder = make_digits_folder(tmp_path / "digits")
        assert len(list(folder.rglob("*.png"))) == 1797
    else:
        with pytest.raises(OSError, match="Directory not empty"):
            make_digits_folder(tmp_path / "digits")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_state": None}, "random_state must be an int. Got None"),
        ({"random_state": True}, "random_state must be an int. Got True"),
        ({"test_size": 1.5}, r"test_size must be a float in \(0, 1\).* Got 1.5"),
        ({"test_size": "a"}, "test_size must be .* Got 'a'"),
        ({"test_size": 0.0, "random_state": "x"}, "random_state must.*test_size must"),
        ({"test_size": 5}, "test_size = 5 should be greater or equal"),
    ],
)
def test_bad_parameters_write_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_digits_folder(tmp_path / "digits", **options)
    assert list(tmp_path.iterdir()) == []
