"""Trainings: each is run once, in a process of its own, and kept as a bundle."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Protocol

from rheostat.bundle.store import CHECKPOINTS, MANIFEST
from rheostat.core.errors import SettingError
from rheostat.core.files import write_atomically
from rheostat.core.knob import Value
from rheostat.core.names import suggest
from rheostat.core.text import TextData
from rheostat.measure.bench.process import MeasuredProcess, WorkError
from rheostat.search.learning import settings_of, write_texts
from rheostat.search.parts import RECIPE

__all__ = ["COMMAND", "GivenBundles", "LocalTrainings", "Source", "TrainingOptions", "Trainings"]

COMMAND: Final = (sys.executable, "-m", "rheostat.search.worker")
"""What trains and measures."""

_GUESSED_SECONDS: Final = 600.0
_OVERHEAD_SECONDS: Final = 30.0
_LASTING: Final = ("out-of-memory", "timed-out")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a trained model is.

    Attributes:
        place: A bundle's folder, or a model as it is.
        seconds: What its training took just now; 0 where it was there.
    """

    place: str
    seconds: float = 0.0


class Trainings(Protocol):
    """Gives the bundle of a training."""

    def source(self, training: Mapping[str, Value], fidelity: float = 1.0) -> Source:
        """Return the trained model; it is trained first where it is not there.

        Raises:
            WorkError: If it cannot be trained.
        """
        ...

    def bundle(self, training: Mapping[str, Value]) -> Path:
        """Return the bundle's folder; a model as it is becomes one.

        Raises:
            WorkError: If it cannot be trained.
        """
        ...

    def price(self, training: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds until the trained model is there; 0 where it is."""
        ...

    def seconds(self) -> dict[str, float]:
        """Return what each training took, by its axes as JSON."""
        ...


class GivenBundles:
    """Bundles that were trained before, by recipe.

    Args:
        bundles: The folder of each recipe's bundle.
    """

    def __init__(self, bundles: Mapping[str, Path]) -> None:
        self._bundles = dict(bundles)

    def source(self, training: Mapping[str, Value], fidelity: float = 1.0) -> Source:
        """Return the bundle of a recipe, whatever the fidelity.

        Raises:
            SettingError: If there is none.
        """
        return Source(str(self.bundle(training)))

    def bundle(self, training: Mapping[str, Value]) -> Path:
        """Return the bundle of a recipe.

        Raises:
            SettingError: If there is none.
        """
        recipe = str(training.get(RECIPE))
        if set(training) != {RECIPE} or recipe not in self._bundles:
            raise SettingError("A recipe has a bundle.", given=dict(training), mend=suggest(recipe, self._bundles))
        return self._bundles[recipe]

    def price(self, training: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return 0: all are trained."""
        return 0.0

    def seconds(self) -> dict[str, float]:
        """Return nothing: nobody knows."""
        return {}


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How trainings are run.

    Attributes:
        settings: Settings of `rheostat.train.finetune.FinetuneSettings` that all trainings share: ``max_minutes``,
            ``epochs``, ``batch_size``, ``seed`` ...
        time_limit: Most seconds of one; None for half as much again as ``max_minutes`` and ten minutes, or six hours.
        memory_limit: Most bytes of resident memory; None for no limit.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    time_limit: float | None = None
    memory_limit: int | None = None

    def limit(self, fidelity: float) -> float:
        """Return the most seconds of a training at a fidelity."""
        if self.time_limit is not None:
            return self.time_limit
        minutes = self.settings.get("max_minutes")
        return 6 * 3600.0 if minutes is None else 90.0 * minutes * fidelity + 600.0

    def share(self, fidelity: float, rows: int) -> dict[str, Any]:
        """Return the settings at a fidelity: that share of the minutes, or, where none are set, of the train rows."""
        if fidelity == 1.0:
            return dict(self.settings)
        if self.settings.get("max_minutes") is not None:
            return {**self.settings, "max_minutes": fidelity * self.settings["max_minutes"]}
        return {**self.settings, "limit": math.ceil(fidelity * min(rows, self.settings.get("limit") or rows))}


class LocalTrainings:
    """Trainings on this machine, each in ``folder/HASH`` with what it took in ``folder/HASH.json``.

    Each runs in a process of its own, under limits. Whatever is killed goes on from its last checkpoint; a bundle is
    there when it is complete, and not before. One that ran out of memory or time is not tried again.

    Args:
        model: Where the weights come from, as `rheostat.models.sources.load_model` takes it. A model without axes of
            a training is run as it is.
        data: What is learnt from.
        folder: Where bundles go.
        options: How they are trained.

    Raises:
        SettingError: If the settings are unfit.
    """

    def __init__(self, model: str, data: TextData, folder: Path, options: TrainingOptions | None = None) -> None:
        self._model, self._data, self._folder = model, data, folder
        self._options = options or TrainingOptions()
        self._failed: dict[str, WorkError] = {}
        # What no training could use is found out now.
        settings_of(model, data, folder, {}, self._options.settings)

    def source(self, training: Mapping[str, Value], fidelity: float = 1.0) -> Source:
        """Return the trained model; it is trained first where it is not there.

        Raises:
            WorkError: If it cannot be trained.
            SettingError: If the axes are unfit.
        """
        if not training:
            return Source(self._model)
        return self._trained(training, fidelity)

    def bundle(self, training: Mapping[str, Value]) -> Path:
        """Return the bundle's folder; a model as it is becomes one.

        Raises:
            WorkError: If it cannot be trained.
        """
        if not training and (Path(self._model) / MANIFEST).is_file():
            return Path(self._model)
        return Path(self._trained(training, 1.0).place)

    def price(self, training: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds until the trained model is there, by what others took."""
        if not training or self._is_there(self._place(training, fidelity)):
            return 0.0
        minutes = self._options.settings.get("max_minutes")
        if minutes is not None:
            return 60.0 * float(minutes) * fidelity + _OVERHEAD_SECONDS
        seen = [told["seconds"] / told["fidelity"] for told in self._told() if told["status"] == "ok"]
        return fidelity * (fmean(seen) if seen else _GUESSED_SECONDS)

    def seconds(self) -> dict[str, float]:
        """Return what each whole training took, by its axes as JSON."""
        whole = [told for told in self._told() if told["status"] == "ok" and told["fidelity"] == 1.0]
        return {json.dumps(told["training"], sort_keys=True): told["seconds"] for told in whole}

    def _trained(self, training: Mapping[str, Value], fidelity: float) -> Source:
        place = self._place(training, fidelity)
        if self._is_there(place):
            return Source(str(place))
        told = _record(place)
        if told is not None and told["status"] in _LASTING:
            raise WorkError(told["status"], told["reason"])
        if place.name in self._failed:
            raise self._failed[place.name]
        start = time.monotonic()
        # Of several workers that need it one trains, and the others wait.
        with _held(place.with_suffix(".lock")):
            if not self._is_there(place):
                self._run(place, training, fidelity)
        return Source(str(place), time.monotonic() - start)

    def _run(self, place: Path, training: Mapping[str, Value], fidelity: float) -> None:
        limit = self._options.limit(fidelity)
        order = {
            "model": self._model,
            "data": str(self._texts()),
            "out": str(place),
            "training": dict(training),
            # How often checkpoints are written does not change what is learnt.
            "more": {"save_minutes": 2.0, **self._options.share(fidelity, len(self._data.splits.get("train", ())))},
        }
        about = {"training": dict(training), "fidelity": fidelity}
        start = time.monotonic()
        try:
            with MeasuredProcess(self._options.memory_limit, command=COMMAND) as process:
                process.ask("train", limit, **order)
        except WorkError as failure:
            reason = f"its training: {failure.reason}"
            _write(place, {**about, "status": failure.status, "reason": reason, "seconds": time.monotonic() - start})
            if failure.status in _LASTING:
                shutil.rmtree(place, ignore_errors=True)
            self._failed[place.name] = WorkError(failure.status, reason)
            raise self._failed[place.name] from failure
        earlier = (_record(place) or {}).get("seconds", 0.0)
        _write(place, {**about, "status": "ok", "reason": "", "seconds": time.monotonic() - start + earlier})

    def _place(self, training: Mapping[str, Value], fidelity: float) -> Path:
        more = self._options.share(fidelity, len(self._data.splits.get("train", ())))
        settings = settings_of(self._model, self._data, self._folder, training, more)
        content = json.dumps([sorted(training), settings.to_json(), self._digest], sort_keys=True)
        return self._folder / hashlib.sha256(content.encode()).hexdigest()[:16]

    def _is_there(self, place: Path) -> bool:
        return (place / MANIFEST).is_file() and not (place / CHECKPOINTS).exists()

    @cached_property
    def _digest(self) -> str:
        train = self._data.splits.get("train")
        content = json.dumps([None if train is None else [train.texts, train.pairs, train.labels], self._data.task])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _texts(self) -> Path:
        """Return the file that the process reads; written once."""
        file = self._folder / f"{self._digest}.texts"
        if not file.is_file():
            write_texts(file, self._data, ("train", "validation"))
        return file

    def _told(self) -> list[dict[str, Any]]:
        found = (_record(file.with_suffix("")) for file in self._folder.glob("*.json"))
        return [told for told in found if told is not None]


def _record(place: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told


def _write(place: Path, told: Mapping[str, Any]) -> None:
    write_atomically(place.with_suffix(".json"), json.dumps(told) + "\n")


@contextlib.contextmanager
def _held(file: Path) -> Iterator[None]:
    """Hold a file, as long as this process lives at most."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
