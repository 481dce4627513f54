"""Techniques, and the handle that turns their dials."""

from __future__ import annotations

from rheostat.techniques.contract import Technique
from rheostat.techniques.handle import Handle, attach
from rheostat.techniques.inference.tokens import TokenPruning
from rheostat.techniques.registry import technique_from_json, techniques

__all__ = ["Handle", "Technique", "TokenPruning", "attach", "technique_from_json", "techniques"]
