"""What a fine-tuned model learns from: one loss a way of learning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch.nn.functional import cross_entropy

from rheostat.core.text import Task
from rheostat.techniques import Handle
from rheostat.train.settings import LossOn

__all__ = [
    "AllLoss",
    "ClassificationLoss",
    "ContinuationLoss",
    "Loss",
    "LossValue",
    "SurvivorLoss",
    "make_loss",
]

Batch = Mapping[str, torch.Tensor]
IGNORED = -100
"""The label of a position that nothing is learnt from, as in Transformers."""


@dataclass(frozen=True, slots=True)
class LossValue:
    """The loss of a batch.

    Attributes:
        mean: Cross-entropy in nats, averaged over what was learnt from; a scalar.
        count: How many rows or positions that was; a scalar.
        correct: Of how many of them the most probable answer was right; a scalar.
        logits: What was said, ``[n, classes]``, at rows or positions in reading order.
        targets: What was right, ``[n]``; `IGNORED` where nothing is learnt.
        speaking: Which of all positions of the batch these are, bool ``[positions]``; None for all.
    """

    mean: torch.Tensor
    count: torch.Tensor
    correct: torch.Tensor
    logits: torch.Tensor
    targets: torch.Tensor
    speaking: torch.Tensor | None = None


class Loss(ABC):
    """Runs a model on a batch, at the dial settings in force, and says how wrong it was."""

    @abstractmethod
    def __call__(self, model: Any, batch: Batch) -> LossValue:
        """Return the loss of a batch with ``input_ids``, ``attention_mask`` and ``labels``."""


@final
class ClassificationLoss(Loss):
    """Cross-entropy of the class, averaged over the rows."""

    def __call__(self, model: Any, batch: Batch) -> LossValue:
        """Return the loss of a batch; ``labels`` are class ids ``[batch]``."""
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        return _cross_entropy(model(**inputs).logits, batch["labels"])


@final
class AllLoss(Loss):
    """Next-token cross-entropy at every position, dropped ones included.

    A dropped position speaks with the state it had when it was dropped: this teaches early blocks to
        predict, too.
    """

    def __call__(self, model: Any, batch: Batch) -> LossValue:
        """Return the loss of a batch; ``labels`` are token ids ``[batch, length]``, or `IGNORED`."""
        return _next_token(_logits(model, batch), batch["labels"])


@final
class SurvivorLoss(Loss):
    """Next-token cross-entropy at the positions that went through every block.

    Args:
        handle: The handle of the model, which knows them.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __call__(self, model: Any, batch: Batch) -> LossValue:
        """Return the loss of a batch; ``labels`` as for `AllLoss`. At neutral everybody survives."""
        logits = _logits(model, batch)
        if self._handle.settings == self._handle.neutral():
            return _next_token(logits, batch["labels"])
        survived = torch.zeros(batch["input_ids"].shape, dtype=torch.bool)
        for row, columns in enumerate(self._handle.survivors()[-1]):
            survived[row, columns] = True
        return _next_token(logits, batch["labels"], survived.to(logits.device))


@final
class ContinuationLoss(Loss):
    """Next-token cross-entropy of what follows a prompt that was read under pruning.

    The prompt fills the key-value cache at the dial settings in force; what follows is read at the neutral setting,
    as generated tokens are. So nobody's survival depends on what comes later. Of a chunk of running text, the first
    half is the prompt.

    Args:
        handle: The handle of the model, whose dials are set.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __call__(self, model: Any, batch: Batch) -> LossValue:
        """Return the loss of a batch.

        Args:
            model: The model.
            batch: Prompts in ``input_ids`` and ``attention_mask``, padded on the left, with ``answer_ids`` and
                ``labels`` (`IGNORED` in place of padding), padded on the right; or, without ``answer_ids``, chunks
                with ``labels`` as for `AllLoss` and no padding.
        """
        ids, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
        if "answer_ids" in batch:
            answer = batch["answer_ids"]
        else:
            half = ids.shape[1] // 2
            ids, mask, answer, labels = ids[:, :half], mask[:, :half], ids[:, half:], labels[:, half:]
        # Padding behind an answer counts as real: no token before it sees it.
        whole = torch.cat([mask, mask.new_ones(answer.shape)], dim=1)
        positions = (whole.cumsum(1) - 1).clamp(min=0)
        read, length = {"use_cache": True}, ids.shape[1]
        prompt = model(input_ids=ids, attention_mask=mask, position_ids=positions[:, :length], logits_to_keep=1, **read)
        with self._handle.at(protect=None, **self._handle.neutral()):
            rest = model(
                input_ids=answer,
                attention_mask=whole,
                position_ids=positions[:, length:],
                past_key_values=prompt.past_key_values,
                **read,
            )
        logits = torch.cat([prompt.logits, rest.logits[:, :-1]], dim=1)
        return _cross_entropy(logits.flatten(0, 1), labels.flatten())


def make_loss(task: Task, loss_on: LossOn, handle: Handle) -> Loss:
    """Return the loss for a task and, for causal-lm, for the positions to learn from."""
    if task == "classification":
        return ClassificationLoss()
    if loss_on == "all":
        return AllLoss()
    return SurvivorLoss(handle) if loss_on == "survivors" else ContinuationLoss(handle)


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    # Without use_cache=False every step would fill a key-value cache that nobody reads.
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    logits: torch.Tensor = output.logits
    return logits


def _next_token(logits: torch.Tensor, labels: torch.Tensor, speaking: torch.Tensor | None = None) -> LossValue:
    targets = labels[:, 1:]
    if speaking is None:
        return _cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())
    # Selecting before the cast to float32 keeps the memory of large vocabularies small.
    chosen = speaking[:, :-1]
    return replace(_cross_entropy(logits[:, :-1][chosen], targets[chosen]), speaking=chosen.flatten())


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> LossValue:
    """Return the loss of ``logits [n, classes]`` and ``targets [n]``."""
    count = (targets != IGNORED).sum()
    total = cross_entropy(logits.float(), targets, ignore_index=IGNORED, reduction="sum")
    # A batch with nothing to learn from has loss 0, not 0 / 0.
    correct = (logits.argmax(-1) == targets).sum()
    return LossValue(total / count.clamp(min=1), count, correct, logits, targets)
