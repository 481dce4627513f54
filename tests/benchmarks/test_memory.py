"""The instrument sees memory, and the limit is kept where it counts."""

import json
import sys

import pytest

from benchmarks import memory
from rheostat.core.errors import MeasurementError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks come from /proc")


def row(what, ratio, tokens=8192):
    return {"tokens": tokens, "what": what, "ratio": ratio}


def test_the_limit_goes_by_the_pruned_rows_of_the_greatest_length(capsys):
    kept = [row("keep 0.9, attention", 9.0, tokens=2048), row("plain eager", 9.0), row("keep 0.9, attention", 1.4)]
    assert memory.verdict(kept) == 0
    assert memory.verdict([*kept, row("keep 0.99, attention", 1.6)]) == 1
    assert "NOT kept: 1.600" in capsys.readouterr().out


def test_each_case_has_its_plain_one():
    options = memory._options(["--lengths", "8", "16", "--keep", "0.9", "--layers", "2"])
    wanted = memory.cases(options)
    exact, usual = (
        [
            (allocator, False, "plain sdpa"),
            (allocator, False, "keep 0.9, attention"),
            (allocator, True, "plain sdpa"),
            (allocator, True, "keep 0.9, attention"),
        ]
        for allocator in ("exact", "usual")
    )
    contrast = ("exact", False, "plain eager")
    for length, expected in ((8, [*exact, contrast]), (16, [*exact, *usual, contrast])):
        assert [(case.allocator, case.cache, case.what) for case in wanted if case.length == length] == expected
    assert {case.layers for case in wanted} == {2}


def test_ratios_are_of_medians_over_plain_sdpa():
    plain = memory.Case(16)
    eager = memory.Case(16, attention="eager")
    runs = {
        plain: [{"before": 10, "peak": 10 + extra, "extra": extra} for extra in (2, 4, 90)],
        eager: [{"before": 10, "peak": 10 + extra, "extra": extra} for extra in (8, 8, 8)],
    }
    found = memory._row(eager, runs)
    assert found["ratio"] == 2.0
    assert found["ratio_of_the_process"] == 54 / 126
    assert memory._row(plain, runs)["least_to_most"] == [2 / memory.MEBIBYTE, 90 / memory.MEBIBYTE]


def test_a_process_that_fails_says_why():
    with pytest.raises(MeasurementError, match="ends well. Given: .*'nonsense'"):
        memory.in_a_process(memory.Case(128, layers=1, keep=0.5, scorer="nonsense"))


@pytest.mark.slow
def test_the_instrument_sees_a_matrix_of_queries_by_keys():
    fused = memory.in_a_process(memory.Case(2048, layers=1))
    whole = memory.in_a_process(memory.Case(2048, layers=1, attention="eager"))
    matrix = 8 * 2048 * 2048 * 4
    assert fused["extra"] < matrix < whole["extra"]


@pytest.mark.slow
def test_scoring_8192_tokens_needs_less_than_half_as_much_again(tmp_path, capsys):
    out = tmp_path / "memory.json"
    arguments = ["--lengths", "8192", "--layers", "2", "--keep", "0.9", "--repeats", "1", "--no-eager"]
    assert memory.main([*arguments, "--allocators", "exact", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [row["what"] for row in rows] == ["plain sdpa", "keep 0.9, attention"] * 2
    assert all(row["ratio"] < 1.5 for row in rows)
    assert "| 8192 | exact | yes | keep 0.9, attention |" in capsys.readouterr().out
