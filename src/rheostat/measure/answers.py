"""What a model answers, as plain data: answers of two processes can be laid side by side, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.text import Split
from rheostat.measure.continuing import continuation_logits, turned
from rheostat.measure.encoding import batches

__all__ = ["Answers", "answers_of_classifier", "answers_of_language_model"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answered, in the order of the rows it was asked.

    Attributes:
        guesses: For each row what was found likeliest: of a classifier one class, of a language model one token at each
            position of the continuation.
        confidences: The probability of a classifier's guess, in [0, 1], for each row; empty for a language model.
        losses: Mean negative log-likelihood of a token of the continuation, in nats, for each row; empty for a
            classifier.

    Raises:
        MeasurementError: If there are no rows, or the columns differ in length, or a number is not finite.
    """

    guesses: tuple[tuple[int, ...], ...]
    confidences: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        columns = [column for column in (self.confidences, self.losses) if column]
        if not self.guesses or any(len(column) != len(self.guesses) for column in columns):
            raise MeasurementError(
                "Answers have a row or more, and every column one entry a row.",
                given=f"{len(self.guesses)} guesses, {len(self.confidences)} confidences, {len(self.losses)} losses",
            )
        strange = sum(not math.isfinite(number) for column in columns for number in column)
        if strange:
            raise MeasurementError(
                "A model answers with finite numbers.",
                given=f"{strange} of {len(self)} rows without",
                mend="Use a precision with a wider range: bf16 instead of fp16, for instance.",
            )

    def __len__(self) -> int:
        return len(self.guesses)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        return {
            "guesses": [list(row) for row in self.guesses],
            "confidences": list(self.confidences),
            "losses": list(self.losses),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answers:
        """Return what `to_json` made data of.

        Raises:
            MeasurementError: If it is not that.

        Example:
            >>> answers = Answers(((1,), (0,)), confidences=(0.9, 0.6))
            >>> Answers.from_json(answers.to_json()) == answers
            True
        """
        try:
            return cls(
                tuple(tuple(int(guess) for guess in row) for row in data["guesses"]),
                tuple(float(number) for number in data["confidences"]),
                tuple(float(number) for number in data["losses"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(
                "Answers hold guesses, confidences and losses.", given=f"{type(error).__name__}: {error}"
            ) from error


def answers_of_classifier(
    subject: Any, split: Split, settings: Mapping[str, float] | None = None, *, batch_size: int = 16
) -> Answers:
    """Let a classifier name the class of each text.

    Args:
        subject: A bundle, or a `rheostat.measure.continuing.Subject`: ``model``, ``tokenizer``, ``handle`` and
            ``max_length`` are used.
        split: The texts; labels are not looked at.
        settings: Dials to turn; those left out stay as they are.
        batch_size: Rows of a batch.

    Returns:
        For each row its class and the probability of that class.

    Raises:
        MeasurementError: If the split is empty, or a probability is not a number.
        SettingError: If nobody knows a dial, or a value is out of range.
    """
    if not len(split):
        raise MeasurementError("Judging a classifier needs a text.", given="0 rows")
    guesses, confidences = [0] * len(split), [0.0] * len(split)
    with torch.inference_mode(), turned(subject, settings):
        for rows, inputs in batches(subject, split, batch_size):
            likeliest = subject.model(**inputs).logits.float().softmax(-1).max(-1)
            for row, guess, share in zip(rows, likeliest.indices.tolist(), likeliest.values.tolist(), strict=True):
                guesses[row], confidences[row] = guess, share
    return Answers(tuple((guess,) for guess in guesses), confidences=tuple(confidences))


def answers_of_language_model(
    subject: Any,
    windows: torch.Tensor,
    prompt: int,
    settings: Mapping[str, float] | None = None,
    *,
    batch_size: int = 4,
) -> Answers:
    """Let a language model read prompts under its dials, and say how likely it finds what really follows.

    The prompt fills the key-value cache under the dials; the continuation is read on that cache at neutral, as in
    generation, where no state of a new token is dropped.

    Args:
        subject: A bundle, or a `rheostat.measure.continuing.Subject`: ``model`` and ``handle`` are used.
        windows: Token ids, int64 ``[windows, prompt + continuation]``, see `rheostat.measure.encoding.windows`.
        prompt: Tokens of each prompt; the rest, at least one, is the continuation.
        settings: Dials to turn for the prompt.
        batch_size: Windows at a time.

    Returns:
        For each window its loss, and the likeliest token at each position of the continuation.

    Raises:
        MeasurementError: If there is no window, prompt or continuation, or a loss is not a number.
        SettingError: If nobody knows a dial, or a value is out of range.
    """
    if windows.ndim != 2 or not 0 < prompt < windows.shape[1] or not len(windows):
        raise MeasurementError(
            "Each window is a prompt and what follows, both at least a token.",
            given=f"windows {tuple(windows.shape)}, prompt {prompt}",
        )
    losses: list[float] = []
    guesses: list[list[int]] = []
    for batch in torch.split(windows, batch_size):
        read, follows = batch[:, :prompt], batch[:, prompt:]
        logits = continuation_logits(subject, read, follows, settings)
        loss = torch.nn.functional.cross_entropy(
            logits.float().transpose(1, 2), follows.to(logits.device), reduction="none"
        )
        losses += loss.mean(1).tolist()
        guesses += logits.argmax(-1).tolist()
    return Answers(tuple(tuple(row) for row in guesses), losses=tuple(losses))
