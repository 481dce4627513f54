"""Tokens are written from their own depths, on a cache that says what it holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rheostat.core.errors import SettingError
from rheostat.core.exits import NEVER, ExitRule, calibrated_rule
from rheostat.models.cache import new_cache
from rheostat.models.families import Family, families, locate
from rheostat.techniques import attach
from rheostat.techniques.ladder import Ladder
from rheostat.techniques.token_exits import generate_with_exits, token_exit_scores
from rheostat.testing import tiny_model

DECODERS = [family for family in families() if family.kind == "decoder"]
PROMPT = torch.randint(3, 97, (1, 19), generator=torch.Generator().manual_seed(4))
TEXTS = torch.randint(3, 97, (6, 40), generator=torch.Generator().manual_seed(8))
NEW = 16


def label(family: Family) -> str:
    return family.model_type


def subject(model_type: str = "llama") -> tuple[Any, Any]:
    model = tiny_model(model_type, AutoModelForCausalLM)
    # Gemma 2's own attention gives NaN in float64.
    model = model if model_type == "gemma2" else model.double()
    return model, attach(model, "tokens", "depth")


def middling(handle: Any, criterion: Any = "confidence") -> ExitRule:
    scores = token_exit_scores(handle, [1, 2, 3], criterion, TEXTS).tolist()
    return calibrated_rule(scores, [1, 2, 3], blocks=4, target=2.3, criterion=criterion)


def write(handle: Any, rule: ExitRule, **options: Any) -> Any:
    return generate_with_exits(handle, rule, PROMPT, max_new_tokens=NEW, eos_token_id=[], **options)


@pytest.mark.parametrize("criterion", ["confidence", "similarity"])
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_each_token_is_the_one_of_the_model_of_its_depth_without_a_cache(family: Family, criterion: Any) -> None:
    model, handle = subject(family.model_type)
    rule = middling(handle, criterion)
    written = write(handle, rule)
    assert len(set(written.depths)) >= 3
    text = PROMPT
    for token, depth in zip(written.tokens[0], written.depths, strict=True):
        with torch.no_grad(), handle.at(depth=depth):
            assert int(model(text, use_cache=False).logits[0, -1].argmax()) == int(token)
        scores = token_exit_scores(handle, rule.depths, criterion, text)[-1].tolist()
        assert len(text[0]) == 19 or rule.depth(scores, blocks=4) == depth
        text = torch.cat([text, token.view(1, 1)], dim=1)


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_with_thresholds_that_nothing_reaches_it_is_plain_generation(tokens: float) -> None:
    model, handle = subject("gemma3_text")
    with handle.at(tokens=tokens):
        options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        expected = model.generate(PROMPT, max_new_tokens=NEW, **options)[:, 19:]
        for fill in ("exact", "project", "copy"):
            written = write(handle, ExitRule({1: NEVER, 3: NEVER}), fill=fill)
            assert torch.equal(written.tokens, expected)
            assert written.mean_depth == 4
            assert all(set(written.ledger.of(block)) <= {"exact", "pruned"} for block in range(4))


@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_what_was_filled_is_what_the_whole_model_would_have_kept(family: Family, tokens: float) -> None:
    model, handle = subject(family.model_type)
    new = torch.randint(3, 97, (1, 6), generator=torch.Generator().manual_seed(6))
    with torch.no_grad(), handle.at(tokens=tokens):
        ladder, cache = Ladder(handle, PROMPT), new_cache(4)
        model(PROMPT, past_key_values=cache, use_cache=True)
        for token, depth in zip(new[0], (3, 2, 2, 1, 3, 1), strict=True):
            ladder.push(token.view(1, 1))
            ladder.lift(depth)
        held = [layer.columns[0].tolist() for layer in ladder.cache.layers]
        assert held == [ladder.ledger.held(block) for block in range(4)]
        logits = ladder.lift(4, answers=6)[0]
        with handle.at(tokens=1.0):
            expected = torch.cat([model(token.view(1, 1), past_key_values=cache).logits for token in new[0]], dim=1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    for block, (found, wanted) in enumerate(zip(ladder.cache.layers, cache.layers, strict=True)):
        assert found.columns.tolist() == wanted.columns.tolist() == [ladder.ledger.held(block)]
        torch.testing.assert_close(found.keys, wanted.keys, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.values, wanted.values, atol=1e-4, rtol=1e-4)
    assert ladder.ledger.of(0)[19:] == ("exact",) * 6
    assert ladder.ledger.of(1)[19:] == ("exact", "exact", "exact", "filled", "exact", "exact")
    assert ladder.ledger.of(2)[19:] == ("exact", "filled", "filled", "filled", "exact", "exact")
    assert ladder.ledger.of(3)[19:] == ("filled",) * 5 + ("exact",)
    assert ("pruned" in ladder.ledger.of(3)[:19]) == (tokens < 1)


@pytest.mark.parametrize("fill", ["project", "copy"])
@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_cheap_fills_leave_no_hole_and_run_no_block_again(family: Family, fill: Any) -> None:
    model, handle = subject(family.model_type)
    fed = [0] * 4
    for index, block in enumerate(locate(model).blocks):
        layer, part = index, locate(model).family.layout.feed_forward_parts(block)[0]

        def count(module: Any, args: Any, layer: int = layer) -> None:
            fed[layer] += args[0].shape[1]

        part.register_forward_pre_hook(count)
    rule = middling(handle)
    prompt = [len(block[0]) for block in prompt_survivors(handle)]
    fed[:] = [0] * 4
    with handle.at(tokens=0.6):
        written = write(handle, rule, fill=fill)
    read = written.depths[1:]
    assert fed == [prompt[block] + sum(depth > block for depth in read) for block in range(4)]
    name = {"project": "projected", "copy": "copied"}[fill]
    for block in range(4):
        expected = tuple("exact" if depth > block else name for depth in read)
        assert written.ledger.of(block)[19:] == expected
    assert any("pruned" in written.ledger.of(block) for block in range(4))


def prompt_survivors(handle: Any) -> list[list[list[int]]]:
    with torch.no_grad(), handle.at(tokens=0.6):
        handle.model(PROMPT)
        return handle.survivors()


def test_a_copy_is_that_of_the_block_it_left_and_a_projection_is_the_blocks_own() -> None:
    model, handle = subject()
    with torch.no_grad():
        for fill in ("copy", "project"):
            ladder = Ladder(handle, PROMPT)
            ladder.push(torch.tensor([[5]]))
            state = ladder.lift(2)[2]
            ladder.fill(fill)  # type: ignore[arg-type]
            layers = [layer.values[0, :, -1] for layer in ladder.cache.layers]
            if fill == "copy":
                assert torch.equal(layers[2], layers[1])
                assert torch.equal(layers[3], layers[1])
            else:
                for block in (2, 3):
                    inner = model.model.layers[block]
                    own = inner.self_attn.v_proj(inner.input_layernorm(state)).view(2, 8)
                    torch.testing.assert_close(layers[block], own)
            assert [layer.get_seq_length() for layer in ladder.cache.layers] == [20] * 4


def test_a_threshold_that_everything_reaches_stays_at_the_bottom() -> None:
    _, handle = subject()
    written = write(handle, ExitRule({2: -1.0}))
    assert written.depths == (4, *[2] * (NEW - 1))
    assert written.ledger.counts()[3] == {"exact": 19, "missing": NEW - 1}


def test_tokens_are_taken_back() -> None:
    _, handle = subject()
    with torch.no_grad():
        ladder, other = Ladder(handle, PROMPT), Ladder(handle, PROMPT)
        for token in (5, 6, 7):
            ladder.push(torch.tensor([[token]]))
            ladder.lift(2)
        ladder.drop(2)
        for one in (ladder, other):
            one.push(torch.tensor([[5 if one is other else 8]]))
            one.lift(3)
        other.push(torch.tensor([[8]]))
        torch.testing.assert_close(ladder.lift(4)[0], other.lift(4)[0])
    assert len(ladder.ledger) == 21


def test_unfit_options_are_refused() -> None:
    _, handle = subject()
    for unfit in ({"fill": "guess"}, {"max_new_tokens": 0}):
        with pytest.raises(SettingError, match="fill is exact, project or copy"):
            generate_with_exits(handle, ExitRule({2: 0.5}), PROMPT, **unfit)  # type: ignore[arg-type]
