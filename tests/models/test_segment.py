"""Segments of a forward, and depth: the model's own blocks, some left out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DynamicCache,
)

from rheostat.core.errors import CacheError, SettingError
from rheostat.models.families import Family, families, locate
from rheostat.models.segment import Segment, through
from rheostat.techniques import attach
from rheostat.testing import tiny_model

DECODERS = [family for family in families() if family.kind == "decoder"]
LENGTHS = (24, 15, 9)


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else str(value)


def batch(side: str) -> dict[str, torch.Tensor]:
    """Three rows, padded on a side; on none, without a mask."""
    ids = torch.randint(3, 97, (3, 24), generator=torch.Generator().manual_seed(1))
    if side == "none":
        return {"input_ids": ids}
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, slice(24 - length, 24) if side == "left" else slice(0, length)] = 1
    return {"input_ids": ids * mask, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def truncated(model: Any, depth: int) -> Any:
    """A copy of a model whose list of blocks ends early."""
    shorter = copy.deepcopy(model)
    located = locate(shorter)
    del located.family.blocks_of(located.base)[depth:]
    return shorter


def heads_of(family: Family) -> list[Any]:
    own = AutoModelForCausalLM if family.kind == "decoder" else AutoModelForTokenClassification
    return [AutoModel, own, AutoModelForSequenceClassification]


@pytest.mark.parametrize("side", ["left", "right", "none"])
@pytest.mark.parametrize("family", families(), ids=label)
def test_a_depth_is_bit_for_bit_the_model_without_the_blocks_above(family: Family, side: str) -> None:
    inputs = batch(side)
    for head in heads_of(family):
        model = tiny_model(family.model_type, head)
        shorter = {depth: truncated(model, depth) for depth in (1, 2, 3)}
        handle = attach(model, "depth")
        for depth, expected in shorter.items():
            with torch.no_grad(), handle.at(depth=depth):
                found, wanted = model(**inputs), expected(**inputs)
            assert torch.equal(found[0], wanted[0])
            assert handle.survivors()[-1][-1] == [
                at for at in range(24) if inputs.get("attention_mask", torch.ones(3, 24))[-1, at]
            ]
            assert len(handle.survivors()) == depth


@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_a_depth_generates_what_the_shorter_model_generates(family: Family) -> None:
    model = tiny_model(family.model_type, AutoModelForCausalLM)
    inputs = batch("left")
    del inputs["position_ids"]
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for depth in (1, 2):
        expected = truncated(model, depth).generate(**inputs, **options)
        handle = attach(model, "depth")
        with handle.at(depth=depth):
            found = model.generate(**inputs, **options, return_dict_in_generate=True)
        assert torch.equal(found.sequences, expected)
        seen = [layer.get_seq_length() for layer in found.past_key_values.layers]
        assert seen == [35] * depth + [0] * (4 - depth)
        handle.detach()


@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("family", families(), ids=label)
def test_segments_one_after_another_are_the_whole(family: Family, tokens: float) -> None:
    model = tiny_model(family.model_type)
    handle = attach(model, "tokens", "depth")
    inputs = batch("right")
    with torch.no_grad(), handle.at(tokens=tokens):
        for depth in (2, 4):
            with handle.at(depth=depth):
                whole = model(**inputs)[0]
                survivors = handle.survivors() if tokens < 1 or depth < 4 else None
            lower = Segment(stop=1, watch=frozenset({0}))
            with through(lower):
                model(**inputs)
            before = lower.left.clone()
            upper = Segment(start=1, stop=depth, states=lower.left, path=lower.path_after, watch=frozenset({depth - 1}))
            with through(upper):
                joined = model(**inputs)[0]
            assert torch.equal(joined, whole)
            assert torch.equal(lower.left, before), "saved states were written over"
            assert survivors in (None, handle.survivors())


def test_watched_states_are_not_written_over() -> None:
    model = tiny_model("llama")
    handle, inputs = attach(model, "tokens"), batch("right")
    with torch.no_grad(), handle.at(tokens=0.5):
        kept = {}
        for stop, watch in ((1, {0}), (2, {1}), (4, {-1, 0, 1, 3})):
            with through(Segment(stop=stop, watch=frozenset(watch))) as segment:
                model(**inputs)
            kept[stop] = segment.seen
    assert torch.equal(kept[4][0], kept[1][0])
    assert torch.equal(kept[4][1], kept[2][1])
    assert torch.equal(kept[4][-1], model.get_input_embeddings()(inputs["input_ids"]))


def test_depth_and_tokens_together_are_pruning_of_the_shorter_model() -> None:
    for model_type in ("llama", "gemma2", "bert"):
        model = tiny_model(model_type)
        shorter, inputs = truncated(model, 3), batch("right")
        handle, other = attach(model, "tokens", "depth"), attach(shorter, "tokens")
        with torch.no_grad(), handle.at(tokens=0.6, depth=3), other.at(tokens=0.6):
            assert torch.equal(model(**inputs)[0], shorter(**inputs)[0])
        assert handle.survivors() == other.survivors()


def test_hidden_states_are_those_of_the_shorter_model() -> None:
    for model_type in ("llama", "bert", "modernbert"):
        model = tiny_model(model_type)
        expected = truncated(model, 2)(**batch("right"), output_hidden_states=True).hidden_states
        with attach(model, "depth").at(depth=2):
            found = model(**batch("right"), output_hidden_states=True).hidden_states
        assert len(found) == len(expected) == 3
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("tokens", [1.0, 0.6])
def test_gradient_checkpointing_gives_the_same_gradients_at_a_depth(reentrant: bool, tokens: float) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model("llama", AutoModelForSequenceClassification).double()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model.train()
        with attach(model, "tokens", "depth").at(depth=3, tokens=tokens):
            model(**batch("right"), labels=torch.tensor([0, 1, 0])).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        blocks = {name.split(".")[2] for name in gradients[-1] if name.startswith("model.layers")}
        assert blocks == {"0", "1", "2"}
    assert gradients[0].keys() == gradients[1].keys()
    for name, plain in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], plain)


def test_a_cache_goes_on_shallower_but_not_deeper() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens", "depth")
    ids = batch("none")["input_ids"]
    for tokens in (1.0, 0.5):
        with torch.no_grad(), handle.at(depth=3, tokens=tokens):
            cache = model(ids, use_cache=True).past_key_values
            with handle.at(depth=2):
                model(ids[:, :1], past_key_values=cache)
            assert [layer.get_seq_length() for layer in cache.layers] == [25, 25, 24, 0]
            with pytest.raises(
                CacheError, match="goes on at that depth or a smaller one. Given: a first block that has"
            ):
                model(ids[:, :1], past_key_values=cache)
        with torch.no_grad(), pytest.raises(CacheError, match="a last one that has seen 0"):
            model(ids[:, :1], past_key_values=cache)


def test_an_empty_or_whole_cache_is_taken_at_every_depth() -> None:
    model = tiny_model("gemma3_text", AutoModelForCausalLM)
    handle, ids = attach(model, "depth"), batch("none")["input_ids"]
    with torch.no_grad():
        for cache in (DynamicCache(), DynamicCache(config=model.config)):
            model(ids, past_key_values=cache)
            with handle.at(depth=1):
                shallow = model(ids[:, :1], past_key_values=cache).logits
            assert torch.isfinite(shallow).all()


@pytest.mark.parametrize(
    "unfit",
    [Segment(stop=5), Segment(stop=0), Segment(start=2, stop=2), Segment(start=1, stop=2)],
    ids=["too deep", "nothing", "empty", "without states"],
)
def test_an_unfit_segment_is_refused(unfit: Segment) -> None:
    model = tiny_model("bert")
    attach(model)
    with pytest.raises(SettingError, match="A segment lies within the model's 4 blocks"), through(unfit):
        model(**batch("none"))


def test_states_of_another_shape_are_refused() -> None:
    model = tiny_model("bert")
    attach(model)
    with (
        pytest.raises(SettingError, match=r"one vector for each token of the forward. Given: \(3, 23, 32\)"),
        through(Segment(start=1, stop=2, states=torch.zeros(3, 23, 32))),
    ):
        model(**batch("none"))
