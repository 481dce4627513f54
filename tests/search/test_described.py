from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.core.errors import SettingError, StudyError
from rheostat.core.goals import Goals
from rheostat.core.space import Space
from rheostat.search.described import describe, described
from rheostat.search.study import Study
from tests.report.studied import GOALS, SPACE


def test_a_study_knows_what_it_is_about_after_it_was_closed(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        describe(study, SPACE, GOALS)
        describe(study, SPACE, GOALS)
    with Study(tmp_path) as study:
        space, goals = described(study)

    assert (space, goals) == (SPACE, GOALS)
    assert [*space.configurations()] == [*SPACE.configurations()]
    assert [repr(value) for axis in space.axes for value in axis.values] == [
        repr(value) for axis in SPACE.axes for value in axis.values
    ]


def test_a_study_that_does_not_say_is_refused(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study, pytest.raises(StudyError, match="what it searched and what for"):
        described(study)


def test_what_was_kept_is_checked(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        describe(study, SPACE, GOALS)
        study.note("space", {"axes": [{"name": "tokens"}], "conflicts": [], "exclusions": []})
        with pytest.raises(StudyError, match="An axis has a name, a stage"):
            described(study)


@pytest.mark.parametrize("kind", [Space, Goals])
def test_plain_data_of_another_kind_is_refused(kind: type[Space] | type[Goals]) -> None:
    with pytest.raises(SettingError):
        kind.from_json({"axes": [], "objectives": ["accuracy"]})
