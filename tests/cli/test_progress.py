from __future__ import annotations

import pytest
from rich.console import Console

from rheostat.cli import progress
from rheostat.cli.progress import Step, progress_bar


def test_a_log_gets_the_first_and_the_last_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("working") as show:
        for done in range(101):
            show(Step(done, 100, seconds_left=100.0 - done, remark=f"[step] {done}"))

    assert capsys.readouterr().err.splitlines() == [
        "working 0/100, [step] 0, 1 min 40 s left",
        "working 100/100, [step] 100",
    ]


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("working") as show:
        show(Step(1, 1))

    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(force_terminal=True, width=100, record=True)
    monkeypatch.setattr(progress, "error_console", lambda: console)
    with progress_bar("working") as show:
        show(Step(1, 4, seconds_left=90.0, remark="[loss] 0.5"))

    shown = console.export_text()
    assert "1/4" in shown
    assert "1 min 30 s left" in shown
    assert "[loss] 0.5" in shown
