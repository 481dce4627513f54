"""How good a bundle is at a setting of its dials, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.text import Split
from rheostat.measure.encoding import batches
from rheostat.measure.intervals import bootstrap_interval, wilson_interval

__all__ = ["Quality", "classification_quality", "continuations", "language_quality", "macro_f1"]


@dataclass(frozen=True, slots=True)
class Quality:
    """Metrics of one setting.

    Attributes:
        values: Metric name to value.
        intervals: Metric name to its 95 % interval.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Continuations:
    """What a language model made of the same continuations.

    Attributes:
        losses: Mean negative log-likelihood of a token, in nats, for each window.
        guesses: The likeliest token at each position, int64 ``[windows, continuation]``, on the CPU.
    """

    losses: tuple[float, ...]
    guesses: torch.Tensor


def classification_quality(
    bundle: Any, split: Split, settings: Mapping[str, float] | None = None, *, batch_size: int = 16
) -> Quality:
    """Measure accuracy and macro F1 of a classifier.

    Args:
        bundle: Its ``model``, ``tokenizer``, ``handle`` and ``max_length`` are used.
        split: Texts with labels that index the model's outputs.
        settings: Dials to turn; those left out stay as they are.
        batch_size: Rows of a batch.

    Returns:
        ``accuracy`` with its Wilson interval and ``f1``, the mean over classes, with a bootstrap interval
        over rows.

    Raises:
        MeasurementError: If the split is empty or has no labels.
    """
    if not split.labels:
        raise MeasurementError("Measuring a classifier needs labelled rows.", given=f"{len(split)} rows")
    guesses = [0] * len(split)
    with torch.inference_mode(), bundle.handle.at(**(settings or {})):
        for rows, inputs in batches(bundle, split, batch_size):
            for row, guess in zip(rows, bundle.model(**inputs).logits.argmax(-1).tolist(), strict=True):
                guesses[row] = guess
    outcomes = list(zip(split.labels, guesses, strict=True))
    right = sum(truth == guess for truth, guess in outcomes)
    values = {"accuracy": right / len(outcomes), "f1": macro_f1(outcomes)}
    return Quality(
        values,
        {
            "accuracy": wilson_interval(right, len(outcomes)),
            "f1": bootstrap_interval(outcomes, macro_f1, draws=200),
        },
    )


def macro_f1(outcomes: Sequence[tuple[int, int]]) -> float:
    """Return the mean F1 over the classes that occur as truth or guess, from ``(truth, guess)`` pairs.

    Example:
        >>> macro_f1([(0, 0), (0, 1), (1, 1)])
        0.6666666666666666
    """
    classes = {label for outcome in outcomes for label in outcome}
    right, truths, guesses = (dict.fromkeys(classes, 0) for _ in range(3))
    for truth, guess in outcomes:
        truths[truth] += 1
        guesses[guess] += 1
        right[truth] += truth == guess
    return math.fsum(2 * right[label] / (truths[label] + guesses[label]) for label in classes) / len(classes)


def continuations(
    bundle: Any,
    windows: torch.Tensor,
    prompt: int,
    settings: Mapping[str, float] | None = None,
    *,
    batch_size: int = 4,
) -> Continuations:
    """Let a language model read prompts under its dials, and say how likely it finds what really follows.

    The prompt fills the key-value cache under the dials; the continuation is read on that cache at neutral,
    as in generation, where no state of a new token is dropped.

    Args:
        bundle: Its ``model`` and ``handle`` are used.
        windows: Token ids, int64 ``[windows, prompt + continuation]``, see
            `rheostat.measure.encoding.windows`.
        prompt: Tokens of each prompt; the rest, at least one, is the continuation.
        settings: Dials to turn for the prompt.
        batch_size: Windows at a time.

    Raises:
        MeasurementError: If there is no window, prompt or continuation.
    """
    if windows.ndim != 2 or not 0 < prompt < windows.shape[1] or not len(windows):
        raise MeasurementError(
            "Each window is a prompt and what follows, both at least a token.",
            given=f"windows {tuple(windows.shape)}, prompt {prompt}",
        )
    losses, guesses = [], []
    for batch in torch.split(windows, batch_size):
        logits = _logits_of_continuation(bundle, batch, prompt, settings or {})
        loss = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), batch[:, prompt:].to(logits.device), reduction="none"
        )
        losses += loss.mean(1).tolist()
        guesses.append(logits.argmax(-1).cpu())
    return Continuations(tuple(losses), torch.cat(guesses))


def language_quality(found: Continuations, plain: Continuations) -> Quality:
    """Return the perplexity of the continuations, and how often the likeliest token is the plain model's.

    Args:
        found: At the setting.
        plain: Of the plain model, on the same windows.

    Returns:
        ``perplexity``, at least 1, and ``agreement`` in [0, 1], with bootstrap intervals over windows.
    """
    same = (found.guesses == plain.guesses).float().mean(1).tolist()
    return Quality(
        {"perplexity": _perplexity(found.losses), "agreement": _mean(same)},
        {
            "perplexity": bootstrap_interval(found.losses, _perplexity),
            "agreement": bootstrap_interval(same, _mean),
        },
    )


def _logits_of_continuation(
    bundle: Any, batch: torch.Tensor, prompt: int, settings: Mapping[str, float]
) -> torch.Tensor:
    """Return the logits for each token of the continuation, ``[batch, continuation, vocabulary]``."""
    with torch.inference_mode():
        with bundle.handle.at(**settings):
            read = bundle.model(batch[:, :prompt], use_cache=True, logits_to_keep=1)
        if batch.shape[1] == prompt + 1:
            return read.logits  # type: ignore[no-any-return]
        with bundle.handle.at(**bundle.handle.technique.neutral()):
            more = bundle.model(batch[:, prompt:-1], past_key_values=read.past_key_values, use_cache=True)
    return torch.cat([read.logits, more.logits], dim=1)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _perplexity(losses: Sequence[float]) -> float:
    # A hopeless model's loss would overflow; no table needs more digits than this.
    return math.exp(min(_mean(losses), 100.0))
