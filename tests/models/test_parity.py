"""Pruning agrees, position by position, with the slow reference that masks instead of removing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from rheostat.models.families import Family, families
from rheostat.models.wear import HALF_WIDTHS
from rheostat.techniques import TokenPruning, attach
from rheostat.testing import Rule, masked_reference, tiny_model
from rheostat.testing.reference import Reference

DECODERS = [family for family in families() if family.kind == "decoder"]
ENCODERS = [family for family in families() if family.kind == "encoder"]
LENGTHS = {"left": (24, 15, 9), "right": (24, 15, 9), "none": (24, 24, 24)}
PROMPT, STEPS, SECOND = 24, 3, 9
RATE, SECOND_RATE = 0.7, 0.6
# Several families round rotary angles, norms or the softmax to float32 whatever their weights are.
TOLERANCE = 2e-5


def label(family: Family) -> str:
    return family.model_type


def batch(side: str, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, mask over all columns and position ids; only the prompt is padded."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros((3, PROMPT), dtype=torch.bool)
    for row, length in enumerate(LENGTHS[side]):
        mask[row, PROMPT - length :] = side == "left" or length == PROMPT
        if side != "left":
            mask[row, :length] = True
    ids = torch.randint(3, 97, (3, columns), generator=generator)
    ids[:, :PROMPT][~mask] = 0
    mask = torch.cat([mask, torch.ones((3, columns - PROMPT), dtype=torch.bool)], dim=1)
    return ids, mask, (mask.long().cumsum(1) - 1).clamp(min=0)


def in_turns(sizes: list[int]) -> Iterator[slice]:
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size


@pytest.mark.parametrize("side", ["left", "right", "none"])
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_prefill_decoding_and_second_turn_equal_the_masking_reference(family: Family, side: str) -> None:
    turns = [(PROMPT, RATE), *[(1, RATE)] * STEPS, (SECOND, SECOND_RATE)]
    ids, mask, positions = batch(side, sum(size for size, _ in turns))
    model = tiny_model(family.model_type, AutoModelForCausalLM)
    expected = masked_reference(model, ids, mask, turns, position_ids=positions)
    handle = attach(model.double(), "tokens")
    cache, logits, survivors = None, [], [[[], [], []] for _ in range(4)]
    for (_, rate), part in zip(turns, in_turns([size for size, _ in turns]), strict=True):
        with torch.no_grad(), handle.at(tokens=rate):
            output = model(
                input_ids=ids[:, part],
                attention_mask=mask[:, : part.stop].long(),
                position_ids=positions[:, part],
                past_key_values=cache,
                use_cache=True,
            )
        cache = output.past_key_values
        logits.append(output.logits)
        for block, rows in zip(survivors, handle.survivors(), strict=True):
            for row, columns in zip(block, rows, strict=True):
                row.extend(columns)
    assert survivors == expected.survivors
    torch.testing.assert_close(torch.cat(logits, 1)[mask], expected.logits[mask], atol=TOLERANCE, rtol=TOLERANCE)
    check_cache(cache, expected)


def check_cache(cache: object, expected: Reference) -> None:
    """Each block's cache holds what entered it, and nothing else."""
    for layer, entered in zip(cache.layers, expected.entered, strict=True):
        held = (
            layer.columns
            if layer.valid is None
            else [row[keep] for row, keep in zip(layer.columns, layer.valid, strict=True)]
        )
        assert [row.tolist() for row in held] == entered
        assert layer.keys.shape[2] == layer.columns.shape[1]


@pytest.mark.parametrize("side", ["left", "right", "none"])
@pytest.mark.parametrize("family", ENCODERS, ids=label)
def test_encoders_equal_the_masking_reference(family: Family, side: str) -> None:
    ids, mask, _ = batch(side, PROMPT)
    model = tiny_model(family.model_type, AutoModel)
    expected = masked_reference(model, ids, mask, [(PROMPT, RATE)])
    handle = attach(model.double(), "tokens")
    with torch.no_grad(), handle.at(tokens=RATE):
        states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert handle.survivors() == expected.survivors
    torch.testing.assert_close(states[mask], expected.logits[mask], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("family", families(), ids=label)
def test_training_takes_the_same_states_as_inference(family: Family) -> None:
    ids, mask, _ = batch("right", PROMPT)
    model = tiny_model(family.model_type, AutoModel).double()
    handle = attach(model, TokenPruning(scorer="mean"))
    with handle.at(tokens=RATE):
        trained = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        kept = handle.survivors()
        with torch.no_grad():
            inferred = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert kept == handle.survivors()
    torch.testing.assert_close(trained[mask], inferred[mask], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("family", families(), ids=label)
def test_widths_that_are_rounded_up_change_nothing(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rheostat.models.wear._multiple", lambda *_: HALF_WIDTHS)
    for side in ("left", "none"):
        if family.kind == "decoder":
            test_prefill_decoding_and_second_turn_equal_the_masking_reference(family, side)
        else:
            test_encoders_equal_the_masking_reference(family, side)
    test_training_takes_the_same_states_as_inference(family)


@pytest.mark.parametrize("how", ["bfloat16", "autocast", "float32"])
def test_in_half_precision_widths_are_multiples(how: str) -> None:
    ids, mask, _ = batch("right", PROMPT)
    model = tiny_model("bert", AutoModel)
    model = model.bfloat16() if how == "bfloat16" else model
    handle = attach(model, "tokens")
    widths: list[int] = []
    for layer in model.encoder.layer:
        layer.intermediate.dense.register_forward_hook(lambda _, given, __: widths.append(given[0].shape[1]))
    for rate in (0.4, 0.7):
        with torch.no_grad(), torch.autocast("cpu", enabled=how == "autocast"), handle.at(tokens=rate):
            model(input_ids=ids, attention_mask=mask.long())
    assert all(width % HALF_WIDTHS == 0 for width in widths) == (how != "float32")
    assert min(widths) < PROMPT


@pytest.mark.parametrize("family", families(), ids=label)
def test_every_family_trains_in_half_precision(family: Family) -> None:
    ids, mask, _ = batch("right", PROMPT)
    model = tiny_model(family.model_type, AutoModel).train()
    handle = attach(model, "tokens")
    with torch.autocast("cpu"), handle.at(tokens=RATE):
        states = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    states[mask].float().square().mean().backward()
    assert [len(row) for row in handle.survivors()[0]] == [17, 11, 7]
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)


def test_the_reference_notices_a_wrong_score() -> None:
    """Negative control: with another score the reference no longer agrees."""
    ids, mask, positions = batch("none", PROMPT)
    model = tiny_model("llama", AutoModelForCausalLM)
    expected = masked_reference(
        model,
        ids,
        mask,
        [(PROMPT, RATE)],
        position_ids=positions,
        rule=Rule(score=lambda weights, seen, real: -weights.sum((0, 1))),
    )
    handle = attach(model.double(), "tokens")
    with torch.no_grad(), handle.at(tokens=RATE):
        model(input_ids=ids, attention_mask=mask.long(), position_ids=positions)
    assert handle.survivors() != expected.survivors
