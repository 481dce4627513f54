from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.core.goals import Goals, Limit
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric
from rheostat.core.trial import Trial
from rheostat.search.picture import picture_of
from tests.search.synthetic import GOALS, SPACE, problem, truth

WIDE = {name: Metric(value, "1", 0.9 * value, 1.1 * value) for name, value in truth(SPACE.default).items()}
DEFAULT = Trial(0, SPACE.default, Measurement({}, SPACE.default, {}, {}, "ok", WIDE))


@pytest.mark.parametrize(("metric", "doubtful"), [("latency_p95", True), ("accuracy", False)])
def test_a_limit_is_doubtful_where_measuring_again_can_decide_it(metric: str, doubtful: bool) -> None:
    bound = "most" if metric == "latency_p95" else "least"
    limit = Limit(metric, bound, WIDE[metric].value or 0.0)
    made = replace(problem(), goals=Goals(GOALS.objectives, (limit,)))

    (candidate,) = picture_of(made, [DEFAULT]).candidates
    assert candidate.doubtful is doubtful
