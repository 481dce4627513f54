import numpy as np
import pytest

from rheostat.core.pareto import hypervolume
from rheostat.search.strategies.gain import Batch, Futures, covered, open_probes


def sure(values):
    """Futures in which everything is known."""
    points = np.array(values, dtype=float)
    return Futures(points[None], np.ones((1, len(points)), dtype=bool), np.zeros(len(points)))


ONES = np.ones(3)
REFERENCE = np.array([1.0, 1.0])


def test_probes_lie_where_something_can_be_gained():
    front, hopes = np.array([[0.5, 0.5]]), np.array([[0.2, 0.6], [0.6, 0.2], [0.55, 0.55]])
    probes = open_probes(front, hopes, REFERENCE, np.random.default_rng(0))
    assert len(probes) > 1000
    assert not covered(front, probes).any()
    assert covered(hopes, probes).all()


def test_no_probes_where_all_is_reached():
    probes = open_probes(np.array([[0.1, 0.1]]), np.array([[0.2, 0.2]]), REFERENCE, np.random.default_rng(0))
    assert probes.shape == (0, 2)
    assert Batch(sure([[0.2, 0.2], [0.3, 0.3], [0.15, 0.2]]), probes).best(ONES > 0, ONES) == 2


def test_gains_are_hypervolume():
    candidates = [[0.2, 0.7], [0.4, 0.4], [0.7, 0.1]]
    probes = np.random.default_rng(0).random((200_000, 2))
    batch = Batch(sure(candidates), probes)
    expected = [hypervolume([one], (1.0, 1.0)) for one in candidates]
    assert batch.gains() / len(probes) == pytest.approx(expected, abs=0.005)
    batch.take(1)
    joint = [hypervolume([one, candidates[1]], (1.0, 1.0)) - expected[1] for one in candidates]
    assert batch.gains() / len(probes) == pytest.approx(joint, abs=0.005)


def test_a_twin_of_what_is_taken_adds_nothing():
    probes = np.random.default_rng(0).random((2000, 2))
    batch = Batch(sure([[0.3, 0.3], [0.3, 0.3], [0.1, 0.9]]), probes)
    assert batch.best(ONES > 0, ONES) == 0
    batch.take(0)
    assert batch.gains()[1] == 0
    assert batch.best(np.array([False, True, True]), ONES) == 2


def test_gain_is_weighed_by_its_price():
    probes = np.random.default_rng(0).random((2000, 2))
    batch = Batch(sure([[0.3, 0.3], [0.4, 0.4], [0.9, 0.9]]), probes)
    assert batch.best(ONES > 0, np.array([10.0, 1.0, 1.0])) == 1


def test_what_passes_a_limit_gains_nothing():
    probes = np.random.default_rng(0).random((2000, 2))
    futures = Futures(np.array([[[0.1, 0.1], [0.5, 0.5]]] * 2), np.array([[False, True]] * 2), np.array([0.4, 0.0]))
    assert Batch(futures, probes).best(ONES[:2] > 0, ONES[:2]) == 1
    # Where nothing keeps them: whatever passes them least.
    nothing = Futures(futures.values, np.zeros((2, 2), dtype=bool), np.array([0.4, 0.6]))
    assert Batch(nothing, probes).best(ONES[:2] > 0, ONES[:2]) == 0


def test_draws_are_averaged_not_merged():
    """One that is either very good or useless is worth half of a sure one."""
    probes = np.random.default_rng(0).random((20_000, 2))
    values = np.array([[[0.0, 0.0], [0.5, 0.0]], [[1.0, 1.0], [0.5, 0.0]]])
    batch = Batch(Futures(values, np.ones((2, 2), dtype=bool), np.zeros(2)), probes)
    assert batch.gains() / len(probes) == pytest.approx([0.5, 0.5], abs=0.01)
