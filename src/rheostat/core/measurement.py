"""Measurements: what was measured, of what, where, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from rheostat.core.errors import MeasurementError
from rheostat.core.files import write_atomically
from rheostat.core.metrics import Metric

__all__ = ["FILE", "VERSION", "Measurement", "Status", "key_of", "read_measurements", "write_measurements"]

VERSION: Final = 1
FILE: Final = "measurements.jsonl"

Status = Literal["ok", "out-of-memory", "timed-out", "failed"]
_FIELDS = ("model", "configuration", "workload", "machine")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One configuration of one model on one workload on one machine, measured.

    Attributes:
        model: ``name``, ``type``, ``parameters``, ``sha256`` and the like.
        configuration: Knob to value, for instance ``{"precision": "int8", "tokens": 0.5}``.
        workload: Its name and everything that says what was run.
        machine: Facts about the machine and the libraries.
        status: Whether it worked.
        metrics: Metric name to value.
        reason: Why it did not work; empty where it did.
        samples: Raw values by name, in the order measured: ``latency`` in seconds by request, ``ratio`` by round
            (this configuration's time over the plain model's), ``memory`` as pairs of seconds and bytes ...
        conditions: How it was measured: rounds, load average, clock, threads, backend, duration.
        notes: Warnings for the reader.
    """

    model: dict[str, Any]
    configuration: dict[str, Any]
    workload: dict[str, Any]
    machine: dict[str, Any]
    status: Status
    metrics: dict[str, Metric] = field(default_factory=dict)
    reason: str = ""
    samples: dict[str, list[Any]] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hash of everything that could change the result, 16 hexadecimal digits."""
        return key_of(self.model, self.configuration, self.workload, self.machine)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, as a line of `FILE` holds it."""
        return {
            "version": VERSION,
            "key": self.key,
            **{name: getattr(self, name) for name in (*_FIELDS, "status", "reason")},
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "samples": self.samples,
            "conditions": self.conditions,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Return what `to_json` made data of.

        Raises:
            MeasurementError: If it is not that, or was written by a newer version.
        """
        _check_version(data)
        try:
            if data["status"] not in get_args(Status):
                raise MeasurementError("A measurement has a known status.", given=data["status"])
            return cls(
                **{name: dict(data[name]) for name in _FIELDS},
                status=data["status"],
                metrics={name: Metric.from_json(metric) for name, metric in data["metrics"].items()},
                reason=str(data.get("reason", "")),
                samples=dict(data.get("samples", {})),
                conditions=dict(data.get("conditions", {})),
                notes=tuple(data.get("notes", ())),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MeasurementError(
                "A measurement names its model, configuration, workload, machine, status and metrics.",
                given=f"{type(error).__name__}: {error}",
            ) from error


def key_of(
    model: Mapping[str, Any], configuration: Mapping[str, Any], workload: Mapping[str, Any], machine: Mapping[str, Any]
) -> str:
    """Return the hash of everything that could change a result: 16 hexadecimal digits.

    The order of names does not matter, and 1 is 1.0.

    Example:
        >>> key_of({}, {"a": 1, "b": 2}, {}, {}) == key_of({}, {"b": 2, "a": 1.0}, {}, {})
        True
    """
    content = json.dumps([_canonical(part) for part in (model, configuration, workload, machine)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_measurements(path: Path) -> list[Measurement]:
    """Read a file of measurements.

    Args:
        path: The file, or the folder that it lies in.

    Raises:
        MeasurementError: If there is none, or it is damaged or of a newer version; naming the line.
    """
    file = path / FILE if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(
            "Measurements are read from a file of JSON lines.",
            given=f"{file} ({error})",
            mend="Give the folder that rheostat bench wrote to.",
        ) from error
    return [_read_line(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write a file of measurements, whole or not at all.

    Args:
        path: The file, or the folder that it goes to.
        measurements: What to write.

    Raises:
        RheostatError: If it cannot be written; the old file stays.
    """
    lines = [json.dumps(one.to_json(), ensure_ascii=False, allow_nan=False) + "\n" for one in measurements]
    write_atomically(path if path.suffix == ".jsonl" else path / FILE, "".join(lines))


def _read_line(file: Path, number: int, line: str) -> Measurement:
    try:
        return Measurement.from_json(json.loads(line))
    except (ValueError, MeasurementError) as error:
        if isinstance(error, MeasurementError) and error.mend is not None:
            raise
        raise MeasurementError(
            "Each line of a measurements file is a measurement.",
            given=f"{file}, line {number}: {error}",
            mend="Restore the file, or remove the line.",
        ) from error


def _check_version(data: Mapping[str, Any]) -> None:
    version = data.get("version") if isinstance(data, Mapping) else None
    if isinstance(version, int) and version > VERSION:
        raise MeasurementError(
            f"This version of rheostat reads measurements up to version {VERSION}.",
            given=f"version {version}",
            mend="Update rheostat: pip install --upgrade rheostat.",
        )
    if version != VERSION:
        raise MeasurementError("A measurement has a version.", given=version)


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
