"""The best combination for a scenario: from what is asked for to a result and a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rheostat.core.errors import RheostatError, SettingError, StudyError
from rheostat.core.machine import machine_facts
from rheostat.core.result import Finding, Result, read_result
from rheostat.core.space import Space
from rheostat.core.text import TextData
from rheostat.core.trial import Trial
from rheostat.core.workload import Data
from rheostat.measure.bench.judging import simple_models
from rheostat.search.catalogue import AS_IT_IS
from rheostat.search.checks import check_budget, check_measurable
from rheostat.search.costs import CostModel, measured_speeds, own_knobs, predictor, shape_of, usual_length
from rheostat.search.database import FILE
from rheostat.search.delivery import deliver
from rheostat.search.described import described
from rheostat.search.evaluator import Evaluator
from rheostat.search.executors import Job, make_evaluator
from rheostat.search.facts import facts_of
from rheostat.search.loop import BUNDLES, Progress, finished_result, search
from rheostat.search.parts import RECIPE
from rheostat.search.picture import picture_of
from rheostat.search.problem import Problem
from rheostat.search.scenario import Scenario
from rheostat.search.spaces import space_for
from rheostat.search.strategies.strategy import Hints
from rheostat.search.strategies.warm import dependencies, fitting, guesses
from rheostat.search.study import Study
from rheostat.train.data import Columns, load_data

__all__ = ["export_trial", "nearest_study", "optimise", "problem_of"]


def optimise(
    scenario: Scenario,
    folder: Path,
    evaluator: Evaluator | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    after: Path | None = None,
) -> Result:
    """Find the best combination for a model, a task, a machine and a budget.

    Args:
        scenario: What is asked for.
        folder: The study's folder. A study that is there goes on; a finished one returns its result.
        evaluator: Measures; None for the scenario's executor.
        progress: Called before the first and after every measurement.
        after: An earlier study whose front is tried first; None for the nearest one that lies beside.

    Raises:
        SettingError: If the scenario cannot be kept here, or the budget is too small.
        DataError: If the data is not there or unfit.
        StudyError: If the folder holds another scenario's study, or another optimiser works on it.
        MeasurementError: If the default configuration fails, or a metric cannot be measured here.

    Example:
        >>> result = optimise(read_scenario(Path("scenario.yaml")), Path("study"))  # doctest: +SKIP
        >>> result.recommended.configuration  # doctest: +SKIP
        {'recipe': 'uniform', 'tokens': 0.5, 'precision': 'int8', 'batch': 8, 'threads': 2}
    """
    check_measurable(scenario)
    columns = Columns(**scenario.data.columns)
    data = load_data(Path(scenario.data.path), scenario.task, columns, seed=scenario.seed)
    problem = problem_of(scenario, data)
    if (done := finished_result(problem, folder)) is not None:
        return done
    problem = replace(problem, hints=_hints(scenario, data, problem, after or nearest_study(scenario, folder)))
    made = evaluator or make_evaluator(scenario.executor, Job(scenario, data, folder, problem.rows))
    try:
        if not (folder / FILE).exists():
            check_budget(scenario, made.price(problem.space.default))
        return search(problem, folder, made, progress=progress)
    finally:
        if evaluator is None:
            made.close()


def problem_of(scenario: Scenario, data: TextData) -> Problem:
    """Return what is searched for a scenario, without hints.

    Args:
        scenario: What is asked for.
        data: Its texts.

    Raises:
        RheostatError: If the model is unknown or unsupported, or the scenario leaves an axis no value.
    """
    facts = facts_of(scenario.model, scenario.task, labels=data.label_names, device=scenario.measure.device)
    space = space_for(scenario, facts, machine_facts(), splits=data.splits)
    work = scenario.work()
    return Problem(
        space,
        scenario.goals,
        scenario.digest,
        scenario.budget_seconds,
        scenario.to_json(),
        scenario.seed,
        scenario.strategy,
        rows=work.rows,
        simple=partial(simple_models, Data(data, scenario.data.split), work)
        if scenario.task == "classification"
        else None,
    )


def nearest_study(scenario: Scenario, folder: Path) -> Path | None:
    """Return the study beside a folder whose scenario is nearest: the same task and workload, then model, then data."""
    found = []
    for other in sorted(folder.absolute().parent.iterdir()) if folder.absolute().parent.is_dir() else []:
        if other == folder.absolute() or not (other / FILE).is_file():
            continue
        asked = _asked(other)
        if asked.get("task") == scenario.task and asked.get("workload") == scenario.to_json()["workload"]:
            likeness = (asked["model"] == scenario.model, asked["data"] == scenario.to_json()["data"])
            found.append((likeness, (other / FILE).stat().st_mtime, other))
    return max(found)[2] if found else None


def export_trial(folder: Path, number: int, out: Path) -> Finding:
    """Write the bundle of any trial of a study.

    Args:
        folder: The study's folder.
        number: The trial's number.
        out: The bundle's folder.

    Returns:
        What is known of the trial's configuration.

    Raises:
        StudyError: If there is no study.
        SettingError: If it has no such trial, or that failed.
        BundleError: If the bundle cannot be written.
    """
    with Study(folder) as study:
        trials, plain = study.trials(), study.scenario
        space, goals = described(study)
        bundles: Mapping[str, str] = study.noted(BUNDLES, {})
    trial = _trial(trials, number)
    problem = Problem(space, goals, "", 1.0, rows=_rows(trials, space))
    picture = picture_of(problem, trials)
    evidence = picture.evidence[space.key(trial.configuration)]
    place = bundles.get(problem.training(trial.configuration))
    source = folder / place if place is not None else _bundle_of(plain, folder, trial)
    finding = replace(picture.finding(evidence), number=number)
    deliver(source, out, space, finding, [one.measurement for one in evidence.trials], linked=False)
    return replace(finding, bundle=str(out))


def _trial(trials: list[Trial], number: int) -> Trial:
    found = next((trial for trial in trials if trial.number == number), None)
    if found is None:
        raise SettingError(
            "A trial has a number of the study.",
            given=number,
            mend=f"It has 0 to {trials[-1].number}." if trials else "It has none yet.",
        )
    if not found.ok:
        raise SettingError(
            "A trial that is exported worked.",
            given=f"{number}: {found.measurement.status}, {found.measurement.reason}",
            mend="Choose one of the front: see result.json.",
        )
    return found


def _rows(trials: list[Trial], space: Space) -> int:
    default = next((trial for trial in trials if trial.configuration == space.default), trials[0])
    return int(default.measurement.workload.get("batch_size", 1))


def _bundle_of(plain: Mapping[str, Any], folder: Path, trial: Trial) -> Path:
    scenario = Scenario.from_json(plain)
    data = load_data(Path(scenario.data.path), scenario.task, Columns(**scenario.data.columns), seed=scenario.seed)
    evaluator = make_evaluator("local", Job(scenario, data, folder))
    try:
        return evaluator.bundle(trial.configuration)
    finally:
        evaluator.close()


def _hints(scenario: Scenario, data: TextData, problem: Problem, after: Path | None) -> Hints:
    earlier = _front_of(after, problem.space) if after is not None else []
    as_it_is = problem.space.default.get(RECIPE) == AS_IT_IS
    first = [*earlier, *guesses(problem.space, problem.goals, as_it_is=as_it_is)]
    depends = dependencies(problem.space, problem.goals)
    predict = _predictor(scenario, data, problem) if scenario.strategy == "surrogate" else None
    return Hints(guesses=tuple(first), predict=predict, depends=depends)


def _front_of(folder: Path, space: Space) -> list[dict[str, Any]]:
    try:
        result = read_result(folder)
    except RheostatError as error:
        raise StudyError(
            "An earlier study has a result that can be read.", given=f"{folder} ({error})", mend="Name another one."
        ) from error
    return [] if result is None else fitting(space, [one.configuration for one in result.front])


def _predictor(scenario: Scenario, data: TextData, problem: Problem) -> Callable[[Any], Mapping[int, float]] | None:
    """Return the cost model of the scenario's model; None where it has none, and everything has to be measured."""
    axes = {axis.name: axis.values for axis in problem.space.axes}
    threads = tuple(int(value) for value in axes.get("threads", ()))
    precisions = tuple(map(str, axes.get("precision", ())))
    try:
        shape = shape_of(scenario.model, scenario.task)
        speeds = measured_speeds(threads, precisions, shape, scenario.measure.device)
    except RheostatError:
        return None
    work = scenario.work()
    texts = data.split(scenario.data.split).texts
    length = usual_length(texts, work.max_length) if work.name == "classify" else work.prompt_tokens
    return predictor(CostModel(shape, speeds, work, length, own=own_knobs(scenario.model)), problem.goals)


def _asked(folder: Path) -> dict[str, Any]:
    try:
        with Study(folder) as study:
            return study.scenario
    except RheostatError:
        return {}
