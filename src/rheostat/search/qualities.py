"""What configurations answered: each part that quality depends on is judged once, and remembered on disk."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import RheostatError
from rheostat.core.files import write_atomically
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric
from rheostat.core.workload import Data, Workload
from rheostat.measure.answers import Answers
from rheostat.measure.bench.data import digest
from rheostat.measure.bench.judging import WINDOWS, judged_rows
from rheostat.measure.quality import classification_metrics, language_metrics

__all__ = ["Judged", "Qualities"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """How good a configuration is.

    Attributes:
        metrics: ``accuracy``, ``f1`` and ``calibration_error``, or ``perplexity``; with intervals.
        samples: ``right``, 1 for each row that was classified right and 0 for others, or the ``losses`` of each
            window: always of the same rows in the same order, so that two configurations compare row by row.
    """

    metrics: dict[str, Metric]
    samples: dict[str, list[Any]]


class Qualities:
    """Answers to the judged rows, in ``folder``.

    The rows are in one random order, of which a lower fidelity judges the beginning.

    Args:
        folder: Where they are kept.
        data: The rows.
        workload: Which of them, and what is done with them.
    """

    def __init__(self, folder: Path, data: Data, workload: Workload) -> None:
        self._folder, self._data, self._workload = folder, data, workload
        chosen = data.rows if workload.name != "classify" else judged_rows(data.rows, workload)
        order = list(range(len(chosen)))
        if workload.name == "classify":
            random.Random(workload.seed).shuffle(order)
        self._rows = chosen.take(order)
        self._whole = len(order) if workload.name == "classify" else workload.quality_rows or WINDOWS
        self._digest = digest(data)
        self._computed: dict[tuple[str, int], Judged] = {}

    def count(self, fidelity: float) -> int:
        """Return how many rows, or windows, are judged at a fidelity; at least one."""
        return max(1, math.ceil(fidelity * self._whole))

    def question(self, fidelity: float) -> tuple[Path, int | None]:
        """Return the file of the rows to judge, and how many windows of a language model."""
        count = self.count(fidelity)
        if self._workload.name != "classify":
            return self._written(len(self._rows)), count
        return self._written(count), None

    def find(self, facts: Mapping[str, Any], judged: Mapping[str, Value], fidelity: float) -> Judged | None:
        """Return what is known of a model under knobs and dials; None where it has to be judged.

        Args:
            facts: What identifies the model.
            judged: Its knobs and dials.
            fidelity: Which part of the rows.
        """
        for whole in (True, False):
            count = self.count(fidelity)
            key = self._key(facts, judged, self._whole if whole else count)
            if (key, count) not in self._computed and (answers := self._kept(key)) is not None:
                self._computed[key, count] = self._judged(_first(answers, count))
            if (key, count) in self._computed:
                return self._computed[key, count]
        return None

    def keep(
        self, facts: Mapping[str, Any], judged: Mapping[str, Value], fidelity: float, answers: Mapping[str, Any]
    ) -> Judged:
        """Remember answers as the worker gave them; return what they say.

        Raises:
            MeasurementError: If they are not answers to these rows.
        """
        count = self.count(fidelity)
        found = Answers.from_json(answers)
        key = self._key(facts, judged, count)
        self._computed[key, count] = self._judged(found)
        content = {"version": _VERSION, "of": dict(judged), "model": dict(facts), "answers": found.to_json()}
        write_atomically(self._folder / f"{key}.json", json.dumps(content) + "\n")
        return self._computed[key, count]

    def _judged(self, answers: Answers) -> Judged:
        if self._workload.name != "classify":
            return Judged(language_metrics(answers), {"losses": list(answers.losses)})
        labels = (self._rows.labels or [])[: len(answers)]
        right = [int(row[0] == label) for row, label in zip(answers.guesses, labels, strict=True)]
        return Judged(classification_metrics(answers, labels), {"right": right})

    def _key(self, facts: Mapping[str, Any], judged: Mapping[str, Value], count: int) -> str:
        unused = ("batch_size", "requests", "quality_rows")
        work = {name: value for name, value in self._workload.to_json().items() if name not in unused}
        content = json.dumps([_VERSION, facts["sha256"], judged, work, self._digest, self._data.split, count])
        return hashlib.sha256(json.dumps(json.loads(content), sort_keys=True).encode()).hexdigest()[:16]

    def _kept(self, key: str) -> Answers | None:
        try:
            return Answers.from_json(json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))["answers"])
        except (OSError, ValueError, KeyError, TypeError, RheostatError):
            # It was never judged, or the file is damaged: judging mends both.
            return None

    def _written(self, count: int) -> Path:
        file = self._folder / f"rows-{self._digest}-{self._workload.seed}-{count}.json"
        if not file.is_file():
            write_atomically(file, json.dumps(asdict(self._rows.take(range(count)))))
        return file


def _first(answers: Answers, count: int) -> Answers:
    parts = (answers.guesses, answers.confidences, answers.losses)
    return Answers(*(part[:count] for part in parts))  # type: ignore[arg-type]
