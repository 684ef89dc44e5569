"""The gymnasium environment keeps gymnasium's contract."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris

from dalmax_sk.strategies.reinforcement import environment, make_environment

IRIS = load_iris(return_X_y=True)


def test_without_gymnasium_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    environment._environment_class.cache_clear()
    with pytest.raises(ImportError, match=r'pip install "dalmax_sk\[rl\]"'):
        make_environment([IRIS])
    environment._environment_class.cache_clear()


def test_gymnasium_checks_pass():
    checker = pytest.importorskip("gymnasium.utils.env_checker")
    checker.check_env(make_environment([IRIS]), skip_render_check=True)


def test_an_episode_is_played_to_its_end():
    pytest.importorskip("gymnasium")
    env = make_environment([IRIS], n_candidates=5, n_rounds=7)
    observation, info = env.reset(seed=3)
    assert observation.shape == (5, 14)
    first = info["score"]
    total, rows, ended = 0.0, [], False
    while not ended:
        observation, reward, ended, truncated, info = env.step(2)
        assert observation in env.observation_space
        assert not truncated
        total += reward
        rows.append(info["row"])
    assert len(set(rows)) == 7
    assert info["score"] == pytest.approx(first + total)
    again, _ = env.reset(seed=3)
    other, _ = make_environment([IRIS], n_candidates=5, n_rounds=7).reset(seed=3)
    np.testing.assert_array_equal(again, other)


def test_it_ends_before_the_pool_is_too_small():
    pytest.importorskip("gymnasium")
    X, y = IRIS
    small = (X[::6], y[::6])  # 25 rows: 10 held out, the rest start and pool
    env = make_environment([small], n_candidates=6, n_initial_per_class=(1, 1))
    env.reset(seed=0)
    steps = 1
    while not env.step(0)[2]:
        steps += 1
    assert steps == 12 - 5  # 12 candidates, fewer than 6 after 7 steps


def test_bad_numbers_are_refused():
    pytest.importorskip("gymnasium")
    with pytest.raises(ValueError, match="n_candidates must be at least 2"):
        make_environment([IRIS], n_candidates=1)
    env = make_environment([IRIS], n_candidates=100)
    with pytest.raises(ValueError, match=r"pool of \d+ candidates, n_candidates is"):
        env.reset(seed=0)
