from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

COMMANDS = ["finetune", "calibrate", "predict", "generate", "explain", "models", "techniques", "doctor"]
CODE = """
import sys, rheostat.cli
heavy = ("torch", "transformers", "pandas", "sklearn", "plotly", "matplotlib", "datasets", "peft")
print([name for name in heavy if name in sys.modules])
"""

Run = Callable[..., Result]


def test_importing_the_command_line_is_light() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.strip() == "[]"


def test_the_help_lists_every_command(run: Run) -> None:
    result = run("--help")

    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_and_json(run: Run, command: str) -> None:
    result = run(command, "--help")

    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"rheostat {command}" in result.stdout
    assert "--json" in result.stdout


def test_the_version_is_shown(run: Run) -> None:
    result = run("--version")

    assert result.exit_code == 0
    assert result.stdout.startswith("rheostat ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["predict"], ["predict", "b", "x", "--batch-size", "0"]])
def test_a_usage_error_exits_with_2_and_leaves_stdout_empty(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
