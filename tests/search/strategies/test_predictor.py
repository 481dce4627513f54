import numpy as np
import pytest

from benchmarks.search_spaces import stand_in
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.codes import Codec
from rheostat.search.strategies.predictor import Predictor
from rheostat.search.strategies.trend import Points, fit_trends

SPACE = Space(
    (
        Axis("recipe", "finetuning", ("a", "b", "c"), "a", ordered=False),
        Axis("tokens", "inference", tuple(at / 8 for at in range(1, 9)), 1.0),
        Axis("batch", "deployment", (1, 2, 4, 8), 1),
    )
)
CODEC = Codec(SPACE)
ALL = CODEC.encode(list(SPACE.configurations()))


def cost(codes):
    return np.exp(0.3 * codes[:, 1] + 0.5 * codes[:, 2] + 0.1 * codes[:, 1] * codes[:, 2] / 4)


def fitted(chosen, values, depends=None, predicted=None, **options):
    model = Predictor(CODEC, depends, seed=0, **options)
    model.fit(
        Points(ALL[chosen], None if predicted is None else predicted[chosen]), values[chosen], np.ones(len(chosen))
    )
    return model


def explained(found, truth):
    return 1 - np.mean((np.log(found) - np.log(truth)) ** 2) / np.var(np.log(truth))


SOME = np.random.default_rng(0).choice(len(ALL), 20, replace=False)


@pytest.mark.parametrize("boosted", [True, False])
def test_costs_are_learned_from_few(boosted):
    truth = cost(ALL)
    model = fitted(SOME, truth, boosted=boosted)
    assert explained(model.mean(Points(ALL)), truth) > 0.97
    # Against the mean, which explains nothing: the fault that this would miss.
    assert explained(np.full(len(ALL), truth.mean()), truth) < 0.0


def test_who_shares_all_that_matters_shares_what_was_measured():
    truth = cost(ALL)
    first = np.flatnonzero(ALL[:, 0] == 0)
    model = fitted(first, truth, depends={"tokens", "batch"})
    assert model.mean(Points(ALL)) == pytest.approx(truth, rel=0.05)
    drawn = model.samples(Points(ALL), 8, np.random.default_rng(0))
    thirds = drawn.reshape(8, 3, -1)
    assert np.array_equal(thirds[:, 0], thirds[:, 1])


def test_a_cost_model_helps_where_little_is_measured():
    truth = cost(ALL)
    logs = np.log(truth) ** 1.1
    predicted = (logs - logs.mean()) / logs.std()
    few = SOME[:5]
    without, with_it = fitted(few, truth), fitted(few, truth, predicted=predicted)
    assert explained(with_it.mean(Points(ALL, predicted)), truth) > explained(without.mean(Points(ALL)), truth)


def test_it_is_surer_where_it_has_measured():
    truth = cost(ALL)
    seen = np.flatnonzero((ALL[:, 0] == 0) & (ALL[:, 1] < 4))
    model = fitted(seen, truth)
    drawn = np.log(model.samples(Points(ALL), 64, np.random.default_rng(0)))
    spread = drawn.std(0)
    far = np.flatnonzero((ALL[:, 0] == 2) & (ALL[:, 1] == 7))
    assert spread[seen].max() < spread[far].min()


def test_truth_lies_within_its_draws():
    """Of unseen configurations of a made space, most lie between the ends of what is drawn."""
    recorded = stand_in(2)
    codec = Codec(recorded.space)
    codes = codec.encode([row.configuration for row in recorded.rows])
    truth = np.array([row.metrics["latency_p50"].value for row in recorded.rows])
    chosen = np.random.default_rng(1).choice(len(codes), 25, replace=False)
    model = Predictor(codec, None, seed=0)
    model.fit(Points(codes[chosen]), truth[chosen], np.ones(25))
    drawn = model.samples(Points(codes), 64, np.random.default_rng(0))
    inside = (drawn.min(0) <= truth) & (truth <= drawn.max(0))
    assert inside.mean() > 0.8


def test_optimism_is_below_expectation():
    model = fitted(SOME, cost(ALL), boosted=False)
    assert (model.optimistic(Points(ALL), 1.0) <= model.optimistic(Points(ALL), 0.0)).all()


def test_equal_values_and_negative_ones_are_fine():
    same = fitted(SOME, np.full(len(ALL), -3.0))
    assert same.mean(Points(ALL)) == pytest.approx(np.full(len(ALL), -3.0), abs=1e-3)
    mixed = fitted(SOME, np.linspace(-1, 1, len(ALL)))
    assert np.isfinite(mixed.samples(Points(ALL), 4, np.random.default_rng(0))).all()


def test_what_is_better_the_higher_it_is_is_learned_as_well():
    speed = -1 / cost(ALL)
    model = fitted(SOME, speed)
    assert explained(-model.mean(Points(ALL)), -speed) > 0.97
    assert (model.samples(Points(ALL), 8, np.random.default_rng(0)) < 0).all()


def test_a_look_at_a_part_counts_less():
    codes = np.vstack([ALL[:1], ALL[:1]])
    model = Predictor(CODEC, None, seed=0, boosted=False)
    model.fit(
        Points(np.vstack([codes, ALL[5:9]])), np.array([1.0, 3.0, 2.0, 2.0, 2.0, 2.0]), np.array([1, 0.1, 1, 1, 1, 1])
    )
    # The root of 3 is what both would come to if they counted alike.
    assert model.mean(Points(ALL[:1]))[0] < 1.5


def test_the_likeliest_trend_comes_first_and_all_together_are_one():
    found = fit_trends(CODEC, (0, 1, 2), Points(ALL[SOME]), np.log(cost(ALL[SOME])), np.ones(len(SOME)))
    weights = [weight for weight, _ in found]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0)
    # Costs multiply in pairs here, so that pairs count.
    assert found[0][1].kernel.pairs > 0


def test_the_spread_is_the_root_of_the_covariance():
    trend = fit_trends(CODEC, (0, 1, 2), Points(ALL[SOME]), np.log(cost(ALL[SOME])), np.ones(len(SOME)))[0][1]
    points = Points(ALL[:30])
    assert trend.spread(points) ** 2 == pytest.approx(np.diag(trend.covariance(points)), abs=1e-9)
