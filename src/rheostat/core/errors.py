"""The errors a user can meet: each says the rule, what was given, and how to mend it."""

from __future__ import annotations

__all__ = [
    "BundleError",
    "CacheError",
    "DataError",
    "MeasurementError",
    "RheostatError",
    "SettingError",
    "StudyError",
    "TrainingError",
    "UnsupportedModelError",
]


class RheostatError(Exception):
    """Root of every error that rheostat raises on purpose.

    Args:
        rule: The rule that was broken, as one sentence.
        given: What was given instead; left out of the text where None.
        mend: How to mend it, as one sentence; left out of the text where None.

    Example:
        >>> str(RheostatError("The keep rate lies in (0, 1].", given=1.5, mend="Use tokens=1.0 for the plain model."))
        'The keep rate lies in (0, 1]. Given: 1.5. Use tokens=1.0 for the plain model.'
    """

    def __init__(self, rule: str, *, given: object = None, mend: str | None = None) -> None:
        self.rule, self.given, self.mend = rule, given, mend
        parts = [rule, f"Given: {given}." if given is not None else None, mend]
        super().__init__(" ".join(part for part in parts if part))


class SettingError(RheostatError, ValueError):
    """A dial, knob or option has a value outside its domain, or a name that nobody knows."""


class UnsupportedModelError(RheostatError, TypeError):
    """The model, or the way it is set up, is one that rheostat does not support."""


class DataError(RheostatError, ValueError):
    """Data is missing, unreadable or unfit for the task."""


class BundleError(RheostatError):
    """A bundle folder is missing, damaged, or of another version."""


class TrainingError(RheostatError, RuntimeError):
    """Training cannot go on; what was learnt before is kept."""


class CacheError(RheostatError, RuntimeError):
    """A key-value cache was used in a way that pruning does not allow."""


class MeasurementError(RheostatError, RuntimeError):
    """Something cannot be measured here."""


class StudyError(RheostatError):
    """A study is missing, damaged, of another scenario or version, or in somebody else's hands."""
