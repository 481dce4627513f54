"""The options that turn dials: ``--speed`` and ``--set``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rheostat.cli.command import JsonOption
from rheostat.core.dial import checked_settings
from rheostat.core.errors import SettingError

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["DialOptions", "dial_settings", "settings_words"]


@dataclass(frozen=True, kw_only=True)
class DialOptions(JsonOption):
    """Options of the commands that run a bundle."""

    speed: Annotated[
        float | None,
        typer.Option(
            "--speed",
            metavar="TIMES",
            help="How many times as fast as the plain model; needs rheostat calibrate.",
        ),
    ] = None
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="DIAL=VALUE", help="Turn a dial, for instance tokens=0.5; may be given again."),
    ] = None


def dial_settings(bundle: Bundle, options: DialOptions) -> dict[str, float]:
    """Return the dial settings that the options ask for; empty where they ask for none.

    Raises:
        SettingError: If a dial is unknown, a value is no number or out of range, or both options were given.
        BundleError: If a speed is asked for and the bundle was never measured.
    """
    given = checked_settings(bundle.handle.dials, _parsed(options.set or ()))
    return dict(bundle.settings(options.speed, **given))


def settings_words(settings: Mapping[str, float]) -> str:
    """Return settings for people, for instance ``tokens 0.5``; the plain model where nothing is set."""
    return ", ".join(f"{name} {value:.3g}" for name, value in settings.items()) or "plain model"


def _parsed(pairs: Iterable[str]) -> dict[str, object]:
    return dict(_pair(text) for text in pairs)


def _pair(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        return name.strip(), float(value if equals else "")
    except ValueError as error:
        raise SettingError(
            "--set takes DIAL=VALUE.", given=repr(text), mend="Write for instance --set tokens=0.5."
        ) from error
