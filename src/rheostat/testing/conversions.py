"""Looking whether a conversion keeps what `rheostat.testing.conformance` promises: one function a promise.

Conversions are not bit-identical to the plain model: they are held to the error that they state.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from rheostat.core.errors import RheostatError, SettingError
from rheostat.techniques import Conversion, TokenPruning, attach
from rheostat.testing.looking import (
    LENGTHS,
    NEW_TOKENS,
    TOLERANCE,
    Subject,
    anatomy_of,
    decoded,
    output_of,
    padded,
    same_objects,
    texts_of,
)

__all__ = [
    "look_at_bound",
    "look_at_company",
    "look_at_conversion_rows",
    "look_at_decoding",
    "look_at_gradients",
    "look_at_knobs",
    "look_at_neutral_knobs",
    "look_at_reloading",
    "look_at_undoing",
]


def look_at_knobs(subject: Subject) -> str | None:
    """Knobs have names, a field each, and refuse what lies outside their domain."""
    technique = subject.technique
    names = [knob.name for knob in technique.knobs] + [dial.name for dial in technique.dials]
    if not technique.knobs or len(set(names)) < len(names):
        return f"knobs and dials named {names}"
    for knob in technique.knobs:
        if not hasattr(technique, knob.name):
            return f"the knob '{knob.name}' has no field"
        for value in (None, "no such value", float("nan")):
            try:
                type(technique)(**{knob.name: value})
            except SettingError:
                continue
            return f"the knob '{knob.name}' took {value!r}"
    return None


def look_at_neutral_knobs(subject: Subject) -> str | None:
    """With every knob at neutral nothing changes, not even an object."""
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    plain, before = output_of(model, inputs), anatomy_of(model)
    handle = attach(model, type(subject.technique)(**{knob.name: knob.neutral for knob in subject.technique.knobs}))
    if not same_objects(before, anatomy_of(model)):
        return "a module with another class, or with attributes that came, went or were replaced"
    if not torch.equal(output_of(model, inputs), plain):
        return "another output"
    handle.detach()
    return None


def look_at_bound(subject: Subject) -> str | None:
    """What comes out is as close to the plain model as stated, padded on either side."""
    model = subject.make_model()
    bound = _conversion(subject).error_bound
    for side in ("right", "left"):
        inputs = padded(texts_of(model), side)
        real = inputs["attention_mask"].bool()
        with torch.inference_mode():
            plain = output_of(model, inputs)[real]
            handle = attach(model, subject.technique)
            found = output_of(model, inputs)[real]
        handle.detach()
        error = _distance(found, plain)
        if not error <= bound:
            return f"padded on the {side}, a relative error of {error:.3g}, and {bound:g} is stated"
    return _cached_error(subject, bound)


def _cached_error(subject: Subject, bound: float) -> str | None:
    """Feed a text to the cache half at once, then token by token."""
    model = subject.make_model()
    if not model.can_generate():
        return None
    text = texts_of(model)[0][None]
    half = text.shape[1] // 2
    with torch.no_grad():
        plain = output_of(model, {"input_ids": text})[:, half:]
        attach(model, subject.technique)
        output = model(input_ids=text[:, :half], use_cache=True)
        found = []
        for at in range(half, text.shape[1]):
            output = model(input_ids=text[:, at : at + 1], past_key_values=output.past_key_values, use_cache=True)
            found.append(output.logits)
    error = _distance(torch.cat(found, dim=1), plain)
    seen = f"on the cache, a relative error of {error:.3g}, and {bound:g} is stated"
    return None if error <= bound + TOLERANCE else seen


def look_at_conversion_rows(subject: Subject) -> str | None:
    """A row's result depends on its batch and its padding by no more than the stated error."""
    model = subject.make_model()
    texts, bound = texts_of(model), 2 * _conversion(subject).error_bound + TOLERANCE
    attach(model, subject.technique)
    with torch.no_grad():
        alone = [output_of(model, padded([text], "right"))[0] for text in texts]
        for side in ("right", "left"):
            inputs = padded(texts, side)
            together = output_of(model, inputs)
            for row, expected in enumerate(alone):
                error = _distance(together[row][inputs["attention_mask"][row].bool()], expected)
                if not error <= bound:
                    return f"padded on the {side}, row {row} is {error:.3g} off what it is alone; {bound:g} is stated"
    return None


def look_at_gradients(subject: Subject) -> str | None:
    """Where autograd is on a forward runs; a backward pass gives gradients, or says why there are none."""
    model = subject.make_model()
    attach(model, subject.technique)
    inputs = padded(texts_of(model), "right")
    result = output_of(model, inputs)[inputs["attention_mask"].bool()]
    try:
        result.float().square().sum().backward()
    except RheostatError:
        return None
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    return None if gradients and finite else "gradients that are absent or not finite"


def look_at_decoding(subject: Subject) -> str | None:
    """Generation on the cache is right alone, and runs in a batch and with beams."""
    model = subject.make_model()
    if not model.can_generate():
        return None
    texts = texts_of(model)
    attach(model, subject.technique)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "eos_token_id": None}
    inputs = padded(texts, "left")
    del inputs["position_ids"]
    with torch.no_grad():
        for row, text in enumerate(texts):
            made = model.generate(text[None], **options, pad_token_id=0)[0, -NEW_TOKENS:]
            if not torch.equal(made, decoded(model, text[None])):
                return f"text {row}: generate and decoding by hand on the cache give other tokens"
        for beams in (1, 3):
            shape = tuple(model.generate(**inputs, **options, num_beams=beams, pad_token_id=0).shape)
            if shape != (len(texts), max(LENGTHS) + NEW_TOKENS):
                return f"{beams} beams gave tokens of shape {shape}"
    return None


def look_at_reloading(subject: Subject) -> str | None:
    """A converted model is saved so that it loads again, within the stated error, or saving is refused."""
    model, conversion = subject.make_model(), _conversion(subject)
    inputs = padded(texts_of(model), "right")
    real = inputs["attention_mask"].bool()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        plain = output_of(model, inputs)[real]
        attach(model, conversion)
        try:
            model.save_pretrained(folder)
        except RheostatError:
            return None
        options = {"attn_implementation": model.config._attn_implementation, "dtype": "float32"}
        back = type(model).from_pretrained(folder, **options).eval()
        error = _distance(output_of(back, inputs)[real], plain)
    return None if error <= conversion.error_bound else f"saved and loaded, a relative error of {error:.3g}"


def look_at_company(subject: Subject) -> str | None:
    """It goes together with the token dial: at neutral the dial changes nothing, and below it drops states."""
    model = subject.make_model()
    inputs = padded(texts_of(model), "right")
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        handle = attach(model, subject.technique)
        alone = output_of(model, inputs)
        handle.detach()
        handle = attach(model, TokenPruning(), subject.technique)
        if not torch.equal(output_of(model, inputs), alone):
            return "another output at the neutral dial than without it"
        with handle.at(tokens=0.6):
            found = output_of(model, inputs)
    if not bool(torch.isfinite(found[real]).all()):
        return "numbers that are not finite"
    kept = [len(row) for row in handle.survivors()[-1]]
    return None if kept[0] < LENGTHS[0] else f"{kept} states left of {LENGTHS}"


def look_at_undoing(subject: Subject) -> str | None:
    """Where another technique cannot be put on, it comes off again."""
    model = subject.make_model()
    before = anatomy_of(model)
    try:
        attach(model, subject.technique, _Unfit())
    except ArithmeticError:
        return None if same_objects(before, anatomy_of(model)) else "a model that stayed converted, or in part"
    return "no error"


class _Unfit(Conversion):
    """Fails when it is put on."""

    name = "unfit"
    error_bound = 0.0

    def convert(self, model: Any) -> Any:
        raise ArithmeticError


def _conversion(subject: Subject) -> Conversion:
    technique = subject.technique
    if not isinstance(technique, Conversion):
        raise AssertionError(f"{type(technique).__name__} is no Conversion")
    return technique


def _distance(found: torch.Tensor, plain: torch.Tensor) -> float:
    return float((found.double() - plain.double()).norm() / plain.double().norm())
