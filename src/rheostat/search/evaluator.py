"""What measures configurations for a search, whatever it is: this machine, a cluster, or a record of earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rheostat.core.errors import SettingError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement

__all__ = ["Evaluator", "Request", "fidelity_of"]


@dataclass(frozen=True, slots=True)
class Request:
    """A configuration to measure.

    Attributes:
        configuration: Axis name to value, canonical; see `rheostat.core.space.Space`.
        fidelity: How much of the training and of the validation rows goes into it, in (0, 1]; only 1 is a verdict.

    Raises:
        SettingError: If the fidelity is out of range.
    """

    configuration: Mapping[str, Value]
    fidelity: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.fidelity, bool) or not 0 < self.fidelity <= 1:
            raise SettingError(
                "A fidelity is above 0 and at most 1.", given=self.fidelity, mend="1 is the whole training and data."
            )


class Evaluator(Protocol):
    """Measures configurations."""

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        """Measure configurations, in any order that saves loading.

        Args:
            requests: What to measure.

        Yields:
            A measurement for each, as soon as it is there: its ``configuration`` is the request's, and `fidelity_of`
            it the request's fidelity. What goes wrong is a measurement with a status and a reason.
        """
        ...

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds that measuring it now would take, by what was seen so far."""
        ...

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        """Return the trained bundle that a configuration runs; it is trained first where it is not there.

        Raises:
            TrainingError: If it cannot be trained.
        """
        ...

    def close(self) -> None:
        """End what runs."""
        ...


def fidelity_of(measurement: Measurement) -> float:
    """Return the fidelity at which something was measured."""
    return float(measurement.workload.get("fidelity", 1.0))
