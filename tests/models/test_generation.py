"""Generation under pruning: greedy, sampling, beams, streaming, turns, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache, TextIteratorStreamer

from rheostat.core.errors import CacheError, SettingError
from rheostat.models.cache import PrunedLayer
from rheostat.models.families import Family, families
from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model

DECODERS = [family for family in families() if family.kind == "decoder"]
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}


def label(family: Family) -> str:
    return family.model_type


def prompts(side: str = "left") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(3, 97, (3, 20), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate((20, 13, 7)):
        mask[row, : 20 - length] = 0
    ids[mask == 0] = 0
    return {"input_ids": ids, "attention_mask": mask}


def attached(model_type: str = "llama", **settings: Any) -> tuple[Any, Handle]:
    model = tiny_model(model_type, AutoModelForCausalLM, **settings)
    return model, attach(model, "tokens")


def greedy_by_hand(model: Any, ids: torch.Tensor, steps: int) -> torch.Tensor:
    """Prefill, then one token at a time, on the model's own cache."""
    output = model(input_ids=ids, use_cache=True)
    for _ in range(steps):
        token = output.logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, token], dim=1)
        output = model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
    return ids


@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_a_batch_generates_what_each_row_generates_alone(family: Family) -> None:
    model, handle = attached(family.model_type)
    inputs = prompts()
    with torch.no_grad(), handle.at(tokens=0.6):
        together = model.generate(**inputs, **GREEDY)
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            alone = inputs["input_ids"][row][mask][None]
            expected = greedy_by_hand(model, alone, 8)
            assert torch.equal(together[row, 20:], expected[0, alone.shape[1] :])


@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_neutral_generation_with_cache_equals_generation_without(family: Family) -> None:
    model, _ = attached(family.model_type)
    with torch.no_grad():
        cached = model.generate(**prompts(), **GREEDY)
        assert torch.equal(cached, model.generate(**prompts(), **GREEDY, use_cache=False))


@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_a_neutral_second_turn_equals_one_long_turn(family: Family) -> None:
    model, _ = attached(family.model_type)
    ids = prompts()["input_ids"][:1]
    with torch.no_grad():
        first = model(input_ids=ids[:, :12], use_cache=True)
        second = model(input_ids=ids[:, 12:], past_key_values=first.past_key_values, use_cache=True)
        torch.testing.assert_close(second.logits, model(input_ids=ids).logits[:, 12:], atol=1e-4, rtol=1e-4)


def test_generate_continues_a_cache_across_turns() -> None:
    model, handle = attached()
    ids = prompts()["input_ids"][:1]
    with torch.no_grad(), handle.at(tokens=0.6):
        cache = DynamicCache(config=model.config)
        first = model.generate(input_ids=ids, past_key_values=cache, **GREEDY)
        turn = torch.cat([first, torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])], dim=1)
        second = model.generate(input_ids=turn, past_key_values=cache, **GREEDY)
        # The same by hand: prefill, decoding, then the new turn with the last generated token before it.
        by_hand = model(input_ids=ids, use_cache=True)
        for column in range(20, 27):
            by_hand = model(input_ids=first[:, column : column + 1], past_key_values=by_hand.past_key_values)
        by_hand = model(input_ids=turn[:, 27:], past_key_values=by_hand.past_key_values)
        assert len(handle.survivors()[0][0]) == 6  # ceil(0.6 x 9 new tokens)
        assert torch.equal(second[:, turn.shape[1]], by_hand.logits[:, -1].argmax(-1))
    assert all(isinstance(layer, PrunedLayer) for layer in cache.layers)


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
@pytest.mark.parametrize(("first_rate", "second_rate"), [(1.0, 0.6), (0.6, 1.0)])
def test_the_dial_may_turn_between_turns(model_type: str, first_rate: float, second_rate: float) -> None:
    """A plain cache can go on under pruning, and a pruned one at neutral; nothing is left over."""
    model, handle = attached(model_type)
    ids = prompts()["input_ids"][:1]
    with torch.no_grad():
        with handle.at(tokens=first_rate):
            first = model(input_ids=ids, use_cache=True)
        with handle.at(tokens=second_rate):
            more = torch.arange(3, 15)[None]
            second = model(input_ids=more, past_key_values=first.past_key_values, use_cache=True)
        kept = handle.survivors()
    expected = 12 if second_rate == 1.0 else 8
    assert len(kept[0][0]) == expected
    assert all(column >= 20 for block in kept for column in block[0])
    assert torch.isfinite(second.logits).all()
    if first_rate == 1.0:
        # The plain turn's keys are all there, so the first block sees what one long plain turn would show it.
        held = second.past_key_values.layers[1 if model_type == "gemma3_text" else 0].columns
        assert held[0, :20].tolist() == list(range(20))


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "gpt2"])
def test_beams_of_one_text_equal_beams_in_a_batch(model_type: str) -> None:
    model, handle = attached(model_type)
    inputs = prompts()
    options = {**GREEDY, "num_beams": 3}
    with torch.no_grad(), handle.at(tokens=0.6):
        together = model.generate(**inputs, **options)
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            alone = model.generate(input_ids=inputs["input_ids"][row][mask][None], **options)
            assert torch.equal(together[row, 20:], alone[0, int(mask.sum()) :])


def test_sampling_repeats_with_its_seed() -> None:
    model, handle = attached()
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        with torch.no_grad(), handle.at(tokens=0.6):
            drawn.append(model.generate(**prompts(), **{**GREEDY, "do_sample": True}))
    assert torch.equal(*drawn)


def test_streaming_hands_out_every_token() -> None:
    model, handle = attached()

    class Collected(TextIteratorStreamer):
        def __init__(self) -> None:
            self.tokens: list[int] = []

        def put(self, value: torch.Tensor) -> None:
            self.tokens += value.flatten().tolist()

        def end(self) -> None:
            self.tokens.append(-1)

    streamer = Collected()
    with torch.no_grad(), handle.at(tokens=0.6):
        ids = prompts()["input_ids"][:1]
        expected = model.generate(input_ids=ids, **GREEDY)
        model.generate(input_ids=ids, streamer=streamer, **GREEDY)
    assert streamer.tokens == [*expected[0].tolist(), -1]


def test_the_cache_holds_exactly_what_entered_each_block() -> None:
    model, handle = attached()
    with torch.no_grad(), handle.at(tokens=0.5):
        cache = model(input_ids=prompts()["input_ids"][:1], use_cache=True).past_key_values
    went_on = [len(block[0]) for block in handle.survivors()]
    held = [layer.keys.shape[2] for layer in cache.layers]
    assert held == [20, *went_on[:-1]]
    size = sum(part.numel() * part.element_size() for layer in cache.layers for part in (layer.keys, layer.values))
    assert size == sum(held) * 2 * 2 * 8 * 4  # keys and values, 2 key-value heads of 8 float32
    assert cache.get_seq_length() == 20


def test_cache_rows_can_be_repeated_selected_and_reset() -> None:
    model, handle = attached()
    with torch.no_grad(), handle.at(tokens=0.5):
        cache = model(**prompts(), use_cache=True).past_key_values
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([4]))
    layer = cache.layers[1]
    assert layer.keys.shape[0] == layer.columns.shape[0] == layer.valid.shape[0] == 1
    assert layer.columns[0][layer.valid[0]].tolist() == handle.survivors()[0][2]
    cache.reset()
    assert cache.get_seq_length() == 0
    assert layer.columns is None


@pytest.mark.parametrize(
    "options",
    [{"prefill_chunk_size": 4}, {"prompt_lookup_num_tokens": 3}, {"cache_implementation": "static"}],
    ids=lambda options: next(iter(options)),
)
def test_generation_that_cannot_be_right_is_refused(options: dict[str, Any]) -> None:
    model, handle = attached()
    with handle.at(tokens=0.5), pytest.raises(SettingError, match=next(iter(options))):
        model.generate(**prompts(), **GREEDY, **options)


def test_assisted_generation_is_refused() -> None:
    model, handle = attached()
    helper = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=1)
    with handle.at(tokens=0.5), pytest.raises(SettingError, match="Assisted decoding"):
        model.generate(input_ids=prompts()["input_ids"][:1], assistant_model=helper, **GREEDY)


def test_a_cache_that_cannot_hold_survivors_is_refused() -> None:
    model, handle = attached()
    cache = StaticCache(config=model.config, max_cache_len=64)
    with handle.at(tokens=0.5), pytest.raises(CacheError, match="dynamic cache"):
        model(input_ids=prompts()["input_ids"][:1], past_key_values=cache, use_cache=True)


def test_a_pruned_cache_is_refused_by_the_plain_model() -> None:
    model, handle = attached()
    ids = prompts()["input_ids"][:1]
    with torch.no_grad(), handle.at(tokens=0.5):
        cache = model(input_ids=ids, use_cache=True).past_key_values
    handle.detach()
    with pytest.raises(CacheError, match="filled under pruning"):
        model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True)


def test_a_pruned_cache_cannot_be_cropped() -> None:
    with pytest.raises(CacheError, match="cannot be cropped"):
        PrunedLayer().crop(-1)


def test_a_mask_of_pairs_is_refused() -> None:
    model, handle = attached()
    with handle.at(tokens=0.5), pytest.raises(SettingError, match="2-D"):
        model(input_ids=prompts()["input_ids"][:1], attention_mask=torch.ones((1, 1, 20, 20)))
