from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rheostat.core.space import Space
from rheostat.report.optimisation_study import StudyData
from rheostat.report.optimisation_trials import exclusions_html, trials_html
from tests.report.studied import study
from tests.report.test_leaderboard import read


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


@pytest.fixture(scope="module")
def rows(data: StudyData) -> list[dict[str, dict[str, str]]]:
    board = re.search(r'<table class="board trials">.*?</table>', trials_html(data), flags=re.DOTALL)
    assert board is not None
    head, *rows = read(board[0]).rows
    names = [re.split(r"(lower|higher) is better", cell["text"])[0] for cell in head]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_every_trial_is_a_row_and_simple_models_follow(data: StudyData, rows: list[dict[str, dict[str, str]]]) -> None:
    numbers = [int(row["trial"]["data-v"]) for row in rows if "data-v" in row["trial"]]

    assert numbers == [trial.number for trial in data.trials]
    assert [row["trial"]["text"] for row in rows[-2:]] == ["always the commonest class", "linear model on TF-IDF"]


def test_columns_are_the_choices_the_metrics_and_how_it_was_done(rows: list[dict[str, dict[str, str]]]) -> None:
    assert list(rows[0]) == [
        "trial", "recipe", "tokens", "scorer", "depth", "precision", "batch", "status", "accuracy", "latency, p95",
        "peak memory", "energy a sample (estimated)", "latency, p50", "samples a second", "beyond limits", "part",
        "took", "proposed by",
    ]  # fmt: skip


def test_marks_say_how_a_trial_stands(rows: list[dict[str, dict[str, str]]]) -> None:
    found = {row["trial"]["text"] for row in rows}

    assert any(text.startswith("#0") and text.endswith("baseline") for text in found)
    assert any(text.startswith("#41") and text.endswith("recommended") for text in found)
    assert any(text.startswith("#3") and text.endswith("failed") for text in found)
    assert any(text.endswith("25\N{NO-BREAK SPACE}% of it") for text in found)


def test_limits_that_are_kept_come_first_when_sorted(data: StudyData, rows: list[dict[str, dict[str, str]]]) -> None:
    feasible = {point.trial.number for point in data.points if point.feasible}

    for row in rows[:-2]:
        number = int(row["trial"]["data-v"])
        if number in feasible:
            assert row["beyond limits"] == {"data-v": "0.0", "text": "kept"}
        elif row["status"]["data-v"] != "ok":
            assert "data-v" not in row["beyond limits"]


def test_a_choice_that_means_nothing_has_no_value(rows: list[dict[str, dict[str, str]]]) -> None:
    assert rows[0]["tokens"]["data-v"] == "1.0"
    assert "data-v" not in rows[0]["scorer"]


def test_what_was_excluded_has_its_reason(data: StudyData) -> None:
    page = exclusions_html(data)

    assert "The space holds 648 configurations; 62 trials were made, 10 of them with a part" in page
    assert "<td>all of it</td><td>A classifier has no key-value cache.</td>" in page
    assert '<th scope="row">depth 0.5 with recipe plain</th><td>Half of the blocks needs a recipe with exits.' in page
    assert '<th scope="row">out of memory: needs 3.1 GiB</th><td>#33 ' in page


def test_limits_that_were_broken_are_counted(data: StudyData) -> None:
    alone = [one for one in data.measured if [each.kept for each in data.verdicts(one.metrics)] == [True, False, True]]
    broken = [one for one in data.measured if not data.verdicts(one.metrics)[1].kept]

    words = f"latency, p95 at most 60.0\N{NO-BREAK SPACE}ms</th><td>{len(broken)}</td><td>{len(alone)}</td>"
    assert words in exclusions_html(data)


def test_tables_without_rows_are_left_out(data: StudyData) -> None:
    bare = replace(data, space=Space(data.space.axes), trials=[trial for trial in data.trials if trial.ok])
    page = exclusions_html(bare)

    assert "Left out of the space" not in page
    assert "Does not go together" not in page
    assert "Failed" not in page


def test_details_name_the_source_of_every_number(data: StudyData) -> None:
    page = trials_html(data)

    assert page.count('<div id="details-') == len(data.trials)
    assert "estimated (CodeCarbon)" in page
    assert "timed out: no result after 120 s" in page
