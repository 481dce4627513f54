"""The Trainer, so that a step is the same however it is cut into batches and processes."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from rheostat.train.endings import TimeBudget
from rheostat.train.ledger import LossLedger
from rheostat.train.losses import IGNORED

__all__ = ["StepTrainer"]


class StepTrainer(Trainer):
    """The Trainer with its documented extension points filled in for the losses of this package.

    Attributes:
        ledger: Where the losses are entered; its entries replace the Trainer's own in the log.
        budget: What the learning rate follows; None for the schedule of the arguments.
    """

    ledger: LossLedger
    budget: TimeBudget | None = None

    def share_of(self, inputs: Any, items: Any) -> float:
        """Return the weight of a batch's mean loss, so that the step's loss is a mean over all that it learns from.

        Args:
            inputs: The batch, with ``labels``.
            items: What `get_batch_samples` said of the step; None gives every batch the weight 1.

        Returns:
            The batch's part of the step, times the number of processes, over which gradients are averaged.
        """
        return 1.0 if items is None else _items(inputs) * self.accelerator.num_processes / int(items)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """Return the batches of a step, and how many rows or positions they learn from, over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        items = torch.tensor(sum(map(_items, batches)), device=device)
        return batches, self.accelerator.gather(items).sum()

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the learning rate scheduler; with a time budget, one that follows its plan."""
        budget = self.budget
        if budget is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        moved: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(moved, lambda step: budget.share_of_rate(step, num_training_steps))
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write an entry of the log, with the losses of the ledger."""
        super().log({**logs, **self.ledger.take()} if "loss" in logs else logs, start_time)


def _items(batch: Any) -> int:
    # At least 1: a batch whose labels are all ignored has loss 0 and counts as nothing.
    return max(int((batch["labels"] != IGNORED).sum()), 1)
