"""The key-value cache in 8 bits: its error, its bytes, and everything that is done to a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache, StaticCache

from rheostat.core.errors import CacheError, SettingError, UnsupportedModelError
from rheostat.models.cache import PrunedLayer
from rheostat.models.int8_cache import Int8Layer, Int8PrunedLayer, Int8SlidingLayer, convert_cache, pack, unpack
from rheostat.techniques import CachePrecision, Precision, TokenPruning, attach, configure
from rheostat.testing import tiny_model

IDS = torch.arange(3, 33)[None]
LATER = torch.arange(40, 52)[None]
INT8 = CachePrecision("int8")


def decoder(model_type: str = "llama") -> Any:
    return tiny_model(model_type, AutoModelForCausalLM)


def filled(model: Any, ids: torch.Tensor = IDS, cache: Any = None) -> Any:
    with torch.no_grad():
        return model(input_ids=ids, past_key_values=cache, use_cache=True)


def distance(found: torch.Tensor, plain: torch.Tensor) -> float:
    return float((found - plain).norm() / plain.norm())


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_a_state_comes_back_within_half_a_step_of_its_row(seed: int, size: float) -> None:
    states = size * torch.randn((2, 3, 5, 16), generator=torch.Generator().manual_seed(seed))
    found = unpack(pack(states), torch.float32)
    largest = states.abs().amax(-1, keepdim=True)
    assert bool(((found - states).abs() <= 0.0051 * largest).all())
    # Not better than 8 bits can be, either: nothing was kept on the side.
    assert bool((found != states).any())


def test_rows_of_zeros_and_of_extremes_come_back() -> None:
    assert torch.equal(unpack(pack(torch.zeros(1, 1, 2, 8)), torch.float32), torch.zeros(1, 1, 2, 8))
    large = torch.tensor([[3e38, -3e38, 1e38, 0.0]])
    assert bool(torch.isfinite(unpack(pack(large), torch.float32)).all())
    assert bool(torch.isnan(unpack(pack(torch.tensor([[float("nan"), 1.0]])), torch.float32)).any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_bytes_are_one_a_number_and_two_a_row(dtype: torch.dtype) -> None:
    states = torch.randn(2, 3, 5, 64).to(dtype)
    packed = pack(states)
    assert packed.dtype == torch.int8
    assert packed.nbytes == 2 * 3 * 5 * (64 + 2)
    assert unpack(packed, dtype).dtype == dtype


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gemma3_text", "qwen3"])
def test_a_prompt_is_exact_and_what_follows_is_close(model_type: str) -> None:
    model = decoder(model_type)
    plain = filled(model)
    plain_later = filled(model, LATER, plain.past_key_values).logits
    attach(model, INT8)
    found = filled(model)
    assert torch.equal(found.logits, plain.logits)
    kinds = {type(layer) for layer in found.past_key_values.layers}
    assert kinds <= {Int8Layer, Int8SlidingLayer}
    assert found.past_key_values.layers[-1].keys.dtype == torch.int8
    later = filled(model, LATER, found.past_key_values).logits
    assert 0.0 < distance(later, plain_later) < 0.05


@pytest.mark.parametrize("dials", [{}, {"tokens": 0.6}], ids=["plain", "pruned"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mistral", "gemma3_text"])
def test_generation_with_left_padding_is_close_to_the_plain_cache(model_type: str, dials: dict[str, float]) -> None:
    ids = torch.stack([torch.cat([torch.zeros(8, dtype=torch.long), IDS[0, :22]]), IDS[0]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    options: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    plain_model, model = decoder(model_type), decoder(model_type)
    plain, handle = attach(plain_model, "tokens"), attach(model, INT8, "tokens")
    with torch.no_grad(), plain.at(**dials), handle.at(**dials):
        expected = plain_model.generate(**inputs, **options)
        found = model.generate(**inputs, **options)
    # The first token comes from the prompt alone; then rounding may change who is the likeliest.
    assert torch.equal(found.logits[0], expected.logits[0])
    same = [torch.equal(one, two) for one, two in zip(found.sequences, expected.sequences, strict=True)]
    assert any(same)
    kind = Int8PrunedLayer if dials else (Int8Layer, Int8SlidingLayer)
    assert all(isinstance(layer, kind) for layer in found.past_key_values.layers)


@pytest.mark.parametrize("path", [(1.0, 0.5), (0.5, 1.0), (0.5, 0.8)])
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_a_second_turn_at_another_setting_is_close(model_type: str, path: tuple[float, float]) -> None:
    outputs = []
    for techniques in (("tokens",), (INT8, "tokens")):
        model = decoder(model_type)
        handle = attach(model, *techniques)
        cache = None
        for ids, rate in zip((IDS, LATER), path, strict=True):
            with handle.at(tokens=rate):
                output = filled(model, ids, cache)
            cache = output.past_key_values
        outputs.append(output.logits[:, -1])
    assert 0.0 < distance(outputs[1], outputs[0]) < 0.1


def test_a_cache_that_another_model_filled_goes_on_in_8_bits() -> None:
    model = decoder("gemma3_text")
    for rate in (1.0, 0.5):
        handle = attach(model, "tokens")
        with handle.at(tokens=rate):
            cache = filled(model).past_key_values
        handle.detach()
        before = [layer.keys.clone() for layer in cache.layers]
        handle = attach(model, INT8, "tokens")
        with handle.at(tokens=rate):
            filled(model, LATER[:, :1], cache)
        for layer, keys in zip(cache.layers, before, strict=True):
            rows = min(layer.keys.shape[2] - 1, keys.shape[2])
            held = unpack(layer.keys, torch.float32)[:, :, -1 - rows : -1]
            torch.testing.assert_close(held, keys[:, :, -rows:], atol=0.05, rtol=0.0)
        handle.detach()


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_rows_are_reordered_repeated_and_selected_with_their_scales(rate: float) -> None:
    model = decoder()
    handle = attach(model, INT8, "tokens")
    with handle.at(tokens=rate):
        cache = filled(model, torch.cat([IDS, IDS.flip(1)])).past_key_values
    before = [unpack(layer.keys, torch.float32) for layer in cache.layers]
    cache.reorder_cache(torch.tensor([1, 0]))
    for layer, keys in zip(cache.layers, before, strict=True):
        assert torch.equal(unpack(layer.keys, torch.float32), keys.flip(0))
    cache.batch_repeat_interleave(2)
    assert torch.equal(
        unpack(cache.layers[0].values[2:3], torch.float32), unpack(cache.layers[0].values[3:], torch.float32)
    )
    cache.batch_select_indices(torch.tensor([3]))
    assert torch.equal(unpack(cache.layers[0].keys, torch.float32), before[0][:1])


def test_a_plain_cache_can_be_rolled_back() -> None:
    model = decoder()
    attach(model, INT8)
    output = filled(model)
    again = filled(model, LATER, output.past_key_values).logits
    output.past_key_values.crop(-LATER.shape[1])
    assert torch.equal(filled(model, LATER, output.past_key_values).logits, again)


def test_a_cache_without_layers_gets_them_in_8_bits() -> None:
    model = decoder()
    attach(model, INT8)
    cache = DynamicCache()
    filled(model, cache=cache)
    assert all(type(layer) is Int8Layer for layer in cache.layers)


def test_the_memory_of_a_cache_shrinks() -> None:
    model = decoder("qwen3")
    plain = sum(layer.keys.nbytes + layer.values.nbytes for layer in filled(model).past_key_values.layers)
    attach(model, INT8)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in filled(model).past_key_values.layers)
    # Heads of 8 numbers: 10 bytes in place of 32.
    assert held / plain == 10 / 32


def test_no_cache_is_made_where_none_is_wanted() -> None:
    model = decoder()
    attach(model, INT8)
    assert model(input_ids=IDS, use_cache=False).past_key_values is None
    model.train()
    model.activation_checkpointing_enable()
    assert model(input_ids=IDS).past_key_values is None


def test_other_caches_are_refused() -> None:
    model = decoder()
    attach(model, INT8)
    with pytest.raises(CacheError, match="A cache in 8 bits is a dynamic one .* Given: StaticCache."):
        filled(model, cache=StaticCache(config=model.config, max_cache_len=64))
    cache = DynamicCache()
    cache.layers = [type("Other", (PrunedLayer,), {})()]
    with pytest.raises(CacheError, match="has plain dynamic layers. Given: Other."):
        convert_cache(cache)


def test_encoders_and_a_second_time_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="A key-value cache is what a decoder has. Given: BERT."):
        attach(tiny_model("bert", AutoModel), INT8)
    model = decoder()
    attach(model, INT8)
    with pytest.raises(SettingError, match="A model wears each technique once."):
        attach(model, INT8)


def test_it_goes_together_with_a_precision_and_the_dial() -> None:
    model = decoder()
    given = {"cache": "int8", "precision": "bf16", "backend": "torch-model", "tokens": 0.5}
    handle = configure(model, given)
    assert handle.techniques == (INT8, Precision("bf16", backend="torch-model"), TokenPruning())
    assert [found["technique"] for found in handle.report()] == ["cache", "precision"]
    cache = filled(model).past_key_values
    assert {type(layer) for layer in cache.layers} == {Int8PrunedLayer}
    filled(model, LATER, cache)
    handle.detach()
    assert "_rheostat_int8_cache" not in dir(type(model.model))
