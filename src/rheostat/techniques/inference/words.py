"""The words dial: what a text's words say about its label by themselves is heard beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import nn

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.space import Exclusion
from rheostat.models.words import word_logits, words_of
from rheostat.techniques.contract import Adding, Restriction, Target

__all__ = ["Words"]


@final
@dataclass(frozen=True, slots=True)
class Words(Adding):
    """Add to a classifier's logits those of a linear model of the text's words, times the dial's value.

    At 1 the logarithms of both models' probabilities add up, as those of two witnesses who do not know of each other.
    The words are all of the text's, also those that the token dial drops; hearing them takes next to no time.
    What a fine-tuned model and a linear one get wrong is not the same, so that both are right more often than either;
    which one may be nothing where words tell nothing, as in pairs of texts.

    Needs a table of words on the model, which a training for classification makes (`rheostat.train.words`).

    Source: products of experts, https://www.cs.toronto.edu/~fritz/absps/tr00-004.pdf, and wide & deep learning,
    https://arxiv.org/abs/1606.07792. Deviations: nothing is trained together; the weight is a dial.

    Example:
        >>> handle = attach(model, "tokens", "words")  # doctest: +SKIP
        >>> handle.set(tokens=0.2, words=1)  # doctest: +SKIP
    """

    name: ClassVar[str] = "words"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "a linear model of all of the text's words is heard beside the model"
    dials: ClassVar[tuple[Dial, ...]] = (
        Dial("words", "how often the words' own answer counts", 0.0, 4.0, neutral=0.0, moves="request"),
    )

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Return that it is for classifiers, with a table."""
        if target.task != "classification":
            return (Exclusion("words", None, "words say something about labels, and a language model has none"),)
        if not target.words:
            return (Exclusion("words", None, "what words say is known from train texts, and none are there"),)
        return ()

    def added(self, settings: Mapping[str, float], model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return the words' logits, times the dial's value.

        Raises:
            SettingError: If the model has no table of words, or gets no token ids.
        """
        ids, mask, table = inputs.get("input_ids"), inputs.get("attention_mask"), words_of(model)
        if ids is None or table is None:
            raise SettingError(
                "What words say is known for token ids, from a table that a training for classification makes.",
                given="inputs_embeds" if ids is None else "a model without such a table",
                mend="Pass input_ids." if ids is None else "Fine-tune it, or leave the dial words at 0.",
            )
        real = mask.bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None
        return settings["words"] * word_logits(table, ids, real)
