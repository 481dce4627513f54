import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import BundleError, SettingError
from rheostat.core.profile import Point, Profile, isotonic, machine_difference, same_machine

MACHINE = {"cpu": "AMD EPYC", "cores": 2, "architecture": "x86_64", "torch": "2.13.0"}

rates = st.lists(st.floats(0.01, 0.99), min_size=0, max_size=12, unique=True)
speeds = st.floats(0.2, 30.0)


def point(tokens: float, speedup: float, **quality: float) -> Point:
    return Point({"tokens": tokens}, speedup, speedup * 0.9, speedup * 1.1, 0.1, 1.0, quality)


def profile(*measured: tuple[float, float]) -> Profile:
    points = tuple(point(tokens, speedup) for tokens, speedup in [(1.0, 1.0), *measured])
    return Profile(MACHINE, {"type": "bert"}, {"split": "validation"}, points)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    return profile(*((rate, draw(speeds)) for rate in draw(rates)))


@st.composite
def rising_profiles(draw: st.DrawFn) -> Profile:
    falling = sorted(draw(rates), reverse=True)
    steps = draw(st.lists(st.floats(0.01, 3.0), min_size=len(falling), max_size=len(falling)))
    return profile(*((rate, 1.0 + math.fsum(steps[: at + 1])) for at, rate in enumerate(falling)))


@given(profiles(), st.floats(0, 1), st.floats(0, 1))
def test_more_speed_never_keeps_more_tokens(found, one, other):
    low, high = found.range
    slow, fast = (min(high, low + share * (high - low)) for share in sorted((one, other)))
    kept = [found.settings_for(speed)["tokens"] for speed in (slow, fast)]
    assert kept[0] >= kept[1]
    assert all(0 < rate <= 1 for rate in kept)


@given(profiles())
def test_speed_one_is_exactly_neutral(found):
    assert found.settings_for(1.0) == {"tokens": 1.0}
    assert found.settings_for(1) == {"tokens": 1.0}


@given(rising_profiles())
def test_measured_points_come_back_exactly(found):
    for measured in found.points:
        assert found.settings_for(measured.speedup) == measured.settings


def test_points_that_differ_by_a_rounding_have_an_order() -> None:
    close = [(0.010000000000000002, 1.0), (0.01, 2.0)]
    assert profile(*close).range == profile(*reversed(close)).range == (1.0, 2.0)


@given(profiles(), st.randoms())
def test_the_order_of_points_does_not_matter(found, randomness):
    shuffled = list(found.points)
    randomness.shuffle(shuffled)
    other = Profile(found.device, found.model, found.data, tuple(shuffled))
    assert other.range == found.range
    assert other.settings_for(found.range[1]) == found.settings_for(found.range[1])


@given(profiles())
def test_json_round_trip(found):
    assert Profile.from_json(found.to_json()) == found
    assert Profile.from_json(found.to_text()) == found


def two_dials(*measured: tuple[float, float, float, float], metric: str = "accuracy") -> Profile:
    """Return a profile of (tokens, depth, speed-up, quality)."""
    points = [
        Point({"tokens": tokens, "depth": depth}, speedup, speedup, speedup, 0.1, 1.0, {metric: quality})
        for tokens, depth, speedup, quality in [(1.0, 6.0, 1.0, 0.9), *measured]
    ]
    return Profile(MACHINE, {}, {}, tuple(points), neutral={"tokens": 1.0, "depth": 6.0})


def test_the_best_combination_of_dials_is_taken():
    found = two_dials((0.5, 6, 3.0, 0.80), (1.0, 3, 2.0, 0.88), (0.5, 3, 6.0, 0.70))
    assert found.range == (1.0, 6.0)
    # Below 2x only the plain depth reaches; from there to 3x the shallow line is better, at 2.5x 0.8575 against 0.825.
    assert found.settings_for(1.5) == {"tokens": 0.875, "depth": 6.0}
    assert found.settings_for(2.5) == pytest.approx({"tokens": 0.9375, "depth": 3.0})
    assert found.settings_for(6.0) == {"tokens": 0.5, "depth": 3.0}
    worse = two_dials((0.5, 6, 3.0, 0.80), (1.0, 3, 2.0, 0.60), (0.5, 3, 6.0, 0.50))
    assert worse.settings_for(2.5)["depth"] == 6.0
    assert worse.settings_for(3.5)["depth"] == 3.0


def test_of_perplexities_the_lower_is_better():
    found = two_dials((0.5, 6, 3.0, 20.0), (1.0, 3, 2.0, 30.0), (0.5, 3, 4.0, 60.0), metric="perplexity")
    assert found.settings_for(2.5)["depth"] == 6.0


def test_another_line_as_slow_as_the_plain_model_never_takes_its_place():
    found = two_dials((0.5, 6, 3.0, 0.80), (1.0, 5, 0.9, 0.99), (0.5, 5, 4.0, 0.7))
    assert found.settings_for(1.0) == {"tokens": 1.0, "depth": 6.0}
    assert found.settings_for(1.01)["depth"] == 5.0


def test_between_points_settings_are_interpolated():
    found = profile((0.8, 2.0), (0.5, 4.0))
    assert found.range == (1.0, 4.0)
    assert found.settings_for(1.5)["tokens"] == pytest.approx(0.9)
    assert found.settings_for(3.0)["tokens"] == pytest.approx(0.65)


def test_a_setting_slower_than_plain_is_skipped():
    found = profile((0.97, 0.9), (0.8, 2.0))
    assert found.settings_for(1.0) == {"tokens": 1.0}
    # Between 1.0 and 0.97 nothing is gained, so anything faster starts below 0.97.
    assert found.settings_for(1.5)["tokens"] == pytest.approx(0.885)


def test_of_equally_fast_settings_the_mildest_is_chosen():
    found = profile((0.8, 3.0), (0.6, 1.0), (0.5, 4.0))
    assert found.settings_for(2.0) == {"tokens": 0.8}


def test_a_profile_of_nothing_but_slow_settings_reaches_speed_one_alone():
    found = profile((0.9, 0.5))
    assert found.range == (1.0, 1.0)
    assert found.settings_for(1.0) == {"tokens": 1.0}


@pytest.mark.parametrize("speed", [0.99, 4.01, float("nan"), float("inf"), True, "2"])
def test_a_speed_out_of_range_names_the_range_and_the_machine(speed):
    with pytest.raises(SettingError) as caught:
        profile((0.5, 4.0)).settings_for(speed)
    assert str(caught.value) == (
        "The speed lies in [1, 4] for this bundle on AMD EPYC, 2 cores, x86_64, torch 2.13.0. "
        f"Given: {speed}. "
        "Choose a speed in that range, or calibrate the bundle on the machine it will run on."
    )


def test_several_dials_move_together():
    neutral = {"tokens": 1.0, "depth": 12.0}
    points = (
        Point(neutral, 1.0, 1.0, 1.0, 1.0, 1.0),
        Point({"tokens": 0.8, "depth": 12.0}, 1.5, 1.4, 1.6, 1.0, 1.0),
        Point({"tokens": 0.6, "depth": 8.0}, 3.5, 3.4, 3.6, 1.0, 1.0),
    )
    found = Profile(MACHINE, {}, {}, points, neutral=neutral)
    assert found.settings_for(1.0) == neutral
    assert found.settings_for(1.25) == pytest.approx({"tokens": 0.9, "depth": 12.0})
    # No line reaches 2.5: the slowest of what is faster. Half a block cannot be run.
    assert found.settings_for(2.5) == {"tokens": 0.6, "depth": 8.0}
    assert Profile.from_json(found.to_json()) == found


def test_the_contract_of_the_file():
    text = json.dumps(
        {
            "version": 1,
            "device": MACHINE,
            "model": {},
            "data": {},
            "points": [
                {
                    "tokens": 1.0,
                    "speedup": 1,
                    "speedup_low": 1,
                    "speedup_high": 1,
                    "seconds": 2,
                    "macs_ratio": 1,
                },
                {
                    "tokens": 0.5,
                    "speedup": 2.9,
                    "speedup_low": 2.8,
                    "speedup_high": 3.0,
                    "seconds": 0.7,
                    "macs_ratio": 3.0,
                    "quality": {"accuracy": 0.96},
                },
            ],
            "baselines": {"majority": {"accuracy": 0.5}},
        }
    )
    found = Profile.from_json(text)
    assert found.points[1].tokens == 0.5
    assert found.points[1].quality == {"accuracy": 0.96}
    assert found.baselines == {"majority": {"accuracy": 0.5}}
    assert found.settings_for(2.9) == {"tokens": 0.5}


def broken(**changes: object) -> dict[str, object]:
    return {**profile((0.5, 2.0)).to_json(), **changes}


def broken_point(**changes: object) -> dict[str, object]:
    return broken(points=[{**point(1.0, 1.0).to_json(), **changes}])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "A profile is a JSON file"),
        ([], "A profile is a JSON object"),
        (broken(version=2), "A profile has version 1. Given: 2"),
        (broken(points={}), "A profile has a list of points"),
        (broken(points=[]), "neutral point"),
        (broken(points=[point(0.5, 2.0).to_json()]), "neutral point"),
        (broken(points=[3]), "A point of a profile is a JSON object"),
        (broken(neutral={"depth": 12}), r"sets \['depth'\]"),
        (broken(device=3), "device of a profile"),
        (broken(baselines={"majority": 0.5}), "baseline 'majority'"),
        (broken_point(speedup=0.0), "'speedup' of a profile is above 0"),
        (broken_point(speedup=None), "'speedup' of a profile is a finite number"),
        (broken_point(seconds=float("nan")), "'seconds' of a profile is a finite number"),
        (broken_point(tokens="half"), "'tokens' of a profile is a finite number"),
        (broken_point(quality={"accuracy": True}), "'accuracy' of a profile is a finite number"),
        (broken_point(quality_interval={"accuracy": [1]}), "interval of 'accuracy' has two ends"),
    ],
)
def test_a_damaged_profile_says_what_is_wrong(data, message):
    with pytest.raises(BundleError, match=message):
        Profile.from_json(data)


def test_a_point_without_a_dial_is_refused():
    data = point(1.0, 1.0).to_json()
    del data["tokens"]
    with pytest.raises(BundleError, match="at least one dial"):
        Point.from_json(data)


@given(st.lists(st.floats(-10, 10)))
def test_isotonic_rises_keeps_the_mean_and_leaves_sorted_values_alone(values):
    fitted = isotonic(values)
    assert fitted == sorted(fitted)
    assert math.fsum(fitted) == pytest.approx(math.fsum(values), abs=1e-9)
    assert isotonic(sorted(values)) == sorted(values)


def test_isotonic_is_the_nearest_rising_sequence():
    values = [1.0, 3.0, 2.0, 2.5, 0.0, 5.0]
    # Pools 3, 2, 2.5 and 0: their mean is 1.875.
    assert isotonic(values) == [1.0, 1.875, 1.875, 1.875, 1.875, 5.0]


def test_machines_differ_in_what_speed_depends_on():
    assert same_machine(MACHINE, {**MACHINE, "memory_bytes": 7})
    assert not same_machine(MACHINE, {**MACHINE, "cores": 8})
    assert machine_difference(MACHINE, {**MACHINE, "cores": 8, "torch": "3"}) == (
        "cores: 2 there, 8 here; torch: 2.13.0 there, 3 here"
    )


def test_what_only_one_machine_knows_is_no_difference():
    assert same_machine(MACHINE, {"cpu": "AMD EPYC"})
    assert same_machine({**MACHINE, "device_name": "GPU"}, MACHINE)


def test_thread_counts_matter_more_than_how_they_were_set():
    one = {**MACHINE, "threads": {"OMP_NUM_THREADS": "2"}}
    assert machine_difference(one, {**MACHINE, "threads": {}}) == ("threads: OMP_NUM_THREADS=2 there, default here")
    assert same_machine({**one, "torch_threads": 2}, {**MACHINE, "threads": {}, "torch_threads": 2})
    assert machine_difference({"torch_threads": 2}, {"torch_threads": 1}) == "torch threads: 2 there, 1 here"
