from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.core.profile import Point, Profile
from rheostat.report.wording import (
    best_within_allowance,
    flat_facts,
    loss_text,
    metric_of,
    quality_text,
    speedup_text,
)


def language(tokens: float, speedup: float, perplexity: float) -> Point:
    return Point({"tokens": tokens}, speedup, speedup, speedup, 1.0, speedup, {"perplexity": perplexity})


def test_nearly_as_good_is_one_point_of_accuracy(profile: Profile) -> None:
    best = best_within_allowance(profile, "accuracy")

    assert best is not None
    assert best.tokens == 0.7


def test_nearly_as_good_is_five_per_cent_of_perplexity() -> None:
    points = (language(1.0, 1.0, 20.0), language(0.9, 1.2, 20.9), language(0.8, 1.5, 21.1))
    best = best_within_allowance(Profile({}, {}, {}, points), "perplexity")

    assert best is not None
    assert best.tokens == 0.9


def test_nothing_is_best_where_nothing_was_measured(profile: Profile) -> None:
    bare = replace(profile, points=tuple(replace(point, quality={}) for point in profile.points))

    assert metric_of(bare) == ""
    assert best_within_allowance(bare, "accuracy") is None


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_no_number_was_not_measured(value: float | None) -> None:
    assert quality_text("perplexity", value) == "not measured"


def test_an_equal_value_is_called_the_same() -> None:
    assert loss_text("accuracy", 0.9, 0.9) == "the same"


def test_an_interval_is_left_out_where_it_has_no_width() -> None:
    assert speedup_text(language(0.5, 2.0, 1.0)) == "2.00x"


def test_facts_are_flat_and_known(profile: Profile) -> None:
    facts = dict(flat_facts({**profile.device, "gpu": None, "list": [1, 2]}))

    assert facts == {
        "cpu": "Test CPU",
        "cores": "2",
        "memory": "8.0 GiB",
        "threads: OMP NUM THREADS": "2",
        "list": "1, 2",
    }
