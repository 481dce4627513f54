"""The result of a search as plain data: what it recommends and why, the front, and what stood in the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rheostat.core.errors import RheostatError
from rheostat.core.files import write_atomically
from rheostat.core.goals import Limit
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric
from rheostat.core.quantities import quantity_text
from rheostat.core.score import Score

__all__ = ["RECOMMENDED", "RESULT", "Binding", "Finding", "Result", "Status", "limit_words", "read_result"]

RESULT: Final = "result.json"
RECOMMENDED: Final = "recommended"

Status = Literal["ok", "infeasible", "unconfirmed"]
"""``ok``: what is recommended kept every limit when it was measured again. ``infeasible``: nothing that was measured
keeps them. ``unconfirmed``: something did, but the search ended before that was measured again."""

_BOUNDS = {"most": "at most", "least": "at least"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A configuration, and what is known of it.

    Attributes:
        number: Of the trial that says most about it.
        configuration: Axis to value.
        metrics: Measured; repeats together, and the confirming measurement alone where there is one.
        score: AE-LLM's, against the baseline.
        preference: What the recommendation goes by; None where an objective was not measured.
        excess: By how much it passes the limits together; 0 where it keeps them.
        confirmed: Whether that is the verdict of a measurement of its own, made after it was chosen.
        strategy: Who proposed it.
        bundle: Folder that runs it; None where none was written.
    """

    number: int
    configuration: Mapping[str, Value]
    metrics: Mapping[str, Metric]
    score: Score | None = None
    preference: float | None = None
    excess: float = 0.0
    confirmed: bool = False
    strategy: str = ""
    bundle: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        names = ("number", "preference", "confirmed", "strategy", "bundle")
        return {
            **{name: getattr(self, name) for name in names},
            "configuration": dict(self.configuration),
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "score": None if self.score is None else self.score.to_json(),
            # JSON has no infinity: a metric that is missing.
            "excess": None if self.excess == float("inf") else self.excess,
            "kept": self.excess == 0.0,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Return what `to_json` made data of."""
        names = ("number", "configuration", "preference", "confirmed", "strategy", "bundle")
        score = data["score"]
        kinds = ("value", "gains", "metrics", "lost", "energy")
        return cls(
            **{name: data[name] for name in names},
            metrics={name: Metric.from_json(metric) for name, metric in data["metrics"].items()},
            score=None if score is None else Score(**{name: score[name] for name in kinds}),
            excess=float("inf") if data["excess"] is None else data["excess"],
        )


@dataclass(frozen=True, slots=True)
class Binding:
    """The limit that stands in the way: of anything at all, or of something better than what is recommended.

    Attributes:
        limit: The limit.
        asked: The number that it comes to, in the metric's unit.
        found: What ``nearest`` has instead.
        nearest: The point that passes the limits least; where something is recommended, the next better one beyond.
        excess: By which share of what is asked it is passed; None where the metric is missing.
        buys: What relaxing it would buy: metric to ratio against the recommended one; empty where nothing is.
    """

    limit: Limit
    asked: float | None
    found: float | None
    nearest: Finding | None
    excess: float | None
    buys: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {name: getattr(self, name) for name in ("asked", "found", "excess")}
        limit = {name: getattr(self.limit, name) for name in Limit.__slots__}
        nearest = None if self.nearest is None else self.nearest.to_json()
        text = limit_words(self.limit)
        return {"limit": limit, "text": text, **plain, "nearest": nearest, "buys": dict(self.buys)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Binding:
        """Return what `to_json` made data of."""
        names = ("asked", "found", "excess", "buys")
        return cls(
            limit=Limit(**data["limit"]), nearest=_finding(data["nearest"]), **{name: data[name] for name in names}
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a search.

    Attributes:
        status: See `Status`.
        recommended: The configuration to use; None where nothing keeps the limits.
        front: What keeps the limits and is beaten on every objective by nothing else that does, the recommended one
            first, then by preference.
        baseline: The default configuration.
        cheap_baselines: ``majority`` and ``linear``: their quality on the validation rows, and whether they ``meet``
            every limit on it.
        binding: The limit that stands in the way; None where none does.
        trials: Measurements made, failures included.
        seconds: Wall-clock so far, all runs of the study together.
        ended: Why it ended: ``budget``, ``exhausted``, ``settled`` (nothing left to gain) or ``interrupted``; empty
            while it goes on.
        why: The recommendation in sentences.
        notes: What the reader should know besides.
    """

    status: Status
    recommended: Finding | None
    front: tuple[Finding, ...]
    baseline: Finding | None
    cheap_baselines: Mapping[str, Mapping[str, Any]]
    binding: Binding | None
    trials: int
    seconds: float
    ended: str = ""
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether running the same command again would do nothing."""
        return self.ended not in ("", "interrupted")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "status": self.status,
            "recommended": _plain(self.recommended),
            "front": [one.to_json() for one in self.front],
            "baseline": _plain(self.baseline),
            "cheap_baselines": {name: dict(each) for name, each in self.cheap_baselines.items()},
            "binding": _plain(self.binding),
            "trials": self.trials,
            "seconds": self.seconds,
            "ended": self.ended,
            "why": list(self.why),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Return what `to_json` made data of."""
        names = ("status", "cheap_baselines", "trials", "seconds", "ended")
        return cls(
            **{name: data[name] for name in names},
            recommended=_finding(data["recommended"]),
            baseline=_finding(data["baseline"]),
            front=tuple(map(Finding.from_json, data["front"])),
            binding=None if data["binding"] is None else Binding.from_json(data["binding"]),
            why=tuple(data["why"]),
            notes=tuple(data["notes"]),
        )

    def write(self, folder: Path) -> None:
        """Write it into a study's folder, whole or not at all.

        Raises:
            RheostatError: If it cannot be written; the old one stays.
        """
        write_atomically(folder / RESULT, json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False))


def read_result(folder: Path) -> Result | None:
    """Read the result of a study; None where it has none yet.

    Raises:
        RheostatError: If it is damaged; naming the file.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        return Result.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RheostatError(
            "A study's result is what rheostat wrote.",
            given=f"{path} ({type(error).__name__}: {error})",
            mend="Remove the file: running the same command again writes it anew from what was measured.",
        ) from error


def limit_words(limit: Limit) -> str:
    """Say a limit in words.

    Example:
        >>> limit_words(Limit("latency_p95", "most", 0.015))
        'latency_p95 at most 15 ms'
        >>> limit_words(Limit("accuracy", "least", 0.01, "difference"))
        'accuracy at most 1 points below the baseline'
    """
    if limit.relative_to == "ratio":
        return f"{limit.metric} {_BOUNDS[limit.bound]} {limit.value:g} of the baseline's"
    number = quantity_text(limit.metric, limit.value)
    if limit.relative_to == "difference":
        number = f"{100 * limit.value:g} points" if number.endswith("%") else number
        return f"{limit.metric} at most {number} {'below' if limit.bound == 'least' else 'above'} the baseline"
    return f"{limit.metric} {_BOUNDS[limit.bound]} {number}"


def _finding(data: Mapping[str, Any] | None) -> Finding | None:
    return None if data is None else Finding.from_json(data)


def _plain(part: Finding | Binding | None) -> dict[str, Any] | None:
    return None if part is None else part.to_json()
