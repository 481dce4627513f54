"""Conformance suites and references for authors of techniques and model families."""

from __future__ import annotations

from rheostat.testing.reference import Rule, masked_reference
from rheostat.testing.tiny import TINY, tiny_model

__all__ = ["TINY", "Rule", "masked_reference", "tiny_model"]
