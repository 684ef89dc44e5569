"""Class folders of images as one array, for benchmarks that read them many times."""

import numpy as np

from dalmax_sk.images import get_image_cache, load_image_paths

__all__ = ["load_image_arrays"]


def load_image_arrays(dir_train, dir_test, per_class=None, n_held_out=0, seed=0):
    """Return images, labels and the one split (train rows, test rows).

    Parameters
    ----------
    dir_train, dir_test : path-like
        Folders with one sub-folder a class.
    per_class : int or None, default=None
        Take the first so many images of each class only, of both parts.
    n_held_out : int, default=0
        Training images to leave out, drawn at random: a validation set that nobody may
        learn from.
    seed : int, default=0
        For `n_held_out`.

    Returns
    -------
    X : ndarray of uint8 of shape (n, H, W, 3)
        Training images first; both parts are contiguous, so that slices are views.
    y : ndarray of str of shape (n,)
    split : (ndarray of int, ndarray of int)
    """
    train = load_image_paths(dir_train)
    test = load_image_paths(dir_test, class_names=train.target_names)
    train_rows = _first_of_each_class(train.target, per_class)
    test_rows = _first_of_each_class(test.target, per_class)
    if n_held_out >= len(train_rows):
        raise ValueError(
            f"{n_held_out} of {len(train_rows)} training images cannot be held out; "
            "ask for fewer."
        )
    shuffled = np.random.RandomState(seed).permutation(train_rows)
    train_rows = np.sort(shuffled[n_held_out:])
    paths = [*train.data[train_rows], *test.data[test_rows]]
    images = get_image_cache().load(paths, image_size=None, mode="rgb")
    rows = np.arange(len(paths))
    return (
        np.asarray(images),
        np.concatenate([train.target[train_rows], test.target[test_rows]]),
        (rows[: len(train_rows)], rows[len(train_rows) :]),
    )


def _first_of_each_class(y, per_class):
    rows = [np.flatnonzero(y == label)[:per_class] for label in np.unique(y)]
    return np.sort(np.concatenate(rows))
