"""A progress bar with the remaining time; plain lines where there is no terminal."""

from __future__ import annotations

import time
from typing import Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["ShowProgress"]

_SECONDS_BETWEEN_LINES = 30.0


@final
class ShowProgress(TrainerCallback):
    """Shows steps, loss and remaining time on standard error.

    Args:
        console: Where to write; None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._loss = ""
        self._started = self._said = 0.0
        self._first_step = 0

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        self._started = self._said = time.monotonic()
        self._first_step = state.global_step
        if self._console.is_terminal:
            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(
                *columns,
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
                console=self._console,
                transient=True,
            )
            self._bar.add_task("training", total=state.max_steps, completed=state.global_step, loss="")
            self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar, or write a line every half minute."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=state.global_step, total=state.max_steps, loss=self._loss)
        elif time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            self.say(f"step {state.global_step} of {state.max_steps}, {self._loss}, {self._remaining(state)} left")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remember the loss."""
        logs = kwargs.get("logs") or {}
        if "loss" in logs:
            self._loss = f"loss {float(logs['loss']):.3f}"

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also after an error; closing twice does nothing."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _remaining(self, state: TrainerState) -> str:
        done = max(1, state.global_step - self._first_step)
        seconds = (time.monotonic() - self._started) / done * (state.max_steps - state.global_step)
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
