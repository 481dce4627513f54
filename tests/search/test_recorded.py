import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search_spaces import GOALS, ROWS, stand_in, synthetic
from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.goals import Goals, Objective
from rheostat.core.metrics import Metric
from rheostat.core.space import Axis, Conflict, Space
from rheostat.search.recorded import RecordedSpace, Row, bits_of, hex_of


@dataclass(frozen=True)
class Asked:
    configuration: dict
    fidelity: float = 1.0


def small(**changes):
    space = Space((Axis("tokens", "inference", (0.5, 1.0), 1.0), Axis("batch", "deployment", (1, 8), 1)))
    numbers = {(1.0, 1): (0.9, 4.0), (1.0, 8): (0.9, 2.0), (0.5, 1): (0.8, 2.0), (0.5, 8): (0.8, 1.0)}
    rows = tuple(
        Row(
            one,
            {
                "accuracy": Metric(numbers[one["tokens"], one["batch"]][0], "1"),
                "latency_p50": Metric(numbers[one["tokens"], one["batch"]][1], "s", 0.5, 5.0),
            },
            seconds=10.0,
        )
        for one in space.configurations()
    )
    right = {'{"tokens": 1.0}': hex_of([True] * 9 + [False]), '{"tokens": 0.5}': hex_of([True] * 8 + [False] * 2)}
    made = RecordedSpace(space, rows, {"cpu": "some"}, {"rows": 10}, right, {"{}": {"seconds": 100.0}})
    return replace(made, **changes)


QUICK = Goals((Objective("accuracy"), Objective("latency_p50")))


def test_it_reads_what_it_wrote(tmp_path):
    made = small(sources={"latency_p50": ("estimated", "a clock")})
    made = replace(made, rows=tuple(replace(row, predicted={"latency_p50": 3.0}) for row in made.rows))
    made.write(tmp_path / "space.json")
    read = RecordedSpace.read(tmp_path / "space.json")
    assert read.space == made.space
    assert read.right == made.right
    assert read.trainings == made.trainings
    assert read.row({}).predicted == {"latency_p50": 3.0}
    assert read.row({}).metrics["latency_p50"] == Metric(4.0, "s", 0.5, 5.0, "estimated", "a clock")
    assert len((tmp_path / "space.json").read_text().splitlines()) == 6


def test_failures_are_rows_with_a_reason(tmp_path):
    made = small()
    rows = (replace(made.rows[0], metrics={}, reason="out of memory"), *made.rows[1:])
    replace(made, rows=rows).write(tmp_path / "space.json")
    read = RecordedSpace.read(tmp_path / "space.json")
    measured = next(read.evaluator().evaluate([Asked(rows[0].configuration)]))
    assert (measured.status, measured.reason) == ("failed", "out of memory")
    assert read.share([rows[0].configuration], QUICK) == 0.0


def test_a_status_is_reason_enough(tmp_path):
    small().write(tmp_path / "space.json")
    data = json.loads((tmp_path / "space.json").read_text())
    data["rows"][0].update(status="timed-out", reason="", metrics={})
    (tmp_path / "space.json").write_text(json.dumps(data))
    assert RecordedSpace.read(tmp_path / "space.json").rows[0].reason == "timed-out"


def test_a_missing_configuration_is_named():
    made = small()
    with pytest.raises(MeasurementError, match=r"3 rows for 4, without \{'tokens': 0.5, 'batch': 1\}"):
        replace(made, rows=made.rows[1:])
    with pytest.raises(MeasurementError, match="each configuration once"):
        replace(made, rows=(*made.rows, made.rows[0]))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "axes": 3, "rows": []}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "space.json").write_text(text)
    with pytest.raises(MeasurementError, match=r"space.json|version"):
        RecordedSpace.read(tmp_path / "space.json")


def test_a_conflict_is_kept(tmp_path):
    made = small()
    space = replace(made.space, conflicts=(Conflict((("tokens", (0.5,)), ("batch", (8,))), "too odd"),))
    rows = tuple(row for row in made.rows if space.conflict(row.configuration) is None)
    replace(made, space=space, rows=rows).write(tmp_path / "space.json")
    read = RecordedSpace.read(tmp_path / "space.json")
    assert read.space.size == 3
    with pytest.raises(SettingError, match="may run"):
        read.row({"tokens": 0.5, "batch": 8})


def test_the_share_is_of_the_space_scaled_to_its_ends():
    made = small()
    # Accuracy 0.9 is best and 0.8 worst, latency 1 best and 4 worst; what is worst at anything covers nothing.
    assert made.share([{"batch": 1}], QUICK) == 0.0
    assert made.share([{"batch": 8}], QUICK) == pytest.approx(1.0)
    assert made.share([], QUICK) == 0.0


def test_the_share_grows_with_what_is_measured_up_to_one():
    made = stand_in(1)
    some = list(made.space.configurations())[::37]
    shares = [made.share(some[:count], GOALS) for count in range(len(some) + 1)]
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 1
    assert made.share(made.space.configurations(), GOALS) == pytest.approx(1.0)


def test_settings_of_one_training_share_it():
    evaluator = small().evaluator()
    assert evaluator.price({}) == 110.0
    assert len(list(evaluator.evaluate([Asked({}), Asked({"batch": 8}), Asked({"tokens": 0.5}, 0.5)]))) == 3
    assert evaluator.price({"batch": 8}, 0.1) == pytest.approx(1.0)
    assert evaluator.seconds == pytest.approx(100 + 10 + 10 + 5)


def test_without_free_dials_each_configuration_is_trained():
    evaluator = small().evaluator(free_dials=False)
    list(evaluator.evaluate([Asked({}), Asked({"batch": 8})]))
    assert evaluator.seconds == pytest.approx(220.0)


def test_a_part_of_the_rows_gives_the_accuracy_of_that_part():
    made = small()
    half = next(made.evaluator().evaluate([Asked({"tokens": 0.5}, 0.9)]))
    assert half.metrics["accuracy"].value == pytest.approx(8 / 9)
    assert half.metrics["accuracy"].low < 8 / 9 < half.metrics["accuracy"].high
    assert half.workload["fidelity"] == 0.9
    # The same time, less surely.
    latency, whole = half.metrics["latency_p50"], made.row({"tokens": 0.5}).metrics["latency_p50"]
    assert latency.value == whole.value
    assert latency.high - latency.low > whole.high - whole.low


def test_a_recorded_space_has_no_bundles_unless_it_says_where():
    with pytest.raises(MeasurementError, match="no bundles"):
        small().evaluator().bundle({})
    assert str(small(trainings={"{}": {"bundle": "a/b"}}).evaluator().bundle({})) == "a/b"


@given(st.lists(st.booleans()))
def test_bits_survive_as_text(bits):
    assert bits_of(hex_of(bits), len(bits)) == bits


def test_made_spaces_are_what_they_say():
    assert stand_in(3) == stand_in(3)
    assert stand_in(3).rows != stand_in(4).rows
    assert synthetic().space.size == 11_520
    one = stand_in(0)
    text = one.right[json.dumps({"recipe": "plain", "tokens": 1.0, "depth": 1.0, "precision": "fp32"})]
    assert sum(bits_of(text, ROWS)) / ROWS == one.baseline.metrics["accuracy"].value
