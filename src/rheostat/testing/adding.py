"""What a technique promises that adds to a classifier's logits, beside what `rheostat.testing.promises` looks at."""

from __future__ import annotations

import torch

from rheostat.techniques import Depth, TokenPruning, attach
from rheostat.testing.looking import Subject, is_close, output_of, padded, texts_of

__all__ = ["look_at_added_rows", "look_at_sums"]

_OTHERS: tuple[dict[str, float], ...] = ({}, {"tokens": 0.4}, {"tokens": 0.4, "depth": 2.0})
"""Settings of the dials that come before it."""


def look_at_added_rows(subject: Subject) -> str | None:
    """What is added for a row depends on that row alone, on whichever side it is padded."""
    model = subject.precise_model()
    texts = texts_of(model)
    handle = attach(model, subject.technique)
    for settings in (subject.middle(), *subject.extremes()):
        with torch.no_grad(), handle.at(**settings):
            added = handle.adding()
            if added is None:
                continue
            for side in ("right", "left"):
                together = added(padded(texts, side))
                for row, text in enumerate(texts):
                    if not is_close(together[row], added(padded([text], side))[0]):
                        return f"at {settings}, something else is added for row {row} than alone"
    return None


def look_at_sums(subject: Subject) -> str | None:
    """Logits are those without it and what it adds, whatever else the model wears."""
    model = subject.precise_model()
    inputs = padded(texts_of(model), "right")
    handle = attach(model, subject.technique, TokenPruning(), Depth())
    for settings in (subject.middle(), *subject.extremes()):
        for others in _OTHERS:
            with torch.no_grad(), handle.at(protect=None, **others):
                without = output_of(model, inputs)
                with handle.at(**settings):
                    found, added = output_of(model, inputs), handle.adding()
                expected = without if added is None else without + added(inputs)
            if not is_close(found, expected):
                return f"at {settings} and {others}, logits are not the sum"
    return None
