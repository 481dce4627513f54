"""What a technique promises that reads rows a second time, beside what `rheostat.testing.promises` looks at."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rheostat.techniques import Depth, TokenPruning, attach
from rheostat.testing.looking import Subject, between, ends_of, is_close, output_of, padded, texts_of

__all__ = ["look_at_readings", "look_at_reread_rows"]

_TOKENS = 0.4
"""The keep rate of a first reading."""


def look_at_reread_rows(subject: Subject) -> str | None:
    """A row's answer, and whether it is read again, depend on that row alone."""
    model = subject.precise_model()
    texts = texts_of(model)
    handle = attach(model, subject.technique, TokenPruning(), Depth())
    for settings in _settings(subject):
        with torch.no_grad(), handle.at(protect=None, **settings):
            together, survivors = output_of(model, padded(texts, "right")), handle.survivors()
            for row, text in enumerate(texts):
                expected = output_of(model, padded([text], "right"))[0]
                if [block[row] for block in survivors] != [block[0] for block in handle.survivors()]:
                    return f"at {settings}, row {row} goes another way than alone"
                if not is_close(together[row], expected):
                    return f"at {settings}, row {row} has another answer than alone"
    return None


def look_at_readings(subject: Subject) -> str | None:
    """A row that is unsure has the answer of a reading at the other settings, and every other row keeps its first."""
    model = subject.precise_model()
    inputs = padded(texts_of(model), "right")
    handle = attach(model, subject.technique, TokenPruning(), Depth())
    for settings in _settings(subject):
        with torch.no_grad(), handle.at(protect=None, **settings):
            found, again = output_of(model, inputs), handle.again()
            with handle.at(protect=None, **handle.once()):
                first = output_of(model, inputs)
                with handle.at(protect=None, **({} if again is None else again.settings)):
                    second = output_of(model, inputs)
        for row in range(len(found)):
            unsure = again is not None and bool(first[row].softmax(-1).max() < again.below)
            if not is_close(found[row], second[row] if unsure else first[row]):
                return f"at {settings}, row {row} has not the answer of its {'second' if unsure else 'first'} reading"
    return None


def _settings(subject: Subject) -> Iterator[dict[str, float]]:
    """Yield settings of the technique's dials over their whole range, with the first reading cut."""
    for share in (0.0, 0.35, 0.4, 0.5, 0.6, 1.0):
        own = {dial.name: between(dial, share, ends_of(dial)[0]) for dial in subject.dials}
        yield {**own, "tokens": _TOKENS}
        yield {**own, "tokens": _TOKENS, "depth": 2.0}
