"""What a technique promises that lets rows leave early, beside what `rheostat.testing.promises` looks at."""

from __future__ import annotations

import torch

from rheostat.techniques import Depth, attach
from rheostat.testing.looking import Subject, is_close, output_of, padded, texts_of

__all__ = ["look_at_depths", "look_at_leaving_rows"]


def look_at_leaving_rows(subject: Subject) -> str | None:
    """A row's answer, and how deep it goes, depend on that row alone."""
    model = subject.precise_model()
    texts = texts_of(model)
    handle = attach(model, subject.technique)
    for settings in (subject.middle(), *subject.extremes()):
        with torch.no_grad(), handle.at(**settings):
            together, survivors = output_of(model, padded(texts, "right")), handle.survivors()
            for row, text in enumerate(texts):
                expected = output_of(model, padded([text], "right"))[0]
                found = [block[row] for block in survivors if block[row]]
                if found != [block[0] for block in handle.survivors()]:
                    return f"at {settings}, row {row} goes another way than alone"
                if not is_close(together[row], expected):
                    return f"at {settings}, row {row} has another answer than alone"
    return None


def look_at_depths(subject: Subject) -> str | None:
    """A row's answer is that of the model of its depth."""
    model = subject.precise_model()
    inputs = padded(texts_of(model), "right")
    handle = attach(model, subject.technique, Depth())
    for settings in (subject.middle(), *subject.extremes()):
        with torch.no_grad(), handle.at(**settings):
            found, survivors = output_of(model, inputs), handle.survivors()
        for row in range(len(found)):
            depth = sum(bool(block[row]) for block in survivors)
            with torch.no_grad(), handle.at(depth=depth):
                expected = output_of(model, inputs)[row]
            if not is_close(found[row], expected):
                return f"at {settings}, row {row} has another answer than the first {depth} blocks give"
    return None
