"""What a calibration runs: the same forwards at every setting, and the quality that goes with them."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import torch

from rheostat.core.errors import SettingError
from rheostat.core.text import Split
from rheostat.measure.encoding import batches, windows
from rheostat.measure.macs import Macs, batch_macs
from rheostat.measure.model_cost import cost_of, forward_macs
from rheostat.measure.quality import (
    Continuations,
    Quality,
    classification_quality,
    continuations,
    language_quality,
)

if TYPE_CHECKING:
    from rheostat.techniques import Handle

__all__ = ["Classification", "Prompts", "Workload", "sample"]


class Workload(ABC):
    """The same work for every setting of the dials.

    Args:
        bundle: Its ``model``, ``tokenizer``, ``handle`` and ``max_length`` are used.
        batches: The model's inputs, batch by batch, that are timed and counted.
    """

    def __init__(self, bundle: Any, batches: list[dict[str, Any]]) -> None:
        self.bundle, self._batches = bundle, batches
        self._cost = cost_of(bundle.model)
        self._plain_macs: int | None = None

    @abstractmethod
    def quality(self, settings: Mapping[str, float]) -> Quality:
        """Measure quality at a setting."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what was run, for the profile."""

    def run(self, settings: Mapping[str, float]) -> None:
        """Run every batch once at a setting."""
        with torch.inference_mode(), self.bundle.handle.at(**settings):
            for inputs in self._batches:
                self.bundle.model(**inputs)

    def macs_ratio(self, settings: Mapping[str, float]) -> float:
        """Return the plain model's counted multiply-accumulates / those of a forward at this setting."""
        handle = self.bundle.handle
        if _is_neutral(handle, settings):
            return 1.0
        if self._plain_macs is None:
            plain = (batch_macs(self._cost, _lengths(inputs), []) for inputs in self._batches)
            self._plain_macs = sum(plain, Macs()).total
        pruned = Macs()
        with torch.inference_mode(), handle.at(**settings):
            for inputs in self._batches:
                self.bundle.model(**inputs)
                pruned += forward_macs(self._cost, _lengths(inputs), handle)
        return self._plain_macs / pruned.total


@final
class Classification(Workload):
    """Whole forwards of a classifier over real texts, and its accuracy.

    Args:
        bundle: A bundle for classification.
        split: Labelled rows to judge quality on.
        timed: How many of them are timed.
        batch_size: Rows of a batch.
        seed: Which rows are timed.
    """

    def __init__(self, bundle: Any, split: Split, *, timed: int, batch_size: int, seed: int = 0) -> None:
        chosen = sample(split, timed, seed)
        super().__init__(bundle, [inputs for _, inputs in batches(bundle, chosen, batch_size)])
        self._split, self._batch_size = split, batch_size

    def quality(self, settings: Mapping[str, float]) -> Quality:
        """Measure accuracy and macro F1."""
        return classification_quality(self.bundle, self._split, settings, batch_size=self._batch_size)

    def describe(self) -> dict[str, Any]:
        """Return what was run."""
        lengths = [length for inputs in self._batches for length in _lengths(inputs)]
        return {
            "timed": "forward",
            "timed_rows": len(lengths),
            "timed_tokens": sum(lengths),
            "quality_rows": len(self._split),
        }


@final
class Prompts(Workload):
    """Prompts up to the first token of a language model, and how well it goes on.

    Args:
        bundle: A bundle for causal-lm.
        split: Running texts.
        lengths: Tokens of a prompt, and of the continuation that quality is judged on.
        count: Windows to judge quality on, and how many of them are timed.
        batch_size: Prompts of a batch.
    """

    def __init__(
        self, bundle: Any, split: Split, *, lengths: tuple[int, int], count: tuple[int, int], batch_size: int
    ) -> None:
        self._prompt, continuation = lengths
        if self._prompt < 1 or continuation < 1:
            raise SettingError(
                "A prompt and its continuation have a token or more each.",
                given=f"{self._prompt} and {continuation} tokens",
                mend="Ask for a shorter continuation, or a longer prompt.",
            )
        self._windows = windows(bundle, split, self._prompt + continuation, count[0])
        prompts = torch.split(self._windows[: count[1], : self._prompt], batch_size)
        wanted = {"use_cache": True, "logits_to_keep": 1}
        super().__init__(bundle, [{"input_ids": ids, **wanted} for ids in prompts])
        self._batch_size = batch_size
        self._plain: Continuations | None = None

    def quality(self, settings: Mapping[str, float]) -> Quality:
        """Measure perplexity and agreement with the plain model."""
        if self._plain is None:
            self._plain = self._read(self.bundle.handle.neutral())
        neutral = _is_neutral(self.bundle.handle, settings)
        return language_quality(self._plain if neutral else self._read(settings), self._plain)

    def describe(self) -> dict[str, Any]:
        """Return what was run."""
        timed = sum(inputs["input_ids"].shape[0] for inputs in self._batches)
        return {
            "timed": "prompt up to the first token, cache kept",
            "timed_rows": timed,
            "timed_tokens": timed * self._prompt,
            "prompt_tokens": self._prompt,
            "continuation_tokens": self._windows.shape[1] - self._prompt,
            "quality_rows": len(self._windows),
        }

    def _read(self, settings: Mapping[str, float]) -> Continuations:
        return continuations(self.bundle, self._windows, self._prompt, settings, batch_size=self._batch_size)


def sample(split: Split, count: int | None, seed: int = 0) -> Split:
    """Return ``count`` rows of a split in their order, chosen by a seed; all where there are no more."""
    if count is None or count >= len(split):
        return split
    return split.take(sorted(random.Random(seed).sample(range(len(split)), count)))


def _is_neutral(handle: Handle, settings: Mapping[str, float]) -> bool:
    neutral = handle.neutral()
    return {**neutral, **settings} == neutral


def _lengths(inputs: Mapping[str, Any]) -> list[int]:
    mask = inputs.get("attention_mask")
    if isinstance(mask, torch.Tensor):
        return [int(length) for length in mask.sum(1).tolist()]
    rows, columns = inputs["input_ids"].shape
    return [columns] * rows
