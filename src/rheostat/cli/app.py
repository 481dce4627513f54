"""The application: every command, and what stands before them."""

from __future__ import annotations

from typing import Annotated

import typer

from rheostat.cli import (
    benching,
    catalogue,
    doctor,
    exiting,
    explaining,
    measuring,
    optimising,
    reporting,
    running,
    spacing,
    training,
)
from rheostat.cli.command import add_command
from rheostat.cli.versions import version_of

__all__ = ["app", "main"]

app = typer.Typer(
    name="rheostat",
    help="One dial between quality and speed for transformer language models.",
    epilog="Start with:  rheostat finetune --help",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (
    *optimising.COMMANDS,
    *training.COMMANDS,
    *measuring.COMMANDS,
    *exiting.COMMANDS,
    *benching.COMMANDS,
    *spacing.COMMANDS,
    *running.COMMANDS,
    *explaining.COMMANDS,
    *reporting.COMMANDS,
    *catalogue.COMMANDS,
    *doctor.COMMANDS,
):
    add_command(app, _command)


def main() -> None:
    """Run the command line."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rheostat {version_of('rheostat') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    pass
