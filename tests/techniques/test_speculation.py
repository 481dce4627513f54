"""Self-speculation writes what the whole model writes, and runs every block once for each drafted token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.models.families import Family, families, locate
from rheostat.techniques import CachePrecision, attach
from rheostat.techniques.speculation import speculate
from rheostat.testing import tiny_model

DECODERS = [family for family in families() if family.kind == "decoder"]
PROMPT = torch.randint(3, 97, (1, 19), generator=torch.Generator().manual_seed(4))
GREEDY: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def label(family: Family) -> str:
    return family.model_type


def subject(model_type: str = "llama", **settings: Any) -> tuple[Any, Any]:
    model = tiny_model(model_type, AutoModelForCausalLM, **settings)
    # Gemma 2's own attention gives NaN in float64.
    model = model if model_type == "gemma2" else model.double()
    return model, attach(model, "tokens", "depth")


def easy(model: Any, depth: int) -> None:
    """Let the blocks above a depth change little, so that drafts are good."""
    located = locate(model)
    with torch.no_grad():
        for block in located.blocks[depth:]:
            for parameter in block.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(0.25)


@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_tokens_are_those_of_the_whole_model(family: Family, tokens: float) -> None:
    model, handle = subject(family.model_type)
    easy(model, 2)
    with handle.at(tokens=tokens):
        expected = model.generate(PROMPT, max_new_tokens=24, **GREEDY)[:, 19:]
        for depth in (1, 2, 3):
            found = speculate(handle, PROMPT, depth=depth, max_new_tokens=24, eos_token_id=[])
            assert torch.equal(found.tokens, expected)
            assert 0 <= found.acceptance <= 1


def test_tokens_are_those_of_the_whole_model_in_float32_and_with_a_cache_in_8_bits() -> None:
    model = tiny_model("qwen3", AutoModelForCausalLM)
    expected = model.generate(PROMPT, max_new_tokens=24, **GREEDY)[:, 19:]
    handle = attach(model, "depth")
    assert torch.equal(speculate(handle, PROMPT, depth=2, max_new_tokens=24, eos_token_id=[]).tokens, expected)
    handle.detach()
    handle = attach(model, CachePrecision("int8"), "depth")
    assert speculate(handle, PROMPT, depth=2, max_new_tokens=24, eos_token_id=[]).tokens.shape == (1, 24)


def test_drafts_grow_while_they_are_kept_and_shrink_where_not() -> None:
    model, handle = subject()
    with torch.no_grad():
        for block in locate(model).blocks[2:]:
            for parameter in block.parameters():
                parameter.zero_()
    found = speculate(handle, PROMPT, depth=2, max_new_tokens=19, eos_token_id=[])
    assert found.rounds == ((4, 4), (6, 6), (8, 8))
    assert found.acceptance == 1.0
    model, handle = subject(seed=3)
    sizes = [size for size, kept in speculate(handle, PROMPT, depth=1, max_new_tokens=20, eos_token_id=[]).rounds]
    assert sizes[:4] == [4, 3, 2, 1]


def test_no_block_runs_twice_for_a_token() -> None:
    model, handle = subject()
    easy(model, 2)
    ran = [0] * 4
    for index, block in enumerate(locate(model).blocks):

        def count(module: Any, args: Any, index: int = index) -> None:
            ran[index] += args[0].shape[1]

        block.register_forward_pre_hook(count)
    found = speculate(handle, PROMPT, depth=2, max_new_tokens=20, eos_token_id=[])
    drafted = sum(size for size, _ in found.rounds)
    assert ran == [19 + drafted] * 4


def test_writing_ends_after_an_end_token() -> None:
    model, handle = subject()
    whole = speculate(handle, PROMPT, depth=2, max_new_tokens=20, eos_token_id=[]).tokens[0].tolist()
    end = whole[7]
    found = speculate(handle, PROMPT, depth=2, max_new_tokens=20, eos_token_id=end).tokens[0].tolist()
    assert found == whole[: whole.index(end) + 1]
    model.generation_config.eos_token_id = [end]
    assert speculate(handle, PROMPT, depth=2, max_new_tokens=20).tokens[0].tolist() == found


def test_unfit_input_is_refused() -> None:
    _, handle = subject()
    for unfit in ({"depth": 4}, {"depth": 2, "draft": 0}, {"depth": 2, "max_new_tokens": 0}):
        with pytest.raises(SettingError, match="A draft is made by fewer than the 4 blocks"):
            speculate(handle, PROMPT, **unfit)
    with pytest.raises(SettingError, match="one prompt at a time"):
        speculate(handle, PROMPT.repeat(2, 1), depth=2)
    with pytest.raises(UnsupportedModelError, match="written by a decoder"):
        speculate(attach(tiny_model("bert"), "depth"), PROMPT, depth=2, eos_token_id=[])
    with pytest.raises(UnsupportedModelError, match="written by a language model"):
        speculate(attach(tiny_model("llama", AutoModel), "depth"), PROMPT, depth=2, eos_token_id=[])
