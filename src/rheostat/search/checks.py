"""Whether a scenario can be done here, asked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from rheostat.core.errors import SettingError
from rheostat.core.metrics import METRICS
from rheostat.core.names import suggest
from rheostat.measure.probes import Instruments
from rheostat.measure.probes import instruments as instruments_here
from rheostat.search.limits import duration_text
from rheostat.search.scenario import Scenario

__all__ = ["check_budget", "check_measurable", "unmeasurable"]

_OF_CLASSIFIERS: Final = ("accuracy", "f1", "calibration_error")
_OF_LANGUAGE: Final = ("perplexity",)
_OF_WRITING: Final = ("tpot_p50",)
_OF_CACHES: Final = ("ttft_p50", "memory_cache")


def check_measurable(scenario: Scenario, instruments: Callable[[], Instruments] = instruments_here) -> None:
    """Refuse objectives and limits on metrics that this machine, task or workload cannot provide.

    Args:
        scenario: What is asked for.
        instruments: Says what this machine can measure; only asked where a metric needs it.

    Raises:
        SettingError: Naming the metric, the reason, and what can be measured instead.
    """
    limited = [limit.metric for limit in scenario.limits]
    lost = unmeasurable(scenario, (*limited, *scenario.objectives), instruments)
    for metric in (*limited, *scenario.objectives):
        if metric in lost:
            part = "limits" if metric in limited else "objectives"
            where = scenario.where(part, metric)
            given = f"'{metric}': {lost[metric]}"
            raise SettingError(
                f"{'A limit' if part == 'limits' else 'An objective'} is on what can be measured here.",
                given=f"{where}: {given}" if where else given,
                mend=f"Leave it out, or choose another metric. {_others(scenario, metric, lost)}",
            )


def unmeasurable(
    scenario: Scenario, metrics: tuple[str, ...], instruments: Callable[[], Instruments] = instruments_here
) -> dict[str, str]:
    """Return which of some metrics cannot be measured, each with the reason.

    Args:
        scenario: What is asked for; its task, workload and device matter.
        metrics: Names of metrics.
        instruments: Says what this machine can measure; only asked where a metric needs it.
    """
    found = {name: reason for name in metrics if (reason := _by_task(scenario, name)) is not None}
    counted = [name for name in metrics if name not in found and (_is_energy(name) or name.endswith("_device"))]
    if not counted:
        return found
    here = instruments()
    for name in counted:
        if _is_energy(name) and here.energy_source is None:
            found[name] = f"this machine has no energy counter and no estimate: {here.energy_reason}"
        elif name.endswith("_device") and (not here.device_memory or scenario.measure.device == "cpu"):
            found[name] = "the model runs on the processor" if here.device_memory else "there is no CUDA device"
    return found


def check_budget(scenario: Scenario, seconds: float, what: str = "the baseline, its training included") -> None:
    """Refuse a budget that is over before the first trial is done.

    Args:
        scenario: What is asked for.
        seconds: What one trial is expected to take.
        what: What that trial is, for people.

    Raises:
        SettingError: Saying how much is needed.
    """
    if scenario.budget_seconds >= seconds:
        return
    needed = _needed(seconds)
    where = scenario.where("budget")
    given = f"{duration_text(scenario.budget_seconds)}, and {what} takes about {needed}"
    raise SettingError(
        "The budget is enough for one trial.",
        given=f"{where}: {given}" if where else given,
        mend=f"Give it {needed} or more, train on fewer rows or for fewer minutes, or name a trained bundle.",
    )


def _by_task(scenario: Scenario, metric: str) -> str | None:
    work = scenario.workload.name
    reasons: Mapping[str, bool] = {
        "a search does not run tasks of lm-evaluation-harness": "/" in metric,
        "it is a metric of classifiers": metric in _OF_CLASSIFIERS and scenario.task != "classification",
        "it is a metric of language models": metric in _OF_LANGUAGE and scenario.task != "causal-lm",
        f"the workload {work} writes no tokens": metric in _OF_WRITING and work != "generate",
        f"the workload {work} keeps no cache": metric in _OF_CACHES and work == "classify",
        f"the scenario has no price of an hour of '{scenario.measure.device}'": metric == "cost_per_million_tokens"
        and scenario.price_table.hour(scenario.measure.device) is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _is_energy(metric: str) -> bool:
    return metric.startswith("energy_") or metric == "power_mean"


def _others(scenario: Scenario, metric: str, lost: Mapping[str, str]) -> str:
    kind = metric.partition("_")[0]
    known = [name for name in METRICS if name not in lost and _by_task(scenario, name) is None and not _is_energy(name)]
    alike = [name for name in known if name.startswith(kind) and not name.endswith("_device")]
    return suggest(metric, alike or [name for name in known if not name.endswith("_device")])


def _needed(seconds: float) -> str:
    """Return a duration that is no shorter, in whole seconds or minutes."""
    return duration_text(math.ceil(seconds) if seconds < 120 else 60 * math.ceil(seconds / 60))
