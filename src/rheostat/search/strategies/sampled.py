"""A sampler of Optuna behind the interface of strategies: in memory, one thread, a fixed seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rheostat.core.extras import require
from rheostat.core.knob import Value
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.memory import Memory
from rheostat.search.strategies.strategy import Configuration, Hints, Outcome

__all__ = ["SampledStrategy"]

_TRIES: Final = 20
"""So often a sampler is asked again for what may run and is new; then chance decides."""

_LIMITS: Final = "limits"


class SampledStrategy:
    """Asks a sampler of Optuna.

    A configuration that was measured before is answered from memory, at no price, and the sampler asked again; one in
    conflict is told as failed. After 20 such tries a configuration is drawn at random. Axes that mean nothing in a
    configuration are not suggested. Limits are told as one constraint, their excess.

    Args:
        space: What it may propose.
        objectives: How many there are, from 1.
        seed: Of the draws.
        hints: Only the guesses are used.
        make: Returns the sampler, given the module and a seed.

    Raises:
        RheostatError: If Optuna is not installed.
    """

    def __init__(
        self, space: Space, objectives: int, *, seed: int, hints: Hints, make: Callable[[Any, int], Any]
    ) -> None:
        self._optuna = require("optuna", extra="search")
        self._memory = Memory(space, hints.guesses, seed=seed)
        with _quiet(self._optuna.logging):
            self._study = self._optuna.study.create_study(
                storage=self._optuna.storages.InMemoryStorage(),
                sampler=make(self._optuna, seed),
                study_name="search",
                directions=["minimize"] * objectives,
            )
        self._waiting: dict[str, Any] = {}
        self._told: dict[str, Outcome] = {}

    def ask(self, count: int) -> list[dict[str, Value]]:
        """Return what to measure next; see `Strategy.ask`."""
        found = (self._memory.guess() or self._sampled() or self._memory.draw() for _ in range(count))
        return [one for one in found if one is not None]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Tell the sampler, also what it did not ask for. What was measured only in part is not told."""
        space = self._memory.space
        self._memory.tell(outcomes)
        for outcome in self._memory.outcomes[-len(outcomes) :] if outcomes else ():
            if outcome.fidelity < 1.0 and outcome.values is not None:
                continue
            key = space.key(outcome.configuration)
            trial = self._waiting.pop(key, None) or self._stranger(outcome.configuration)
            self._told[key] = outcome
            self._finish(trial, outcome)

    def _sampled(self) -> dict[str, Value] | None:
        space = self._memory.space
        for _ in range(0 if self._memory.exhausted else _TRIES):
            trial = self._study.ask()
            found = _suggested(trial, space)
            if self._memory.fresh(found):
                self._waiting[space.key(found)] = trial
                return self._memory.ask(found)
            self._finish(trial, self._told.get(space.key(found), Outcome(found, None)))
        return None

    def _stranger(self, configuration: Configuration) -> Any:
        """Return a trial for a configuration that the sampler did not suggest."""
        fixed = {
            axis.name: axis.values.index(configuration[axis.name])
            for axis in self._memory.space.axes
            if axis.name in configuration
        }
        self._study.enqueue_trial(fixed)
        trial = self._study.ask()
        _suggested(trial, self._memory.space)
        return trial

    def _finish(self, trial: Any, outcome: Outcome) -> None:
        if outcome.values is None:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            return
        trial.set_constraint(_LIMITS, outcome.excess)
        self._study.tell(trial, list(outcome.values))


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep Optuna from announcing a study on standard error."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _suggested(trial: Any, space: Space) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for axis in space.axes:
        if all(name in found and found[name] in values for name, values in axis.when):
            found[axis.name] = axis.values[_index(trial, axis)]
    return found


def _index(trial: Any, axis: Axis) -> int:
    """Return which value the sampler suggests: a whole number where neighbours are similar, else a category."""
    if axis.ordered:
        return int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))
    return int(trial.suggest_categorical(axis.name, range(len(axis.values))))
