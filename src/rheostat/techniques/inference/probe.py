"""Which library is the fastest for a precision, measured on the model's own layers and remembered for the machine."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch
from torch import nn

from rheostat.core.errors import RheostatError
from rheostat.core.files import write_atomically
from rheostat.core.machine import machine_facts
from rheostat.models.low_precision import linear_shape, linear_weight
from rheostat.models.weights import cache_folder
from rheostat.techniques.inference.backends import Backend
from rheostat.techniques.inference.torch_floats import CastModel

__all__ = ["ROWS", "Candidate", "Probe", "probe", "unusable"]

ROWS = (1, 64, 2048)
"""Rows that a layer is timed at: a token on the cache, a short text, a batch."""

_VERSION = 1
_MOST_SHAPES = 6
_MOST_WORK = 1 << 31
"""Multiply-accumulates of one timed product: of larger layers, fewer rows are timed."""

_SECONDS = 0.15
_FEWEST, _MOST = 3, 25

_log = logging.getLogger("rheostat.progress")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was found out about one backend.

    Attributes:
        name: The backend's name.
        ratios: Plain float32 seconds / its seconds, over all layers of the model, by number of rows (as text, for
            JSON); above 1 where it is faster.
        error: Largest relative error of a layer, in the root mean square.
        unusable: Why it cannot be used here; None where it can.
    """

    name: str
    ratios: dict[str, float] = field(default_factory=dict)
    error: float | None = None
    unusable: str | None = None

    def score(self, rows: Sequence[int] = ROWS) -> float:
        """Return the geometric mean of the ratios at these numbers of rows; 0 where it cannot be used."""
        if self.unusable is not None:
            return 0.0
        return geometric_mean(self.ratios[str(number)] for number in rows)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a probe found.

    Attributes:
        candidates: Every candidate, the fastest usable one over all numbers of rows first.
        remembered: Whether it was read from the user's cache.
    """

    candidates: tuple[Candidate, ...]
    remembered: bool = False

    def best(self, rows: Sequence[int]) -> Candidate:
        """Return the fastest usable candidate at these numbers of rows; an unusable one where all are."""
        return max(self.candidates, key=lambda candidate: candidate.score(rows))

    def of(self, name: str) -> Candidate:
        """Return what was found about a backend."""
        return next(candidate for candidate in self.candidates if candidate.name == name)


def probe(layers: Sequence[nn.Module], backends: Sequence[Backend], bound: float) -> Probe:
    """Time the linear layers of a model in each backend, in turn with plain float32.

    The result is kept as JSON in the user's cache, by machine, threads, versions, sizes of layers and backends.

    Args:
        layers: Linear layers and `Conv1D` in float32; they stay as they are.
        backends: The candidates.
        bound: Largest relative error of a layer at which a candidate is still usable.
    """
    groups = _by_shape(layers)
    device = linear_weight(layers[0]).device
    file = _file(groups, backends, device)
    found = _read(file)
    if found is not None:
        return found
    _log.info("Timing %s once on this machine.", backends[0].precision)
    usable, candidates = [], []
    for backend in backends:
        reason = unusable(backend, device.type)
        if reason is None:
            usable.append(backend)
        else:
            candidates.append(Candidate(backend.name, unusable=reason))
    with torch.inference_mode():
        candidates += _timed(groups, usable, bound)
    made = Probe(tuple(sorted(candidates, key=lambda candidate: -candidate.score())))
    if made.candidates[0].unusable is None:
        # That nothing worked may have been a passing trouble.
        _write(file, made)
    return made


@dataclass(frozen=True, slots=True)
class _Group:
    """Layers of one size, and one of them to time."""

    layer: nn.Module
    count: int

    @property
    def size(self) -> tuple[int, int]:
        return linear_shape(self.layer)


def _by_shape(layers: Sequence[nn.Module]) -> list[_Group]:
    found: dict[tuple[int, int], list[nn.Module]] = {}
    for layer in layers:
        found.setdefault(linear_shape(layer), []).append(layer)
    groups = [_Group(same[0], len(same)) for same in found.values()]
    return sorted(groups, key=lambda group: -math.prod(group.size) * group.count)[:_MOST_SHAPES]


def unusable(backend: Backend, device: str) -> str | None:
    """Return why a backend cannot be used on a kind of device here; None where nothing is known against it."""
    if device not in backend.devices:
        return f"runs on {' and '.join(backend.devices)}, and the model is on {device}"
    return backend.missing()


class _Tally:
    """Sums seconds over layers, of each backend and of plain float32 on the same layers."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.errors: dict[str, float] = {}
        self._seconds: dict[tuple[str, int], tuple[float, float]] = {}

    def add(self, name: str, rows: int, plain: float, other: float) -> None:
        before = self._seconds.get((name, rows), (0.0, 0.0))
        self._seconds[name, rows] = before[0] + plain, before[1] + other

    def candidate(self, name: str, bound: float) -> Candidate:
        if name in self.failed:
            return Candidate(name, unusable=self.failed[name])
        if name not in self.errors:
            return Candidate(name, unusable="fits no layer of the model")
        sums = {rows: self._seconds[name, rows] for rows in ROWS}
        error = self.errors[name]
        reason = None if error <= bound else f"its relative error of {error:.2g} is above {bound:g}"
        return Candidate(name, {str(rows): plain / other for rows, (plain, other) in sums.items()}, error, reason)


def _timed(groups: Sequence[_Group], backends: Sequence[Backend], bound: float) -> list[Candidate]:
    """Time all backends on all groups; what fails in one of them is out."""
    tally = _Tally()
    for group in groups:
        runners = {backend.name: _runner(backend, group.layer, tally) for backend in backends}
        running = {name: runner for name, runner in runners.items() if runner is not None}
        for rows in ROWS:
            plain, *others = _seconds(group, [_plain(group.layer), *running.values()], rows)
            taken = dict(zip(running, others, strict=True))
            for backend in backends:
                # What does not fit stays plain.
                other = taken.get(backend.name, plain)
                tally.add(backend.name, rows, plain * group.count, other * group.count)
    return [tally.candidate(backend.name, bound) for backend in backends]


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs a layer on rows of the type in which they come to it."""

    run: Callable[[torch.Tensor], Any]
    dtype: torch.dtype = torch.float32


def _plain(layer: nn.Module) -> _Runner:
    return _Runner(layer)


def _runner(backend: Backend, original: nn.Module, tally: _Tally) -> _Runner | None:
    """Return what runs the layer in a backend, and note its error; None where it cannot."""
    if backend.name in tally.failed or not backend.fits(original):
        return None
    inputs = linear_shape(original)[0]
    rows = torch.randn((64, inputs), generator=torch.Generator().manual_seed(0)).to(linear_weight(original).device)
    try:
        converted = backend.convert(original)
        converted.free()
        plain = original(rows)
        error = float((converted(rows) - plain).norm() / plain.norm().clamp(min=1e-30))
        # Some kernels need a least number of rows.
        converted(rows[:1])
    except Exception as problem:  # noqa: BLE001 - whatever a library raises, its backend is not usable here
        tally.failed[backend.name] = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
        return None
    # Not a number is above every bound, too.
    tally.errors[backend.name] = max(tally.errors.get(backend.name, 0.0), error if error == error else math.inf)
    # Where the whole model is cast, nothing is cast between its layers.
    return _Runner(converted.compute, backend.dtype) if isinstance(backend, CastModel) else _Runner(converted)


def _seconds(group: _Group, runners: Sequence[_Runner], rows: int) -> list[float]:
    """Return each runner's median seconds on ``rows`` rows, or as many as can be timed quickly; all in turn."""
    inputs, outputs = group.size
    device = linear_weight(group.layer).device
    given = torch.randn((max(1, min(rows, _MOST_WORK // (inputs * outputs))), inputs), device=device)
    cast = [given.to(runner.dtype) for runner in runners]
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    taken: list[list[float]] = [[] for _ in runners]
    start = time.perf_counter()
    while len(taken[0]) < _MOST and (len(taken[0]) < _FEWEST or time.perf_counter() - start < _SECONDS * len(runners)):
        for runner, values, seconds in zip(runners, cast, taken, strict=True):
            wait()
            began = time.perf_counter()
            runner.run(values)
            wait()
            seconds.append(time.perf_counter() - began)
    # The first run of each warms up.
    return [median(seconds[1:]) for seconds in taken]


def _file(groups: Sequence[_Group], backends: Sequence[Backend], device: torch.device) -> Path:
    packages = sorted({package for backend in backends for package in backend.packages})
    facts = {
        "version": _VERSION,
        "precision": backends[0].precision,
        "backends": [backend.name for backend in backends],
        "packages": {package: _installed(package) for package in packages},
        "shapes": [[*group.size, group.count] for group in groups],
        "machine": machine_facts(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "precision" / f"{key}.json"


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(file: Path) -> Probe | None:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["candidates"]
        return Probe(tuple(Candidate(**entry) for entry in entries), remembered=True)
    except (OSError, ValueError, KeyError, TypeError):
        # Not there, or not ours: it is measured again.
        return None


def _write(file: Path, found: Probe) -> None:
    entries = [asdict(candidate) for candidate in found.candidates]
    try:
        write_atomically(file, json.dumps({"candidates": entries}, indent=2) + "\n")
    except RheostatError as error:
        _log.info("The timing of libraries is not remembered: %s", error)
