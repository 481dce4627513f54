"""Techniques, and the handle that turns their dials."""

from __future__ import annotations

from rheostat.techniques.configuration import checked_configuration, configure, neutral_configuration
from rheostat.techniques.contract import (
    Adding,
    Conversion,
    Converted,
    Cutting,
    Leaving,
    Rereading,
    Shortening,
    Technique,
)
from rheostat.techniques.handle import Handle, attach
from rheostat.techniques.inference.cache import CachePrecision
from rheostat.techniques.inference.cascade import Cascade
from rheostat.techniques.inference.depth import Depth
from rheostat.techniques.inference.exits import Exits
from rheostat.techniques.inference.precision import Precision
from rheostat.techniques.inference.tokens import TokenPruning
from rheostat.techniques.inference.words import Words
from rheostat.techniques.registry import technique_from_json, techniques

__all__ = [
    "Adding",
    "CachePrecision",
    "Cascade",
    "Conversion",
    "Converted",
    "Cutting",
    "Depth",
    "Exits",
    "Handle",
    "Leaving",
    "Precision",
    "Rereading",
    "Shortening",
    "Technique",
    "TokenPruning",
    "Words",
    "attach",
    "checked_configuration",
    "configure",
    "neutral_configuration",
    "technique_from_json",
    "techniques",
]
