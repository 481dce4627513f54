"""Benches: many configurations of one or more models, each measured once, in any number of sittings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rheostat.core.measurement import Measurement
from rheostat.core.workload import Data, Method, Workload
from rheostat.measure.bench.laboratory import BenchOptions, Laboratory
from rheostat.measure.bench.plan import configurations

__all__ = ["bench", "duel", "measure"]


def measure(
    model: str | Path,
    workload: Workload | str,
    configuration: Mapping[str, Any] | None = None,
    *,
    data: Data | None = None,
    method: Method | None = None,
) -> Measurement:
    """Measure one configuration of a model beside the plain model, each in its own process.

    Args:
        model: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        workload: What is run, or the name of a workload for its defaults.
        configuration: Knobs and dials, such as ``{"precision": "int8", "tokens": 0.5}``; None for the plain model.
        data: Texts; None for random tokens, without quality.
        method: How to measure.

    Raises:
        RheostatError: If there is no such model, workload or setting. What goes wrong while it runs is a result.

    Example:
        >>> rheostat.measure("bundles/spam", "classify", {"tokens": 0.5}).metrics["speedup"]  # doctest: +SKIP
    """
    chosen = Workload(workload) if isinstance(workload, str) else workload  # type: ignore[arg-type]
    wanted = configurations({"tokens": 1.0, **(configuration or {})})
    return bench([str(model)], chosen, wanted, data=data, method=method)[0]


def bench(
    models: Sequence[str],
    workload: Workload,
    wanted: Sequence[Mapping[str, Any]],
    *,
    data: Data | None = None,
    method: Method | None = None,
    options: BenchOptions | None = None,
) -> list[Measurement]:
    """Measure configurations of models, each in turn with the plain model.

    Args:
        models: Bundles' folders, or what `rheostat.models.sources.load_model` takes.
        workload: What is run.
        wanted: Configurations, see `rheostat.measure.bench.plan.configurations`.
        data: Texts; None for random tokens, without quality.
        method: How to measure.
        options: Where the measurements go, and what else is done.

    Returns:
        A measurement for each model and configuration, in that order.

    Raises:
        RheostatError: If there is no such model, if the data does not fit, or if the folder cannot be written.
    """
    return Laboratory(workload, data, method or Method(), options or BenchOptions()).run(models, wanted)


def duel(
    a: tuple[str, Mapping[str, Any]],
    b: tuple[str, Mapping[str, Any]],
    workload: Workload,
    *,
    data: Data | None = None,
    method: Method | None = None,
    options: BenchOptions | None = None,
) -> tuple[Measurement, Measurement]:
    """Measure two models or configurations in turn with each other.

    Args:
        a: The reference: a bundle's folder or a model, and its configuration.
        b: The other.
        workload: What is run.
        data: Texts; None for random tokens, without quality.
        method: How to measure.
        options: Prices; nothing is written.

    Returns:
        Both measurements; ``samples["ratio"]`` of the second is its time over the first's, round by round, and its
        ``speedup`` and compression are against the first.

    Raises:
        RheostatError: If there is no such model or setting, or if the data does not fit.
    """
    return Laboratory(workload, data, method or Method(), options or BenchOptions()).duel(a, b)
