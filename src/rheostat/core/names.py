"""Help for names that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["suggest"]


def suggest(unknown: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, and list them all.

    Args:
        unknown: The name that was given.
        known: The names that exist.

    Returns:
        One or two sentences for the end of an error message.

    Example:
        >>> suggest("token", ["tokens", "depth"])
        "Did you mean 'tokens'? Known: depth, tokens."
    """
    names = sorted(known)
    close = difflib.get_close_matches(unknown, names, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Known: {', '.join(names)}."
