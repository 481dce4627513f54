"""rheostat: one dial between quality and speed for transformer language models.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import RheostatError

if TYPE_CHECKING:
    from rheostat.bundle import Bundle, load
    from rheostat.techniques import Handle, TokenPruning, attach

__all__ = ["Bundle", "Handle", "RheostatError", "TokenPruning", "attach", "load"]

_LAZY = {
    "Bundle": "rheostat.bundle",
    "load": "rheostat.bundle",
    "Handle": "rheostat.techniques",
    "TokenPruning": "rheostat.techniques",
    "attach": "rheostat.techniques",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rheostat' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
