"""Where trials run: evaluators by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.extras import require
from rheostat.core.names import suggest
from rheostat.search.evaluator import Evaluator

if TYPE_CHECKING:
    from rheostat.core.text import TextData
    from rheostat.search.scenario import Scenario

__all__ = ["EXECUTORS", "Job", "make_evaluator"]

EXECUTORS: Final[Mapping[str, str]] = {
    "local": "rheostat.search.executors:local",
    "ray": "rheostat.search.executors:ray",
}
"""Every executor by name, and what makes its evaluator from a `Job`; imported when it is wanted."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an evaluator is made for.

    Attributes:
        scenario: What is asked for.
        data: Its texts.
        folder: The study's folder.
        batch: Rows of a request where a configuration does not say.
    """

    scenario: Scenario
    data: TextData
    folder: Path
    batch: int | None = None


def make_evaluator(name: str, job: Job) -> Evaluator:
    """Return an evaluator by the name of its executor.

    Args:
        name: One of `EXECUTORS`.
        job: What it is for.

    Raises:
        SettingError: If nobody knows the name; with the nearest known one. Or if it cannot run several at a time.
        RheostatError: If it needs a package that is not installed; the text holds the command that installs it.
    """
    if name not in EXECUTORS:
        raise SettingError("An executor has a known name.", given=repr(name), mend=suggest(name, EXECUTORS))
    module, _, member = EXECUTORS[name].partition(":")
    make: Callable[[Job], Evaluator] = getattr(importlib.import_module(module), member)
    return make(job)


def local(job: Job) -> Evaluator:
    """Return what trains and measures on this machine, one trial at a time.

    Raises:
        SettingError: If several at a time are asked for: they would slow each other down, and be measured so.
    """
    if job.scenario.workers > 1:
        raise SettingError(
            "On one machine trials run one at a time: side by side they would slow each other down.",
            given=f"{job.scenario.workers} workers",
            mend="Leave workers out, or use several machines with --executor ray.",
        )
    return _measuring(job)


def ray(job: Job) -> Evaluator:
    """Return what lets the machines of a Ray cluster measure, as many as there are workers.

    Raises:
        RheostatError: If Ray is not installed, or its cluster cannot be reached.
    """
    require("ray", extra="ray")
    try:
        cluster = importlib.import_module("rheostat.search.cluster")
    except ModuleNotFoundError as error:
        raise RheostatError(
            "The executor ray is part of rheostat.", given=str(error), mend="Update rheostat: pip install -U rheostat."
        ) from error
    options = cluster.ClusterOptions(workers=job.scenario.workers if job.scenario.workers > 1 else None)
    made: Evaluator = cluster.ClusterEvaluator(partial(_measuring, job), job.folder, options)
    return made


def _measuring(job: Job) -> Evaluator:
    from rheostat.search.local import LocalOptions, local_evaluator
    from rheostat.search.sitting import SettingMethod
    from rheostat.search.trainings import TrainingOptions

    scenario = job.scenario
    measure, train = scenario.measure, scenario.train
    method = SettingMethod(
        rounds=measure.rounds,
        round_seconds=measure.round_seconds,
        time_limit=measure.time_limit,
        device=measure.device,
    )
    settings = {
        "max_minutes": train.minutes,
        "epochs": train.epochs,
        "batch_size": train.batch_size,
        "learning_rate": train.learning_rate,
        "max_length": train.max_length,
        "model_dropout": train.model_dropout,
        "precision": train.precision,
        "limit": train.rows,
        "seed": scenario.seed,
    }
    work = scenario.work(job.batch)
    options = LocalOptions(work, method, scenario.data.split)
    return local_evaluator(scenario.model, job.data, job.folder, TrainingOptions(settings), options)
