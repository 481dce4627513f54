"""Looking whether a technique keeps what `rheostat.testing.conformance` promises: one function a promise.

Each takes a `Subject` and returns what breaks the promise, or None where it holds.
"""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rheostat.core.errors import SettingError
from rheostat.techniques import Cutting, Handle, TokenPruning, attach, technique_from_json, techniques
from rheostat.testing.looking import (
    LENGTHS,
    NEW_TOKENS,
    Subject,
    anatomy_of,
    between,
    decoded,
    ends_of,
    is_close,
    output_at,
    output_of,
    padded,
    same_objects,
    texts_of,
    weights_of,
)
from rheostat.testing.reference import Rule, masked_reference

__all__ = [
    "look_at_cost",
    "look_at_detaching",
    "look_at_dials",
    "look_at_extremes",
    "look_at_generation",
    "look_at_json",
    "look_at_neutral",
    "look_at_nothing_dropped",
    "look_at_reference",
    "look_at_residue",
    "look_at_rows",
    "look_at_saving",
    "look_at_training",
]


def look_at_dials(subject: Subject) -> str | None:
    """Dials have names, a neutral value in their range, and refuse what lies outside it."""
    technique = subject.technique
    names = [dial.name for dial in technique.dials]
    if not names or len(set(names)) < len(names):
        return f"dials named {names}"
    handle = attach(subject.make_model(), technique)
    if handle.neutral() != {dial.name: dial.neutral for dial in subject.dials}:
        return f"neutral() is {handle.neutral()}, which is not what the dials say"
    for dial in handle.dials:
        for value in (dial.neutral, *ends_of(dial)):
            handle.set(**{dial.name: value})
        before = handle.settings
        for value in (dial.low - 1.0, dial.high + 1.0, float("nan"), *([dial.low + 0.5] if dial.whole else [])):
            try:
                handle.set(**{dial.name: value})
            except SettingError:
                continue
            return f"'{dial.name}' took {value}, though it lies in {dial.interval}"
        if handle.settings != before:
            return f"a refused value of '{dial.name}' changed the settings"
    return None


def look_at_json(subject: Subject) -> str | None:
    """A technique comes back from JSON as it was."""
    data = json.loads(json.dumps(subject.technique.to_json()))
    kind = type(subject.technique)
    registered = any(known is kind for known in techniques())
    settings = {name: value for name, value in data.items() if name != "name"}
    back = technique_from_json(data) if registered else kind(**settings)
    return None if back == subject.technique else f"{subject.technique} came back as {back}"


def look_at_neutral(subject: Subject) -> str | None:
    """At neutral the model is the plain one, bit for bit."""
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    for graded in (True, False):
        with torch.set_grad_enabled(graded):
            plain = output_of(model, inputs)
            handle = attach(model, subject.technique)
            if not torch.equal(output_of(model, inputs), plain):
                return "another output as soon as the technique was attached"
            for settings in (*subject.extremes(), subject.middle()):
                handle.set(**settings)
                output_of(model, inputs)
                handle.set(**{dial.name: dial.neutral for dial in handle.dials})
                if not torch.equal(output_of(model, inputs), plain):
                    return f"another output at neutral, after {settings}"
            handle.detach()
            if not torch.equal(output_of(model, inputs), plain):
                return "another output after the technique was detached"
    return None


def look_at_extremes(subject: Subject) -> str | None:
    """Every setting in range works."""
    model = subject.make_model()
    handle = attach(model, subject.technique)
    for side in ("right", "left"):
        inputs = padded(texts_of(model), side)
        plain, real = output_of(model, inputs), subject.real(inputs)
        for settings in (*subject.extremes(), subject.middle()):
            with torch.no_grad(), handle.at(**settings):
                found = output_of(model, inputs)
            if found.shape != plain.shape or not bool(torch.isfinite(found[real]).all()):
                return f"at {settings} an output of shape {tuple(found.shape)}, or with numbers that are not finite"
    return None


def look_at_cost(subject: Subject) -> str | None:
    """The further a dial is from neutral, the less work there is."""
    model = subject.make_model()
    inputs = padded(texts_of(model)[:1], "right")
    handle = attach(model, subject.technique)
    for dial in handle.dials:
        for end in ends_of(dial):
            path = [between(dial, share / 4, end) for share in range(5)]
            costs = [_linear_work(model, handle, {dial.name: value}, inputs) for value in path]
            if any(later > earlier for earlier, later in pairwise(costs)) or costs[-1] >= costs[0]:
                return f"at {dial.name}={path} the linear layers took {costs} operations"
    return None


def look_at_rows(subject: Subject) -> str | None:
    """A row's result depends on that row alone, not on its batch or its padding."""
    model = subject.precise_model()
    texts = texts_of(model)
    handle = attach(model, subject.technique)
    for settings in (subject.middle(), *subject.extremes()):
        with torch.no_grad(), handle.at(**settings):
            alone = [(output_of(model, padded([text], "right"))[0], handle.survivors()) for text in texts]
            for side in ("right", "left"):
                inputs = padded(texts, side)
                together, survivors = output_of(model, inputs), handle.survivors()
                for row, (expected, expected_survivors) in enumerate(alone):
                    real = inputs["attention_mask"][row].bool()
                    start = int(real.int().argmax())
                    found = [[column - start for column in block[row]] for block in survivors]
                    if found != [block[0] for block in expected_survivors]:
                        return f"at {settings}, padded on the {side}, row {row} keeps other states than alone"
                    if not is_close(together[row][real], expected):
                        return f"at {settings}, padded on the {side}, row {row} has another output than alone"
    return None


def look_at_reference(subject: Subject) -> str | None:
    """Removing states gives what masking them gives."""
    if subject.score is None or not isinstance(subject.technique, Cutting):
        return None
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    real, settings = inputs["attention_mask"].bool(), subject.middle()
    handle = attach(model, subject.technique)
    cut = subject.technique.cut(settings, decoder=handle.family.kind == "decoder")
    handle.detach()
    expected = masked_reference(
        model,
        inputs["input_ids"],
        real,
        [(max(LENGTHS), cut.rate)],
        rule=Rule(cut.floor, (cut.first, cut.last), subject.score, cut.decay, cut.entry, cut.entry_scorer),
        position_ids=inputs["position_ids"],
    )
    handle = attach(model.double(), subject.technique)
    with torch.no_grad(), handle.at(**settings):
        found = output_of(model, inputs)
    if handle.survivors() != expected.survivors:
        return f"at {settings} other survivors than the reference's"
    return (
        None if is_close(found[real], expected.logits[real]) else f"at {settings} another output than the reference's"
    )


def look_at_nothing_dropped(subject: Subject) -> str | None:
    """The pruned path without anything to drop is the plain model."""
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        plain = output_of(model, inputs)
        with attach(model, TokenPruning(floor=max(LENGTHS))).at(tokens=0.1):
            found = output_of(model, inputs)
    return None if is_close(found[real], plain[real]) else "another output, although every state was kept"


def look_at_training(subject: Subject) -> str | None:
    """Training takes the same states as inference, and gradients flow."""
    model = subject.precise_model()
    inputs = padded(texts_of(model), "right")
    real = inputs["attention_mask"].bool()
    handle = attach(model, subject.technique)
    with handle.at(**subject.middle()):
        trained, survivors = output_of(model, inputs), handle.survivors()
        with torch.no_grad():
            inferred = output_of(model, inputs)
        if survivors != handle.survivors() or not is_close(trained.detach()[real], inferred[real]):
            return "another output with gradients than without"
        trained[real].square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    return None if gradients and finite else "gradients that are absent or not finite"


def look_at_generation(subject: Subject) -> str | None:
    """Generation on the cache is right, alone and in a batch."""
    model = subject.precise_model()
    if not model.can_generate():
        return None
    texts = texts_of(model)
    handle = attach(model, subject.technique)
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "eos_token_id": None, "pad_token_id": 0}
    inputs = padded(texts, "left")
    del inputs["position_ids"]
    with torch.no_grad(), handle.at(**subject.middle()):
        together = model.generate(**inputs, **options)[:, -NEW_TOKENS:]
        for row, text in enumerate(texts):
            by_hand = decoded(model, text[None])
            if not torch.equal(model.generate(text[None], **options)[0, -NEW_TOKENS:], by_hand):
                return f"text {row}: generate and decoding by hand on the cache give other tokens"
            if not torch.equal(together[row], by_hand):
                return f"text {row}: other tokens in a batch than alone"
    return None


def look_at_residue(subject: Subject) -> str | None:
    """A setting leaves nothing behind for the next."""
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    handle = attach(model, subject.technique)
    path = [subject.middle(), *subject.extremes()]
    with torch.no_grad():
        first = [output_at(model, handle, settings, inputs) for settings in path]
        again = [output_at(model, handle, settings, inputs) for settings in reversed(path)]
        try:
            with handle.at(**path[0]):
                model()
        except Exception:  # noqa: BLE001 - a forward without inputs fails; how is the model's business
            again.append(output_at(model, handle, path[-1], inputs))
    expected = [*reversed(first), first[-1]]
    if len(again) == len(expected) and all(map(torch.equal, again, expected)):
        return None
    return "another output at the same settings, after others or after an error"


def look_at_saving(subject: Subject) -> str | None:
    """A model is saved as if it wore nothing."""
    model = subject.make_model()
    with tempfile.TemporaryDirectory() as folder:
        plain, worn = Path(folder, "plain"), Path(folder, "worn")
        model.save_pretrained(plain)
        handle = attach(model, subject.technique)
        handle.set(**subject.middle())
        output_of(model, padded(texts_of(model), "right"))
        model.save_pretrained(worn)
        for name in sorted({path.name for path in (*plain.iterdir(), *worn.iterdir())}):
            if not (plain / name).is_file() or not (worn / name).is_file():
                return f"{name} is only in one of the folders"
            if (plain / name).read_bytes() != (worn / name).read_bytes():
                return f"another {name}"
    return None


def look_at_detaching(subject: Subject) -> str | None:
    """Detaching gives the very same model back."""
    model = subject.make_model()
    before, weights, config = anatomy_of(model), weights_of(model), model.config.to_dict()
    handle = attach(model, subject.technique)
    for settings in (subject.middle(), *subject.extremes()):
        with torch.no_grad():
            output_at(model, handle, settings, padded(texts_of(model), "right"))
    handle.detach()
    if not same_objects(before, anatomy_of(model)):
        return "a module with another class, or with attributes that came, went or were replaced"
    if model.config.to_dict() != config:
        return "another configuration"
    after = weights_of(model)
    return None if all(torch.equal(after[name], weights[name]) for name in weights) else "other weights"


def _linear_work(model: Any, handle: Handle, settings: dict[str, Any], inputs: dict[str, torch.Tensor]) -> int:
    """Count the operations of the linear layers as they run: no technique can only claim to leave some out."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output_at(model, handle, settings, inputs)
    counts = counter.get_flop_counts()["Global"]
    return sum(count for kind, count in counts.items() if str(kind) in ("aten.mm", "aten.addmm"))
