"""What every command shares: options as a dataclass, one reply for people and machines, and exit codes.

Exit codes: 0 success, 2 something the user can mend, 3 no configuration keeps the limits, 4 one did but was not
measured again before the end, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from rheostat.cli.output import Reply, print_error, print_json, print_note, print_reply
from rheostat.core.errors import RheostatError

__all__ = ["Command", "JsonOption", "add_command"]

USAGE_ERROR, INFEASIBLE, UNCONFIRMED, INTERRUPTED = 2, 3, 4, 130


@dataclass(frozen=True, kw_only=True)
class JsonOption:
    """The option that every command has."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the command line.

    Attributes:
        name: What people type.
        run: Takes an object of ``options`` and returns the reply.
        options: A frozen keyword-only dataclass; each field becomes an option or argument.
        summary: What the command does, in one or two sentences.
        examples: Lines that can be typed as they stand.
        panel: The group it stands in, in the list of commands.
        resume: What to say after Ctrl-C about going on; empty where there is nothing to go on with.
    """

    name: str
    run: Callable[[Any], Reply]
    options: type[JsonOption]
    summary: str
    examples: tuple[str, ...]
    panel: str
    resume: str = ""


def add_command(app: typer.Typer, command: Command) -> None:
    """Register a command: its options become a signature, which is what typer reads."""

    def run(**values: Any) -> None:
        options = command.options(**values)
        code = _deliver(lambda: command.run(options), as_json=options.json, resume=command.resume)
        if code:
            raise typer.Exit(code)

    run.__signature__ = _signature(command.options)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    app.command(
        command.name,
        help=command.summary,
        epilog="\n\n".join((f"Example{'s' if len(command.examples) > 1 else ''}:", *command.examples)),
        rich_help_panel=command.panel,
    )(run)


def _signature(options: type[JsonOption]) -> inspect.Signature:
    hints = get_type_hints(options, include_extras=True)
    known = {field.name: field for field in fields(options)}
    # A class's own options come before those it shares with other commands.
    order = list(dict.fromkeys(name for kind in options.__mro__ for name in vars(kind).get("__annotations__", {})))
    return inspect.Signature(
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(known[name]), annotation=hints[name]
            )
            for name in order
            if name in known
        ]
    )


def _default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _deliver(produce: Callable[[], Reply], *, as_json: bool, resume: str) -> int:
    """Print what a command returns, or its error, and return the exit code."""
    try:
        with _readable_warnings(), _clean_stdout(as_json):
            reply = produce()
    except RheostatError as error:
        print_error(type(error).__name__, error, as_json=as_json)
        return USAGE_ERROR
    except KeyboardInterrupt as stop:
        # A training that was stopped in an orderly way says itself how to go on.
        said = RheostatError(str(stop)) if str(stop) else RheostatError("Stopped.", mend=resume or None)
        print_error("Interrupted", said, as_json=as_json)
        return INTERRUPTED
    if as_json:
        print_json(reply.data)
    else:
        print_reply(reply)
    return reply.code


@contextlib.contextmanager
def _clean_stdout(as_json: bool) -> Iterator[None]:
    """Send what libraries print to stderr, so that stdout holds the JSON document alone."""
    if not as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _readable_warnings() -> Iterator[None]:
    """Show warnings meant for users as one line each, and leave those meant for programmers out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.showwarning = lambda message, *_, **__: print_note(str(message))
        yield
