"""What ends a training before its last epoch, in an orderly way: no progress, or no time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rheostat.train.ledger import Remembering
from rheostat.train.settings import FinetuneSettings
from rheostat.train.together import from_main
from rheostat.train.validation import history_of, score_of

__all__ = ["AlreadyEndedError", "Patience", "TimeBudget", "ended_by"]

_FIRST_PLAN: Final = 4
_MOST_OVERRUN: Final = 1.1


class AlreadyEndedError(Exception):
    """The checkpoint that a run was to go on from is its last one."""


def ended_by(state: TrainerState, settings: FinetuneSettings) -> str | None:
    """Say what ended a run before the last of its epochs; None where nothing did."""
    if state.epoch is None or state.epoch >= settings.epochs - 1e-6:
        return None
    if settings.patience is not None and Patience(settings.patience, settings.task).lost(state):
        return f"patience: {settings.patience} looks at validation without a better one"
    return f"max_minutes: {state.global_step} steps took {settings.max_minutes:g} minutes"


@final
class Patience(TrainerCallback):
    """Ends training after some looks at the validation split without a better one; it comes behind the validator.

    Args:
        looks: So many in a row, at least 1.
        task: What the model is for, which says what is better.
    """

    def __init__(self, looks: int, task: str) -> None:
        self._looks, self._task = looks, task

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse to go on from where the run has ended.

        Raises:
            AlreadyEndedError: If it has.
        """
        if self.lost(state):
            raise AlreadyEndedError

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End training and ask for a checkpoint, if there was no progress."""
        if self.lost(state):
            control.should_save = control.should_training_stop = True

    on_epoch_end = on_step_end

    def lost(self, state: TrainerState) -> bool:
        """Say whether there was no progress for so long."""
        scores = [score_of(entry, self._task) for entry in history_of(state)]
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= self._looks


@final
class TimeBudget(Remembering):
    """Fits a run into a time: measures its steps, and plans how many there are to be.

    The plan is made after 4 steps and made anew whenever the number of steps has doubled; the learning rate rises and
    falls by it. Steps are what is counted, so that a resumed run goes on by the plan of its checkpoint, and from there
    does what the interrupted run would have done, as far as later plans come out the same. Only the steps' own time
    counts: not that of validation and of writing checkpoints. A run that is a tenth over its time stops at once.

    Args:
        minutes: The time, above 0.
        warmup: Share of the steps in which the learning rate rises.
        clock: Returns seconds.
    """

    def __init__(self, minutes: float, warmup: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget, self._warmup, self._clock = minutes * 60, warmup, clock
        self._began, self._most = 0.0, 0
        self.memory = self.fresh()

    def fresh(self) -> dict[str, Any]:
        """Return the memory of a run without steps."""
        return {"seconds": 0.0, "planned": None}

    def share_of_rate(self, step: int, most: int) -> float:
        """Return the learning rate of a step as a share of the highest: linearly up, then linearly down to 0.

        Args:
            step: The step, from 0.
            most: How many steps the epochs have.
        """
        planned = self.memory["planned"] or most
        warmup = int(self._warmup * planned)
        if step < warmup:
            return step / warmup
        return max(0.0, (planned - step) / max(1, planned - warmup))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the plan of the checkpoint.

        Raises:
            AlreadyEndedError: If there is nothing left to do.
        """
        self.recall(state)
        self._most = state.max_steps
        state.max_steps = self.memory["planned"] or self._most
        if state.global_step >= state.max_steps:
            raise AlreadyEndedError

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._began = self._clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the clock; plan anew where it is time, and end training and ask for a checkpoint where it is over."""
        seconds = from_main(self.memory["seconds"] + self._clock() - self._began)
        self.memory["seconds"] = seconds
        step = state.global_step
        if seconds >= _MOST_OVERRUN * self._budget:
            self.memory["planned"] = step
        elif step >= _FIRST_PLAN and step & (step - 1) == 0:
            fitting = int(step * self._budget / max(seconds, 1e-9))
            self.memory["planned"] = max(step, min(fitting, self._most))
        state.max_steps = self.memory["planned"] or self._most
        if step >= state.max_steps:
            control.should_save = control.should_training_stop = True
