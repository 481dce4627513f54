from __future__ import annotations

from dataclasses import replace

from rheostat.core.profile import Profile
from rheostat.report.sentences import baseline_warning, headline, headline_cards


def test_the_headline_gives_gain_price_and_machine(profile: Profile) -> None:
    assert headline(profile) == (
        "At tokens 0.7 it runs 1.90x (1.80 to 1.99) as fast as the plain model, with accuracy 89.50 % "
        "(0.50 points lower), on Test CPU, 2 cores."
    )


def test_the_headline_admits_when_nothing_is_gained(profile: Profile) -> None:
    only_bad = replace(profile, points=(profile.points[0], profile.points[3]))

    assert headline(only_bad).startswith(
        "No faster setting stays within 1 point of the plain model's accuracy (90.00 %)"
    )


def test_the_headline_does_without_quality(profile: Profile) -> None:
    bare = replace(profile, points=tuple(replace(point, quality={}) for point in profile.points), baselines={})

    assert headline(bare).startswith("At tokens 0.1 it runs 4.40x")
    assert [label for label, _, _ in headline_cards(bare)] == ["fastest measured"]


def test_cards_set_the_linear_model_beside_the_transformer(profile: Profile) -> None:
    cards = {label: value for label, value, _ in headline_cards(profile)}

    assert cards == {
        "fastest within 1 point": "1.90x",
        "fastest measured": "4.40x",
        "plain model, accuracy": "90.00 %",
        "linear model, accuracy": "85.00 %",
    }


def test_a_simple_model_that_does_as_well_is_said_so(profile: Profile) -> None:
    assert baseline_warning(profile) == ""

    better = replace(profile, baselines={"linear": {"accuracy": 0.98}})
    assert "the linear model reaches 98.00 %, the plain model 90.00 %" in baseline_warning(better)
