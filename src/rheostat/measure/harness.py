"""Standard tasks: lm-evaluation-harness on an attached model, its dials turned while prompts are read."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from rheostat.core.errors import MeasurementError, RheostatError, SettingError
from rheostat.core.extras import require
from rheostat.core.metrics import Metric
from rheostat.measure.harness_model import Backend, attached_model, refused_rolling
from rheostat.measure.intervals import bootstrap_interval

__all__ = ["Tasks", "run_tasks"]

_EXTRA: Final = "harness"
_SEEDS: Final = (0, 1234, 1234)
"""Those that lm-evaluation-harness itself gives Python, NumPy and PyTorch; the last also chooses examples."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Which tasks are run, and how.

    Attributes:
        names: Tasks, groups or tags, for instance ``("lambada_openai", "arc_easy")``.
        batch_size: Requests at a time, at least 1. It is fixed, since scores move a little with it.
        limit: Rows of each task, the first ones; None for all.
        include_path: A folder with further task files. A task file may name Python functions beside it, which are run:
            give folders that you trust.
    """

    names: tuple[str, ...]
    batch_size: int = 1
    limit: int | None = None
    include_path: Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not self.names:
            raise SettingError("Tasks are a list of one name or more.", given=repr(self.names))
        limit = 1 if self.limit is None else self.limit
        for what, value in (("batch size", self.batch_size), ("limit", limit)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingError(f"A {what} is a whole number from 1.", given=repr(value))
        if self.include_path is not None and not Path(self.include_path).is_dir():
            raise SettingError("Further tasks lie in a folder.", given=str(self.include_path))


def run_tasks(
    subject: Any,
    tasks: Tasks,
    settings: Mapping[str, float] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Metric]:
    """Run tasks of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness) on a loaded model.

    Tasks, prompts, examples and metrics are the harness's own. What differs is how a continuation is scored: the prompt
    is read under the dials, and the continuation at neutral on the cache, as in generation. At neutral that gives the
    harness's own numbers. Prompts longer than the model reads lose their start.

    Args:
        subject: A bundle for causal-lm, or a `rheostat.measure.continuing.Subject`; ``model``, ``tokenizer`` and
            ``handle`` are used.
        tasks: What to run.
        settings: Dials to turn; those left out stay as they are.
        progress: Called with the requests done and those known so far.

    Returns:
        ``TASK/METRIC`` (``TASK/METRIC,FILTER`` where a task filters answers) to its value, with a 95 % bootstrap
        interval over rows; for a group of tasks without an interval. A value that is no finite number is unavailable.
        ``source`` holds version, rows, examples and batch size, and says where a lower value is better.

    Raises:
        SettingError: If nobody knows a task, or a dial, or a dial is out of range.
        MeasurementError: If a task's data cannot be loaded, if it runs code of the model's, or if it has no prompt
            that the dials could act on.
        RheostatError: If lm-evaluation-harness is not installed.

    Example:
        >>> run_tasks(bundle, Tasks(("lambada_openai",), batch_size=8), {"tokens": 0.7})  # doctest: +SKIP
        {'lambada_openai/perplexity': Metric(value=29.1, ...), 'lambada_openai/acc': Metric(value=0.42, ...)}
    """
    backend = Backend(subject, settings or {}, tasks.batch_size, progress)
    evaluator = require("lm_eval.evaluator", extra=_EXTRA)
    with _fixed_seeds():
        loaded = _load(tasks)
        _check(loaded["tasks"], backend)
        try:
            found = evaluator.evaluate(
                lm=attached_model(backend), task_dict=loaded, limit=tasks.limit, bootstrap_iters=0, log_samples=True
            )
        except ValueError as error:
            raise _failed("A task can be run.", tasks.names, error) from error
    return _metrics(found, loaded["tasks"], tasks.batch_size)


def _load(tasks: Tasks) -> dict[str, Any]:
    """Return tasks and groups with their data."""
    try:
        loaded = _load_own(tasks) or _load_any(tasks)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        if isinstance(error, RheostatError):
            raise
        raise _failed("A task and its data can be loaded.", tasks.names, error) from error
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=_SEEDS[-1])
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
    return loaded


def _load_own(tasks: Tasks) -> dict[str, Any] | None:
    """Load from the user's folder alone, where that will do: indexing the harness's own tasks takes half a minute."""
    if tasks.include_path is None:
        return None
    manager = _manager(tasks, include_defaults=False)
    if not set(tasks.names) <= set(manager.all_tasks):
        return None
    try:
        loaded: dict[str, Any] = manager.load(list(tasks.names))
        return loaded
    except KeyError:
        # A group of the user's may hold tasks of the harness.
        return None


def _load_any(tasks: Tasks) -> dict[str, Any]:
    manager = _manager(tasks, include_defaults=True)
    for name in tasks.names:
        if name not in manager.all_tasks:
            close = difflib.get_close_matches(name, manager.all_tasks, n=1)
            # There are some 15,000 tasks: listing them all would hide the hint.
            hint = f"Did you mean '{close[0]}'?" if close else "List them: lm-eval ls tasks."
            raise SettingError("A task is one that lm-evaluation-harness knows.", given=repr(name), mend=hint)
    loaded: dict[str, Any] = manager.load(list(tasks.names))
    return loaded


def _manager(tasks: Tasks, *, include_defaults: bool) -> Any:
    folder = None if tasks.include_path is None else str(tasks.include_path)
    make = require("lm_eval.tasks", extra=_EXTRA).TaskManager
    return make(include_path=folder, include_defaults=include_defaults)


def _check(tasks: Mapping[str, Any], backend: Backend) -> None:
    """Refuse what would fail, or mean nothing, before anything is run."""
    for name, task in tasks.items():
        if getattr(task, "UNSAFE_CODE", False):
            raise MeasurementError(
                "No code that a model writes is run.", given=f"the task {name}", mend="Choose another task."
            )
        if not backend.neutral and task.OUTPUT_TYPE == "loglikelihood_rolling":
            raise refused_rolling(f"the task {name} at {backend.settings}")


def _metrics(found: Mapping[str, Any], tasks: Mapping[str, Any], batch_size: int) -> dict[str, Metric]:
    version = require("lm_eval", extra=_EXTRA).__version__
    metrics = {}
    for name, results in found["results"].items():
        for key, value in results.items():
            metric, comma, chosen = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            rows = [row for row in found["samples"].get(name, ()) if row["filter"] == chosen and metric in row]
            notes = [f"lm-eval {version}", *_notes(found, name, metric), f"batch {batch_size}", *_unprompted(rows)]
            interval = _interval(tasks.get(name), metric, [row[metric] for row in rows])
            shown = metric if chosen == "none" else f"{metric},{chosen}"
            metrics[f"{name}/{shown}"] = _metric(value, interval, ", ".join(notes))
    return metrics


def _metric(value: Any, interval: tuple[float, float] | None, source: str) -> Metric:
    try:
        number = float(value)
        low, high = interval or (None, None)
        return Metric(number, "1", low, high, source=source)
    except (TypeError, ValueError, MeasurementError):
        return Metric(None, "1", provenance="unavailable", source=f"{source}, no finite number")


def _interval(task: Any, metric: str, values: Sequence[Any]) -> tuple[float, float] | None:
    """Return the bootstrap interval of a task's metric, aggregated the task's own way; None for groups of tasks."""
    if task is None or len(values) < 2:
        return None
    aggregate = task.aggregation().get(metric)
    plain = aggregate is None or aggregate.__name__ == "mean"
    if plain:
        return bootstrap_interval(values, lambda drawn: sum(drawn) / len(drawn))
    # Perplexities are quick, but a draw of BLEU or F1 over a corpus takes as long as the whole metric.
    return bootstrap_interval(values, lambda drawn: float(aggregate(drawn)), draws=200)


def _notes(found: Mapping[str, Any], name: str, metric: str) -> Iterator[str]:
    counts = found["n-samples"].get(name)
    if counts is not None:
        yield f"{counts['effective']} of {counts['original']} rows"
    yield f"{found['n-shot'].get(name, 0)}-shot"
    if found["higher_is_better"].get(name, {}).get(metric) is False:
        yield "lower is better"


def _unprompted(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how many requests had no prompt: they are the same at every setting."""
    requests = [arguments for row in rows for arguments in row["arguments"] if len(arguments) == 2]
    empty = sum(arguments[0] == "" for arguments in requests)
    if empty:
        yield f"{empty} of {len(requests)} requests without a prompt"


@contextmanager
def _fixed_seeds() -> Iterator[None]:
    """Give every generator of random numbers the harness's seed, and its own state back at the end."""
    numpy = require("numpy", extra=_EXTRA)
    states = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng():
        random.seed(_SEEDS[0])
        numpy.random.seed(_SEEDS[1])
        torch.manual_seed(_SEEDS[2])
        try:
            yield
        finally:
            random.setstate(states[0])
            numpy.random.set_state(states[1])


def _failed(rule: str, names: Sequence[str], error: Exception) -> MeasurementError:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return MeasurementError(
        rule,
        given=f"{', '.join(names)}: {text}",
        mend="A task's data comes from the hub: download it before, or use a task file whose data lies beside it.",
    )
