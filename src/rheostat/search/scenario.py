"""Scenarios: what a search is asked to do, from a YAML file or from the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from rheostat.core.errors import SettingError
from rheostat.core.goals import Goals, Objective
from rheostat.core.prices import PriceTable
from rheostat.core.text import Task
from rheostat.core.workload import Workload, WorkloadName
from rheostat.search.content import content_digest, model_digest
from rheostat.search.fields import ColumnNames, Limits, Objectives, Overrides, Seconds, Whole, metrics_by_path
from rheostat.search.places import Places, read_yaml
from rheostat.search.problems import AtError, readable
from rheostat.search.schema import completed

__all__ = ["DataSource", "Measuring", "Scenario", "Training", "Work", "read_scenario"]

_BUDGET: Final = 1800.0
_QUALITY: Final[Mapping[Task, str]] = {"classification": "accuracy", "causal-lm": "perplexity"}
_WORK: Final[Mapping[Task, WorkloadName]] = {"classification": "classify", "causal-lm": "generate"}
# How long and where a search runs does not change what a trial is: a study goes on with another budget.
_NOT_IN_DIGEST: Final = ("budget", "workers", "executor")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataSource(_Part):
    """Texts to train and measure on."""

    path: Annotated[str, Field(min_length=1)]
    """A .parquet, .csv or .jsonl file, or a saved dataset."""
    columns: ColumnNames = Field(default_factory=dict)
    """Names of the columns, where they are not the usual ones: text, label, split ..."""
    split: Literal["validation", "train"] = "validation"
    """The split that quality is judged on; never test, since configurations are chosen on it."""


class Work(_Part):
    """What the model is asked to do while it is measured."""

    name: WorkloadName | None = None
    """classify, prefill or generate; left out, what fits the task."""
    max_length: Whole | None = None
    """Tokens of a text at most; left out, what the model reads, at most 512."""
    rows: Whole | None = None
    """Rows of a request where the axis 'batch' is at its default."""
    requests: Whole | None = None
    """Different requests that are run in turn."""
    prompt_tokens: Whole = 512
    """Tokens of a prompt, for a language model."""
    new_tokens: Whole = 64
    """Tokens that are written."""


class Measuring(_Part):
    """How a configuration is measured."""

    rounds: Annotated[int, Field(strict=True, ge=3)] = 6
    """How often it takes turns with the plain model."""
    sittings: Whole = 1
    """Sittings that the rounds are spread over."""
    round_seconds: Annotated[float, Field(gt=0)] = 0.3
    """Least seconds of a turn."""
    validation_rows: Whole | None = None
    """Rows that quality is judged on; left out, all of them."""
    time_limit: Seconds = 900.0
    """Longest time that one measurement may take."""
    device: str = "cpu"
    """Where models run: cpu, cuda, mps."""


class Training(_Part):
    """How a model is trained for a trial."""

    minutes: Annotated[float, Field(gt=0)] = 10.0
    """Longest time for one training; the learning rate falls to 0 within it."""
    epochs: Whole = 5
    """Passes over the data at most."""
    rows: Whole | None = None
    """Train on a sample of so many rows; left out, on all."""
    batch_size: Whole = 8
    """Rows in a batch."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate; left out, what is usual for the model's width and for what is trained."""
    max_length: Whole = 256
    """Tokens that are read of a text."""
    model_dropout: Annotated[float, Field(ge=0, lt=1)] | None = 0.0
    """Dropout of the model's own layers; null for what its configuration says. With 0.1 a CPU's step takes longer."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What a training step is computed in; auto for bf16 where that is faster."""


class Scenario(_Part):
    """What a search is asked to do.

    Frozen, and equal to another one exactly where both ask for the same, whether they come from a file or from flags.

    Example:
        >>> made = Scenario.from_json({"model": "m", "data": "d.csv", "limits": {"latency_p95": "15ms"}})
        >>> made.goals.limits[0].value, made.budget_seconds, made == Scenario.from_json(made.to_json())
        (0.015, 1800.0, True)
    """

    model: Annotated[str, Field(min_length=1)]
    """A folder, a bundle, a hub id, a .gguf file, or package:NAME."""
    data: DataSource
    """The data, or its path alone."""
    task: Task = "classification"
    """What the model is to do."""
    objectives: Objectives = ()
    """Metrics to make better; left out, quality, latency and memory."""
    limits: Limits = ()
    """What every configuration that is recommended has to keep."""
    budget: Seconds = _BUDGET
    """How long the search may take."""
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    """Decides what is random."""
    strategy: Literal["random", "tpe", "nsga2", "surrogate"] = "surrogate"
    """Who proposes configurations."""
    space: Overrides = Field(default_factory=dict)
    """Axes with the values to try, or off; axes that are left out have their usual values."""
    workload: Work = Work()
    """What is run."""
    measure: Measuring = Measuring()
    """How it is measured."""
    train: Training = Training()
    """How models are trained."""
    workers: Whole = 1
    """Trials at a time."""
    executor: Literal["local", "ray"] = "local"
    """Where trials run."""
    prices: dict[str, float | str] | None = None
    """Prices of an hour by device, and the currency, for objectives in money."""

    _places: Places = PrivateAttr(default_factory=Places)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        data, work = given.get("data"), given.get("workload")
        filled = {**given}
        if isinstance(data, str):
            filled["data"] = {"path": data}
        if isinstance(work, str):
            filled["workload"] = {"name": work}
        task: Any = given.get("task", "classification")
        if task in _QUALITY:
            filled["objectives"] = given.get("objectives") or (_QUALITY[task], "latency_p50", "memory_peak_host")
            if isinstance(filled.get("workload", {}), Mapping):
                filled["workload"] = {"name": _WORK[task], **filled.get("workload", {})}
        return filled

    @model_validator(mode="after")
    def _checked(self) -> Scenario:
        try:
            self.work()
            _ = self.goals
            if self.prices is not None:
                PriceTable.from_json(self.prices)
        except SettingError as error:
            raise AtError((), error.rule, error.given, error.mend) from error
        fits = {"classification": ("classify",), "causal-lm": ("prefill", "generate")}[self.task]
        if self.workload.name not in fits:
            mend = f"Use {' or '.join(fits)}, or the other task."
            raise AtError(("workload",), "The workload fits the task.", f"{self.workload.name} for {self.task}", mend)
        return self

    @classmethod
    def from_json(cls, data: object, places: Places | None = None) -> Scenario:
        """Return the scenario that plain data describes.

        Args:
            data: What `to_json` made, or a YAML file holds.
            places: Where its parts stand, for errors.

        Raises:
            SettingError: If a key, an axis, a value or a metric is unknown or unfit; with its line and column.
        """
        known = places or Places()
        if not isinstance(data, Mapping):
            raise SettingError(
                "A scenario is keys with their values.",
                given=known.name or repr(data),
                mend="Write one with: rheostat init",
            )
        try:
            made = cls.model_validate(dict(data))
        except ValidationError as error:
            raise readable(error, cls, known) from error
        # Frozen to others; and two that ask for the same are equal wherever they were written.
        marks = dict(known.marks)
        for path, metric in metrics_by_path(data).items():
            if path in known.marks:
                marks[path[0], metric] = known.marks[path]
        made._places = Places(known.name, marks)
        return made

    @classmethod
    def schema(cls) -> dict[str, Any]:  # type: ignore[override]
        """Return the JSON schema of a scenario file."""
        return completed(cls.model_json_schema())

    @property
    def budget_seconds(self) -> float:
        """How long the search may take, in seconds."""
        return self.budget

    @property
    def goals(self) -> Goals:
        """What makes a configuration better, and what it has to keep."""
        return Goals(tuple(Objective(name) for name in self.objectives), self.limits)

    @property
    def price_table(self) -> PriceTable:
        """What an hour of a device costs; empty where nothing was said."""
        return PriceTable() if self.prices is None else PriceTable.from_json(self.prices)

    def work(self, batch: int | None = None) -> Workload:
        """Return what is run, with requests of so many rows; of the default number where none is given."""
        name = self.workload.name or _WORK[self.task]
        plain = {key: value for key, value in self.workload.model_dump().items() if key not in ("name", "rows")}
        return Workload(
            name,
            batch_size=batch or self.workload.rows,
            quality_rows=self.measure.validation_rows,
            seed=self.seed,
            **plain,
        )

    def where(self, *path: str | int) -> str:
        """Say where a part stands in the file it was read from; empty where it was not.

        Args:
            path: Keys, such as ``"space", "tokens"``; of limits and objectives, too, which may be lists, the metric.
        """
        return self._places.of(*path)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, which `from_json` reads back."""
        return self.model_dump(mode="json")

    @property
    def settings_digest(self) -> str:
        """A hash of what is asked for, the data's and the model's content left out; 16 hexadecimal digits."""
        plain = {name: value for name, value in self.to_json().items() if name not in _NOT_IN_DIGEST}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def data_digest(self) -> str:
        """A hash of the data's content, 16 hexadecimal digits.

        Raises:
            DataError: If there is no such file or folder.
        """
        return content_digest(Path(self.data.path))[:16]

    @property
    def digest(self) -> str:
        """A hash of what is asked for and of what it is asked of: settings, data, and a model that is a folder.

        Budget, workers and executor are left out, so that a study can go on with more of them.

        Raises:
            DataError: If the data is not there.
        """
        parts = (self.settings_digest, self.data_digest, model_digest(self.model))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def read_scenario(path: str | Path) -> Scenario:
    """Read a scenario from a YAML file.

    Raises:
        SettingError: If the file cannot be read, is no YAML, or says something unknown or unfit; with line and column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(
            "A scenario is a YAML file that can be read.",
            given=f"{path}: {error}",
            mend="Write one with: rheostat init",
        ) from error
    data, places = read_yaml(text, str(path))
    return Scenario.from_json(data, places)
