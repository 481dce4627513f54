"""rheostat: one dial between quality and speed for transformer language models.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rheostat.core.errors import RheostatError

if TYPE_CHECKING:
    from rheostat.bundle import Bundle, load
    from rheostat.core.measurement import Measurement
    from rheostat.core.workload import Data, Method, Workload
    from rheostat.measure.bench.bench import measure
    from rheostat.techniques import CachePrecision, Handle, Precision, TokenPruning, attach

__all__ = [
    "Bundle",
    "CachePrecision",
    "Data",
    "Handle",
    "Measurement",
    "Method",
    "Precision",
    "RheostatError",
    "TokenPruning",
    "Workload",
    "attach",
    "load",
    "measure",
]

_LAZY = {
    "Bundle": "rheostat.bundle",
    "load": "rheostat.bundle",
    "Handle": "rheostat.techniques",
    "TokenPruning": "rheostat.techniques",
    "CachePrecision": "rheostat.techniques",
    "Precision": "rheostat.techniques",
    "attach": "rheostat.techniques",
    "Measurement": "rheostat.core.measurement",
    "Data": "rheostat.core.workload",
    "Method": "rheostat.core.workload",
    "Workload": "rheostat.core.workload",
}


def __getattr__(name: str) -> Any:
    if name == "measure":
        # The module can be called: the layer and the call share their name.
        return import_module("rheostat.measure")
    if name not in _LAZY:
        raise AttributeError(f"module 'rheostat' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
