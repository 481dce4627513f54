"""Trials: what a search has measured so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement

__all__ = ["Trial"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration that a search proposed, and what came of it.

    Attributes:
        number: Its number in the study, from 0.
        configuration: Axis name to value, canonical; see `rheostat.core.space.Space`.
        measurement: What was measured; a failure, too, is a result.
        fidelity: How much of the training and of the data went into it, in (0, 1]; only 1 is a verdict.
        seconds: Wall-clock that it took, training included where it was trained for this trial.
        strategy: Who proposed it, such as ``baseline``, ``warm start`` or ``surrogate``.
    """

    number: int
    configuration: Mapping[str, Value]
    measurement: Measurement
    fidelity: float = 1.0
    seconds: float = 0.0
    strategy: str = ""

    @property
    def ok(self) -> bool:
        """Whether it worked."""
        return self.measurement.status == "ok"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {name: getattr(self, name) for name in ("number", "fidelity", "seconds", "strategy")}
        return {**plain, "configuration": dict(self.configuration), "measurement": self.measurement.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """Return what `to_json` made data of.

        Raises:
            MeasurementError: If its measurement is none.
        """
        return cls(**{**data, "measurement": Measurement.from_json(data["measurement"])})
