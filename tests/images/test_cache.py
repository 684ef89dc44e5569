"""ImageCache: the right pixels in the right order, each file decoded once."""

import logging
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

import dalmax_sk.images.cache as cache_module
from dalmax_sk._base import progress
from dalmax_sk._base.limits import limits
from dalmax_sk.images import (
    ImageCache,
    ImageReadError,
    decode_image,
    find_broken_images,
    get_image_cache,
    set_image_cache_size,
)

SIZE = 4
N_BYTES = SIZE * SIZE * 3  # of one image as the tests load it


def write(path, level):
    Image.new("RGB", (6, 5), (level, 0, 255 - level)).save(path)
    return str(path)


@pytest.fixture
def paths(tmp_path):
    """Twelve PNG files; the i-th has 10 * i in its red channel."""
    return [write(tmp_path / f"{i:02d}.png", 10 * i) for i in range(12)]


@pytest.fixture
def decoded(monkeypatch):
    """The files decoded so far, in no particular order."""
    calls = []

    def counting(path, **options):
        calls.append(os.path.basename(path))
        return decode_image(path, **options)

    monkeypatch.setattr(cache_module, "decode_image", counting)
    return calls


@pytest.fixture
def shared_cache():
    cache = get_image_cache()
    cache.clear()
    yield cache
    set_image_cache_size(2**30)
    cache.clear()


def test_load_equals_decode_image(paths):
    cache = ImageCache(10**6)
    expected = np.stack([decode_image(path, image_size=(3, 4)) for path in paths])
    for _ in range(2):  # decoded, then from the cache
        images = cache.load(paths, image_size=(3, 4))
        assert_array_equal(images, expected)
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous


def test_the_order_is_that_of_the_paths(paths):
    cache = ImageCache(10**6)
    cache.load(paths[::2], image_size=SIZE)
    order = np.random.default_rng(0).permutation(len(paths))
    images = cache.load([paths[i] for i in order], image_size=SIZE)
    assert_array_equal(images[:, 0, 0, 0], 10 * order)


def test_each_file_is_decoded_once(paths, decoded):
    cache = ImageCache(10**6)
    cache.load(paths[:5], image_size=SIZE)
    cache.load(paths, image_size=SIZE)
    cache.load(paths[::-1], image_size=SIZE)
    assert sorted(decoded) == [os.path.basename(path) for path in paths]
    # Another size or mode is another image.
    cache.load(paths[:1], image_size=5)
    cache.load(paths[:1], image_size=SIZE, mode="grey")
    assert len(decoded) == len(paths) + 2


def test_repeated_paths_are_decoded_once_per_call(paths, decoded):
    cache = ImageCache(0)
    images = cache.load([paths[3], paths[1], paths[3], paths[3]], image_size=SIZE)
    assert sorted(decoded) == ["01.png", "03.png"]
    assert images[:, 0, 0, 0].tolist() == [30, 10, 30, 30]
    assert images.flags.c_contiguous


def test_relative_and_absolute_paths_are_one_file(
    paths, decoded, tmp_path, monkeypatch
):
    cache = ImageCache(10**6)
    cache.load(paths[:1], image_size=SIZE)
    monkeypatch.chdir(tmp_path)
    cache.load(["00.png", os.path.join(".", "00.png"), paths[0]], image_size=SIZE)
    assert decoded == ["00.png"]
    # The same name from another folder is another file.
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "00.png", 77)
    monkeypatch.chdir(tmp_path / "sub")
    assert cache.load(["00.png"], image_size=SIZE)[0, 0, 0, 0] == 77


def test_the_result_belongs_to_the_caller(paths):
    cache = ImageCache(10**6)
    for _ in range(2):
        images = cache.load(paths, image_size=SIZE)
        images[:] = 0
    assert cache.load(paths, image_size=SIZE)[1, 0, 0, 0] == 10


def test_the_budget_is_kept_and_the_first_to_come_stay(paths, decoded, caplog):
    cache = ImageCache(7 * N_BYTES + 5)
    first = cache.load(paths, image_size=SIZE)
    assert cache.nbytes == 7 * N_BYTES
    decoded.clear()
    for _ in range(3):
        assert_array_equal(cache.load(paths, image_size=SIZE), first)
    assert sorted(decoded) == sorted(3 * [os.path.basename(p) for p in paths[7:]])
    assert cache.nbytes <= cache.max_bytes
    # Said once, not at every call.
    told = [r for r in caplog.records if "image cache is full" in r.getMessage()]
    assert len(told) == 1
    assert told[0].levelno == logging.INFO
    assert "set_image_cache_size" in told[0].getMessage()


@given(
    max_images=st.integers(0, 15),
    calls=st.lists(
        st.lists(st.integers(0, 11), min_size=1, max_size=15), min_size=1, max_size=6
    ),
)
@settings(max_examples=30, deadline=None)
def test_any_budget_gives_the_same_pixels(tmp_path_factory, max_images, calls):
    # Whatever was loaded before, in whatever batches: pixels depend on the paths alone.
    folder = tmp_path_factory.mktemp("any")
    files = [write(folder / f"{i}.png", 10 * i) for i in range(12)]
    cache = ImageCache(max_images * N_BYTES)
    for rows in calls:
        images = cache.load([files[i] for i in rows], image_size=SIZE)
        assert images[:, 0, 0, 0].tolist() == [10 * i for i in rows]
        assert cache.nbytes <= cache.max_bytes
    seen = len({i for rows in calls for i in rows})
    assert cache.nbytes >= min(seen, max_images) * N_BYTES


def test_loading_in_batches_makes_few_blocks(paths, decoded):
    cache = ImageCache(10**6)
    for path in paths:
        cache.load([path], image_size=SIZE)
    (group,) = cache._groups.values()
    assert len(group.blocks) < len(paths)
    images = cache.load(paths, image_size=SIZE)  # a gather over several blocks
    assert_array_equal(images[:, 0, 0, 0], 10 * np.arange(12))
    assert len(decoded) == len(paths)


def test_a_changed_file_is_decoded_anew(paths, decoded):
    cache = ImageCache(12 * N_BYTES)
    cache.load(paths, image_size=SIZE)
    write(paths[4], 99)
    status = os.stat(paths[4])
    os.utime(paths[4], ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    decoded.clear()
    for _ in range(2):
        images = cache.load(paths, image_size=SIZE)
        assert images[4, 0, 0, 0] == 99
        assert images[5, 0, 0, 0] == 50
    # Once: the new version has taken the place of the old one.
    assert decoded == ["04.png"]
    assert cache.nbytes == 12 * N_BYTES


def test_a_deleted_file_is_an_error_though_it_was_in_the_cache(paths):
    cache = ImageCache(10**6)
    cache.load(paths, image_size=SIZE)
    os.remove(paths[0])
    with pytest.raises(ImageReadError, match=r"00\.png: no such file"):
        cache.load(paths, image_size=SIZE)


def test_all_failures_come_together_and_the_good_files_are_kept(
    paths, decoded, tmp_path
):
    bad = [str(tmp_path / name) for name in ("x.png", "y.png")]
    with open(bad[0], "w") as file:
        file.write("text")
    cache = ImageCache(10**6)
    with pytest.raises(ImageReadError, match="2 image files could not be read") as info:
        cache.load([bad[1], *paths, bad[0], bad[1]], image_size=SIZE)
    assert [path for path, _ in info.value.failures] == [bad[1], bad[0]]
    decoded.clear()
    cache.load(paths, image_size=SIZE)
    assert decoded == []


def test_image_size_none_takes_the_common_size(paths, tmp_path):
    cache = ImageCache(10**6)
    assert cache.load(paths, image_size=None).shape == (12, 5, 6, 3)
    other = tmp_path / "other.png"
    Image.new("RGB", (9, 9)).save(other)
    with pytest.raises(ValueError, match=r"differ in size.*set image_size="):
        cache.load([*paths, other], image_size=None)


def test_a_file_that_appears_late_is_read_but_not_kept(paths, monkeypatch):
    # Its stamp is unknown, so nothing could tell a later version from this one.
    monkeypatch.setattr(cache_module, "file_key", lambda name: (name, None))
    cache = ImageCache(10**6)
    assert cache.load(paths[1:2], image_size=SIZE)[0, 0, 0, 0] == 10
    monkeypatch.undo()
    write(paths[1], 20)
    assert cache.load(paths[1:2], image_size=SIZE)[0, 0, 0, 0] == 20


def test_repr():
    assert repr(ImageCache(5)) == "ImageCache(max_bytes=5)"


def test_no_paths():
    assert ImageCache(100).load([], image_size=SIZE).shape == (0, SIZE, SIZE, 3)


def test_images_of_the_size_used_longest_ago_go_first(paths, decoded):
    cache = ImageCache(10 * N_BYTES)
    for size in (SIZE, SIZE - 1, SIZE):
        cache.load(paths[:4], image_size=size)
    cache.load(paths[:6], image_size=(1, SIZE * SIZE))  # as large as the first
    decoded.clear()
    cache.load(paths[:4], image_size=SIZE)
    assert decoded == []
    cache.load(paths[:4], image_size=SIZE - 1)
    assert len(decoded) == 4
    assert cache.nbytes <= cache.max_bytes


def test_clear_and_a_smaller_budget(paths, decoded):
    cache = ImageCache(10**6)
    cache.load(paths, image_size=SIZE)
    cache.max_bytes = 12 * N_BYTES  # all are still within it
    assert cache.nbytes == 12 * N_BYTES
    cache.max_bytes = 11 * N_BYTES
    assert cache.nbytes == 0
    cache.load(paths, image_size=SIZE)
    assert cache.nbytes == 11 * N_BYTES
    cache.clear()
    assert cache.nbytes == 0


@pytest.mark.parametrize("max_bytes", [-1, 1.5, "1GB", None, True])
def test_bad_budget(max_bytes):
    with pytest.raises(ValueError, match=r"max_bytes must be .* Got"):
        ImageCache(max_bytes)
    with pytest.raises(ValueError, match=r"max_bytes must be .* Got"):
        set_image_cache_size(max_bytes)


def test_bad_arguments(paths):
    cache = ImageCache(10**6)
    with pytest.raises(ValueError, match="image_size must be"):
        cache.load(paths, image_size=0)
    with pytest.raises(ValueError, match="mode must be 'rgb' or 'grey'"):
        cache.load(paths, image_size=SIZE, mode="L")


def test_shared_cache(shared_cache, paths, decoded):
    assert get_image_cache() is shared_cache
    assert shared_cache.max_bytes == 2**30
    set_image_cache_size(0)  # off: decoded at every call
    for _ in range(2):
        get_image_cache().load(paths[:1], image_size=SIZE)
    assert decoded == ["00.png", "00.png"]
    assert shared_cache.nbytes == 0


def test_several_threads(paths):
    cache = ImageCache(8 * N_BYTES)
    rng = np.random.default_rng(0)
    orders = [rng.integers(0, 12, 30) for _ in range(40)]

    def load(order):
        return cache.load([paths[i] for i in order], image_size=SIZE)[:, 0, 0, 0]

    with ThreadPoolExecutor(8) as pool:
        for order, reds in zip(orders, pool.map(load, orders), strict=True):
            assert_array_equal(reds, 10 * order)
    assert cache.nbytes <= cache.max_bytes


@pytest.mark.parametrize("small", [True, False])
def test_small_files_are_decoded_by_one_thread(paths, monkeypatch, small):
    n_bytes = sum(os.path.getsize(path) for path in paths)
    monkeypatch.setattr(limits, "small_file_bytes", n_bytes / 12 + (1 if small else 0))
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    numbers = []

    def executor(n_threads):
        numbers.append(n_threads)
        return ThreadPoolExecutor(n_threads)

    monkeypatch.setattr(cache_module, "ThreadPoolExecutor", executor)
    reds = ImageCache(2**20).load(paths, image_size=SIZE)[:, 0, 0, 0]
    assert_array_equal(reds, 10 * np.arange(12))
    assert find_broken_images(paths) == []
    assert numbers == [1 if small else 3] * 2


def load_in_worker(paths):
    return get_image_cache().load(paths, image_size=SIZE), os.getpid()


def test_other_processes_have_their_own(paths, shared_cache):
    # A pickled cache arrives empty, with its budget.
    shared_cache.load(paths, image_size=SIZE)
    again = pickle.loads(pickle.dumps(shared_cache))
    assert (again.nbytes, again.max_bytes) == (0, 2**30)
    with joblib.parallel_config("loky", n_jobs=2):
        results = joblib.Parallel()(
            joblib.delayed(load_in_worker)(paths) for _ in range(2)
        )
    for images, pid in results:
        assert pid != os.getpid()
        assert_array_equal(images, shared_cache.load(paths, image_size=SIZE))


def test_large_loads_report_their_progress(paths, monkeypatch):
    monkeypatch.setattr(limits, "decode_files", 5)
    seen = []
    with progress.listen(lambda *args: seen.append(args[:3])):
        cache = ImageCache(10**6)
        cache.load(paths, image_size=SIZE)
        cache.load(paths, image_size=SIZE)  # nothing to decode
    assert seen == [("decode", 5, 12), ("decode", 10, 12), ("decode", 12, 12)]


# --- find_broken_images ---------------------------------------------------------------


@pytest.mark.parametrize("image_size", [None, SIZE])
def test_find_broken_images(paths, tmp_path, image_size, monkeypatch):
    monkeypatch.setattr(limits, "decode_files", 5)
    torn = tmp_path / "torn.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(torn)
    torn.write_bytes(torn.read_bytes()[:900])
    missing = str(tmp_path / "missing.png")
    cache = ImageCache(10**6)
    seen = []
    with progress.listen(lambda *args: seen.append(args[:3])):
        failures = find_broken_images(
            [missing, *paths, torn, missing], image_size=image_size, cache=cache
        )
    assert [path for path, _ in failures] == [missing, str(torn)]
    assert failures[0][1] == "no such file"
    assert "truncated" in failures[1][1]
    assert seen == [("decode", done, 14) for done in (5, 10, 14)]


def test_find_broken_images_fills_the_cache(paths, shared_cache, decoded):
    assert find_broken_images(paths, image_size=SIZE) == []
    assert shared_cache.nbytes == 12 * N_BYTES
    decoded.clear()
    shared_cache.load(paths, image_size=SIZE)
    assert decoded == []
    # Without a size there is nothing to keep.
    cache = ImageCache(10**6)
    assert find_broken_images(paths, cache=cache) == []
    assert cache.nbytes == 0


def test_find_broken_images_checks_its_arguments():
    with pytest.raises(ValueError, match="image_size must be"):
        find_broken_images([], image_size=-1)
    with pytest.raises(ValueError, match="mode must be"):
        find_broken_images([], mode="cmyk")
