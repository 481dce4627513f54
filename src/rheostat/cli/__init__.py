"""The command line, ``rheostat``: quick to import, since each command imports torch when it needs it."""

from __future__ import annotations

from rheostat.cli.app import app, main

__all__ = ["app", "main"]
