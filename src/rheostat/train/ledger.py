"""Losses of the training steps, by where the dial stood: one sees at which settings a model suffers."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Any, Final, final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from rheostat.train.together import mean_over_processes

__all__ = ["EDGES", "LossLedger", "Remembering", "region"]

EDGES: Final = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Where the regions of keep rates end; the last one includes 1."""

_MEMORY: Final = 0.95
"""What a step of a region adds to its running mean is multiplied by this at each of its later steps."""


class Remembering(TrainerCallback, ExportableState):
    """A callback with a memory that goes into checkpoints, so that a resumed run goes on with it.

    Attributes:
        memory: JSON values only.
    """

    memory: dict[str, Any]

    @abstractmethod
    def fresh(self) -> dict[str, Any]:
        """Return the memory at the start of a run."""

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into a checkpoint."""
        return {"args": {}, "attributes": {"memory": self.memory}}

    def recall(self, state: TrainerState) -> None:
        """Take up the memory that came with a checkpoint, or start afresh."""
        all_kept: Any = state.stateful_callbacks
        kept = all_kept.get(type(self).__name__) if state.global_step else None
        self.memory = self.fresh() if kept is None else kept["attributes"]["memory"]


def region(rate: float) -> str:
    """Return the name of the region that a keep rate is in.

    Example:
        >>> region(0.1), region(1.0)
        ('0.1-0.3', '0.6-1')
    """
    inside = [(low, high) for low, high in pairwise(EDGES) if low <= rate]
    return "{:g}-{:g}".format(*inside[-1])


@final
class LossLedger(Remembering):
    """Keeps the loss since the last entry of the log, and a running mean for each region of keep rates.

    The Trainer's own mean starts anew in a resumed run; this one goes on, so that both runs log the same.
    """

    def __init__(self) -> None:
        self.memory = self.fresh()
        self._step: dict[str, list[float]] = {}

    def fresh(self) -> dict[str, Any]:
        """Return a ledger without entries."""
        return {"since": [0.0, 0.0], "regions": {}}

    def add(self, rate: float, loss: float, share: float = 1.0) -> None:
        """Add a loss to the current step.

        Args:
            rate: The keep rate that it was computed at, in (0, 1].
            loss: In nats.
            share: Which part of the step's rows it is a mean over, times the number of processes.
        """
        sums = self._step.setdefault(region(rate), [0.0, 0.0])
        sums[0] += loss * share
        sums[1] += share

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on with the ledger of the checkpoint, if there is one."""
        self.recall(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the entries of a step."""
        self._step = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Enter the losses of the step, over all processes."""
        since = self.memory["since"]
        for name in sorted(self._step):
            loss, share = mean_over_processes(self._step[name])
            since[0], since[1] = since[0] + loss, since[1] + share
            total, weight, steps = self.memory["regions"].get(name, (0.0, 0.0, 0))
            fresh = (1 - _MEMORY) * loss / share
            self.memory["regions"][name] = [_MEMORY * total + fresh, _MEMORY * weight + 1 - _MEMORY, steps + 1]

    def take(self) -> dict[str, float]:
        """Return what goes into the log, and start a new mean: ``loss``, and ``loss_at_`` each region seen so far."""
        loss, share = self.memory["since"]
        self.memory["since"] = [0.0, 0.0]
        means = {f"loss_at_{name}": values["loss"] for name, values in self.by_region().items()}
        return {"loss": loss / share, **means} if share else means

    def by_region(self) -> dict[str, dict[str, float]]:
        """Return, for each region seen, the running mean ``loss`` (of its last 20 steps or so) and its ``steps``."""
        regions = self.memory["regions"]
        return {
            name: {"loss": total / weight, "steps": steps}
            for name, (total, weight, steps) in sorted(regions.items(), key=lambda item: item[0])
        }
