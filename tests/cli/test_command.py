from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from rheostat.cli.command import Command, JsonOption, add_command
from rheostat.cli.output import Reply
from rheostat.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Options(JsonOption):
    name: Annotated[str, typer.Argument()]
    times: Annotated[int, typer.Option()] = 1


def invoke(run: Callable[[Options], Reply], *arguments: str, resume: str = "") -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    add_command(app, Command("go", run, Options, "Go.", ("rheostat go",), "Make", resume))
    return CliRunner().invoke(app, arguments)


def test_options_reach_the_command_as_one_object() -> None:
    seen: list[Options] = []

    def go(options: Options) -> Reply:
        seen.append(options)
        return Reply({}, ("done",))

    result = invoke(go, "x", "--times", "3")

    assert result.stdout == "done\n"
    assert seen == [Options(name="x", times=3)]


def test_what_people_see_is_never_read_as_markup() -> None:
    line = "Written: [bold]b[/bold]/:smile:/" + "x" * 200

    assert invoke(lambda options: Reply({}, (line,)), "x").stdout == f"{line}\n"


def test_an_error_is_one_message_on_stderr_without_traceback() -> None:
    def go(options: Options) -> Reply:
        raise DataError("The data has rows.", given="none", mend="Add some.")

    result = invoke(go, "x")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "Error: The data has rows. Given: none. Add some.\n"


def test_an_error_is_json_on_stdout_where_json_was_asked_for() -> None:
    def go(options: Options) -> Reply:
        raise DataError("The data has rows.", given=3, mend="Add some.")

    result = invoke(go, "x", "--json")

    assert result.exit_code == 2
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "error": {
            "type": "DataError",
            "message": "The data has rows. Given: 3. Add some.",
            "rule": "The data has rows.",
            "given": "3",
            "mend": "Add some.",
        }
    }


@pytest.mark.parametrize(("said", "shown"), [("", "Stopped. Use --resume."), ("At step 3.", "At step 3.")])
def test_ctrl_c_exits_with_130_and_says_how_to_go_on(said: str, shown: str) -> None:
    def go(options: Options) -> Reply:
        raise KeyboardInterrupt(*([said] if said else []))

    result = invoke(go, "x", resume="Use --resume.")
    as_json = invoke(go, "x", "--json", resume="Use --resume.")

    assert (result.exit_code, result.stderr) == (130, f"{shown}\n")
    assert as_json.exit_code == 130
    assert json.loads(as_json.stdout)["error"]["type"] == "Interrupted"
    assert json.loads(as_json.stdout)["error"]["message"] == shown


def test_what_libraries_print_never_mixes_with_the_json() -> None:
    def go(options: Options) -> Reply:
        sys.stdout.write("noise\n")
        return Reply({"fine": float("nan"), "path": [1, (2,)]})

    result = invoke(go, "x", "--json")

    assert json.loads(result.stdout) == {"fine": None, "path": [1, [2]]}
    assert result.stderr == "noise\n"


def test_a_warning_for_users_is_a_note_on_stderr() -> None:
    def go(options: Options) -> Reply:
        warnings.simplefilter("default", UserWarning)
        warnings.warn("Measured elsewhere.", UserWarning, stacklevel=1)
        warnings.warn("Not for users.", DeprecationWarning, stacklevel=1)
        return Reply({})

    result = invoke(go, "x", "--json")

    assert result.stderr == "Note: Measured elsewhere.\n"


def test_a_bug_is_not_dressed_up_as_a_user_error() -> None:
    def go(options: Options) -> Reply:
        raise ZeroDivisionError

    result = invoke(go, "x")

    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code == 1
