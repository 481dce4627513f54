"""What the checks of techniques share: what is checked, the texts it runs on, and ways to look at a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rheostat.core.dial import Dial
from rheostat.models.families import locate
from rheostat.techniques import Adding, Handle, Leaving, Rereading, Shortening, Technique
from rheostat.testing.reference import Score

__all__ = [
    "LENGTHS",
    "NEW_TOKENS",
    "TOLERANCE",
    "Subject",
    "anatomy_of",
    "between",
    "decoded",
    "ends_of",
    "is_close",
    "output_at",
    "output_of",
    "padded",
    "same_objects",
    "texts_of",
    "weights_of",
]

LENGTHS = (21, 13, 6)
"""Tokens of the three texts that checks run on."""

TOLERANCE = 1e-4
"""Relative difference that arithmetic in another order makes in float32."""

NEW_TOKENS = 5
"""Tokens that generation makes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        technique: The technique.
        make_model: Returns a new model at each call, always the same one, small, in eval mode and float32. Its first
            output is one vector a position: hidden states, or the logits of a language model; language models are
            also checked for generation. For a technique that lets rows leave, reads them again or adds to logits, it is
            a classifier, with one vector a row. `rheostat.testing.tiny_model` makes such models.
        score: How the slow reference scores a key, for a technique that drops states by attention; None leaves the
            comparison with `rheostat.testing.masked_reference` out.
    """

    technique: Technique
    make_model: Callable[[], Any]
    score: Score | None = None

    @property
    def dials(self) -> tuple[Dial, ...]:
        """The technique's dials, their ranges bound to the model."""
        dials = self.technique.dials
        if all(dial.is_bound for dial in dials):
            return dials
        blocks = len(locate(self.make_model()).blocks)
        return tuple(dial.bound(blocks) for dial in dials)

    def precise_model(self) -> Any:
        """Return a new model in float64; in float32 where its own attention knows no more.

        Gemma 2's eager attention casts masked scores, float64's least number, to float32: NaN. Token pruning replaces
        that attention; depth, exits and cascades do not.
        """
        model = self.make_model().double()
        if not isinstance(self.technique, Shortening | Leaving | Rereading | Adding):
            return model
        with torch.no_grad():
            finite = bool(torch.isfinite(output_of(model, padded(texts_of(model), "right"))).all())
        return model if finite else self.make_model()

    def real(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return which vectors of the first output are those of texts, not of padding: a bool mask for it."""
        mask = inputs["attention_mask"].bool()
        return mask.any(1) if isinstance(self.technique, Leaving | Rereading | Adding) else mask

    def middle(self) -> dict[str, Any]:
        """Return settings at which the technique acts: every dial 40 % of the way from neutral to an end."""
        return {dial.name: between(dial, 0.4, ends_of(dial)[0]) for dial in self.dials}

    def extremes(self) -> Iterator[dict[str, Any]]:
        """Yield settings with one dial at one end of its range."""
        for dial in self.dials:
            for end in ends_of(dial):
                yield {dial.name: end}


def between(dial: Dial, share: float, end: float) -> float:
    """Return the value a share of the way from neutral to an end, in whole steps where the dial has such."""
    value = dial.neutral + share * (end - dial.neutral)
    return float(round(value)) if dial.whole else value


def ends_of(dial: Dial) -> list[float]:
    """Return the ends of a dial's range, neutral left out; an open end is approached to a thousandth."""
    low = dial.low + (dial.high - dial.low) / 1000 if dial.open_low else dial.low
    return [end for end in (low, dial.high) if end != dial.neutral]


def texts_of(model: Any) -> list[torch.Tensor]:
    """Return the three texts."""
    generator = torch.Generator().manual_seed(3)
    vocabulary = model.get_input_embeddings().num_embeddings
    return [torch.randint(3, vocabulary, (length,), generator=generator) for length in LENGTHS]


def padded(texts: list[torch.Tensor], side: str) -> dict[str, torch.Tensor]:
    """Return texts as one batch, padded on a side."""
    width = max(len(text) for text in texts)
    ids = torch.zeros((len(texts), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        at = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[row, at], mask[row, at] = text, 1
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def output_of(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the first output; positions are counted by the model where it does not take them."""
    taken = inspect.signature(model.forward).parameters
    if "position_ids" not in taken and all(each.kind is not each.VAR_KEYWORD for each in taken.values()):
        inputs = {name: value for name, value in inputs.items() if name != "position_ids"}
    output: torch.Tensor = model(**inputs)[0]
    return output


def output_at(model: Any, handle: Handle, settings: dict[str, Any], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the first output at these dial settings."""
    with handle.at(**settings):
        return output_of(model, inputs)


def is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether numbers agree as far as arithmetic in float32 goes."""
    return torch.allclose(found, expected.to(found.dtype), atol=TOLERANCE, rtol=TOLERANCE)


def decoded(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the tokens of greedy decoding on the cache, done by hand."""
    tokens: list[torch.Tensor] = []
    output = model(input_ids=ids, use_cache=True)
    while len(tokens) < NEW_TOKENS:
        tokens.append(output.logits[0, -1].argmax())
        output = model(input_ids=tokens[-1].view(1, 1), past_key_values=output.past_key_values, use_cache=True)
    return torch.stack(tokens)


def anatomy_of(model: nn.Module) -> list[tuple[type, dict[str, object]]]:
    """Return each module's class and its attributes, parameters, buffers, children and hooks."""
    parts = []
    for module in model.modules():
        attributes = dict(vars(module))
        tables = {name: table for name, table in attributes.items() if isinstance(table, dict)}
        inner = {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}
        parts.append((type(module), {**attributes, **inner}))
    return parts


def same_objects(before: list[tuple[type, dict[str, object]]], after: list[tuple[type, dict[str, object]]]) -> bool:
    """Whether all are the very same objects."""
    return len(before) == len(after) and all(
        kind is other_kind and parts.keys() == others.keys() and all(parts[name] is others[name] for name in parts)
        for (kind, parts), (other_kind, others) in zip(before, after, strict=True)
    )


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all weights."""
    return {name: value.clone() for name, value in model.state_dict().items()}
