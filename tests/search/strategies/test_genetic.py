import numpy as np
import pytest

from rheostat.core.pareto import front
from rheostat.core.space import Axis, Conflict, Space
from rheostat.search.strategies.codes import Codec
from rheostat.search.strategies.genetic import MUTATION, crossed, evolve, mutated, ranks

STAGES = ("architecture", "finetuning", "inference", "deployment")
WIDE = Space(
    tuple(
        Axis(f"{stage}{at}", stage, tuple(float(value) for value in range(6)), 0.0)
        for stage in STAGES
        for at in range(3)
    ),
    (Conflict((("architecture0", (5.0,)), ("inference0", (5.0,))), "too much"),),
)
CODEC = Codec(WIDE)


class Bowl:
    """Two objectives that pull apart: near one corner, near the other."""

    def mean(self, codes):
        shares = codes / 5.0
        return np.stack([(shares**2).sum(1), ((1 - shares) ** 2).sum(1)], axis=1)

    def excess(self, codes):
        return np.maximum(codes[:, 0] - 3.0, 0.0)


def test_codes_and_back():
    one = WIDE.canonical({"finetuning1": 3.0, "deployment2": 5.0})
    assert CODEC.decode(CODEC.encode([one])[0]) == one
    assert CODEC.encode([]).shape == (0, 12)


def test_an_axis_that_means_nothing_has_no_code():
    tokens = Axis("tokens", "inference", (0.5, 1.0), 1.0)
    scorer = Axis("scorer", "inference", ("a", "b"), "a", when=(("tokens", (0.5,)),))
    codec = Codec(Space((tokens, scorer)))
    assert codec.encode([{"tokens": 1.0}, {"tokens": 0.5, "scorer": "b"}]).tolist() == [[1, -1], [0, 1]]
    assert codec.decode(np.array([0, -1])) == {"tokens": 0.5, "scorer": "a"}


def test_crossover_never_mixes_genes_within_a_stage():
    source = np.random.default_rng(0)
    mother, father = np.zeros(12, dtype=np.int64), np.ones(12, dtype=np.int64)
    children = [crossed(CODEC, mother, father, source) for _ in range(200)]
    assert all(len(set(stage)) == 1 for child in children for stage in child.reshape(4, 3).tolist())
    assert len({tuple(child) for child in children}) == 16


@pytest.mark.parametrize(("stage", "first"), [("architecture", 0), ("finetuning", 3), ("inference", 6)])
def test_mutation_goes_by_the_stage(stage, first):
    source = np.random.default_rng(0)
    one = np.full(12, 2, dtype=np.int64)
    changed = np.mean([mutated(CODEC, one, source)[first : first + 3] != 2 for _ in range(3000)])
    # A gene that is drawn anew may be what it was: half of the changes go to a neighbour, half to one of six.
    assert changed == pytest.approx(MUTATION[stage] * (1 - 0.5 / 6), rel=0.1)


def test_ranks_peel_front_after_front():
    values = np.random.default_rng(1).random((60, 3))
    found, left, rank = ranks(values), list(range(60)), 0
    while left:
        best = [left[at] for at in front(values[left].tolist())]
        assert sorted(np.flatnonzero(found == rank).tolist()) == best
        left = [at for at in left if at not in best]
        rank += 1


def test_evolution_gets_near_the_front_and_keeps_to_what_may_run():
    source = np.random.default_rng(0)
    found = evolve(CODEC, Bowl(), CODEC.encode([WIDE.default]), source)
    assert len(np.unique(found, axis=0)) == len(found)
    assert all(WIDE.conflict(CODEC.decode(row)) is None for row in found)
    kept = found[Bowl().excess(found) == 0]
    # On the true front all shares are equal, so that the roots of the two objectives add up to the root of 12.
    roots = np.sqrt(Bowl().mean(kept)).sum(1)
    assert (roots < 1.05 * np.sqrt(12)).sum() > 100


def test_evolution_goes_by_its_source():
    first, second, other = (evolve(CODEC, Bowl(), CODEC.encode([]), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
