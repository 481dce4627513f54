"""The handle: settings, contexts, protection and survivors."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, BertConfig, T5Config

import rheostat
from rheostat.core.errors import RheostatError, SettingError, UnsupportedModelError
from rheostat.techniques import Handle, TokenPruning, attach
from rheostat.testing import tiny_model

IDS = torch.arange(3, 27)[None]


def attached(model_type: str = "llama", **settings: Any) -> tuple[Any, Handle]:
    model = tiny_model(model_type, AutoModelForCausalLM if model_type == "llama" else AutoModel)
    return model, attach(model, TokenPruning(**settings))


def kept(handle: Handle) -> list[int]:
    return [len(block[0]) for block in handle.survivors()]


def test_the_public_api_attaches_and_detaches() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = rheostat.attach(model, "tokens")
    handle.set(tokens=0.5)
    with torch.no_grad():
        model(IDS)
    assert kept(handle) == [12, 6, 5, 5]
    handle.detach()
    handle.detach()
    with pytest.raises(RheostatError, match="detached handle"):
        handle.set(tokens=0.5)


def test_rounding_keeps_seven_of_ten() -> None:
    model, handle = attached()
    with torch.no_grad(), handle.at(tokens=0.7):
        model(IDS[:, :10])
    assert kept(handle) == [7, 5, 5, 5]


@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, float("nan"), "0.5", True, None])
def test_a_rate_outside_its_range_is_refused_and_changes_nothing(value: Any) -> None:
    _, handle = attached()
    handle.set(tokens=0.9)
    with pytest.raises(SettingError, match="tokens"):
        handle.set(tokens=value)
    assert handle.settings == {"tokens": 0.9}


def test_an_unknown_dial_is_refused_with_the_nearest() -> None:
    _, handle = attached()
    with pytest.raises(SettingError, match="Did you mean 'tokens'"):
        handle.set(token=0.5)
    with pytest.raises(SettingError, match="names one of the dials"), handle.at(depth=3):
        pass


def test_at_turns_back_also_after_an_error() -> None:
    _, handle = attached()
    handle.set(tokens=0.9)
    with handle.at(tokens=0.5):
        with pytest.raises(ZeroDivisionError), handle.at(tokens=0.2):
            raise ZeroDivisionError
        assert handle.settings == {"tokens": 0.5}
    assert handle.settings == {"tokens": 0.9}


def test_threads_do_not_see_each_others_settings() -> None:
    model, handle = attached()
    seen: dict[float, list[int]] = {}
    barrier = threading.Barrier(2)

    def run(rate: float) -> None:
        with torch.no_grad(), handle.at(tokens=rate):
            for _ in range(5):
                barrier.wait()
                model(IDS)
            seen[rate] = kept(handle)

    threads = [threading.Thread(target=run, args=(rate,)) for rate in (0.5, 0.9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {0.5: [12, 6, 5, 5], 0.9: [22, 20, 18, 17]}


def test_tasks_do_not_see_each_others_settings() -> None:
    model, handle = attached()

    async def run(rate: float) -> list[int]:
        with handle.at(tokens=rate):
            await asyncio.sleep(0)
            model(IDS)
            await asyncio.sleep(0)
            return kept(handle)

    async def both() -> list[list[int]]:
        return list(await asyncio.gather(run(0.5), run(0.9)))

    assert asyncio.run(both()) == [[12, 6, 5, 5], [22, 20, 18, 17]]


def test_a_forward_in_another_thread_is_seen_where_none_ran_here() -> None:
    model, handle = attached()
    handle.set(tokens=0.5)
    thread = threading.Thread(target=lambda: model(IDS))
    thread.start()
    thread.join()
    assert kept(handle) == [12, 6, 5, 5]


def test_survivors_need_a_pruned_forward() -> None:
    model, handle = attached()
    with pytest.raises(RheostatError, match="after a forward under pruning"):
        handle.survivors()
    with torch.no_grad(), handle.at(tokens=0.5):
        model(IDS)
    model(IDS)
    with pytest.raises(RheostatError, match="neutral"):
        handle.survivors()


@pytest.mark.parametrize(
    ("model_type", "protect", "ends"),
    [
        ("llama", "auto", [23]),
        ("llama", "first", [0]),
        ("llama", "both", [0, 23]),
        ("bert", "auto", [0]),
        ("bert", "last", [23]),
    ],
)
def test_protected_ends_survive_whatever_their_score(model_type: str, protect: str, ends: list[int]) -> None:
    # First-k drops the end, recency the start: only protection can keep both.
    for scorer in ("first", "recency"):
        model, handle = attached(model_type, protect=protect, scorer=scorer)
        with torch.no_grad(), handle.at(tokens=0.1):
            model(IDS)
        assert all(set(ends) <= set(row) for block in handle.survivors() for row in block)


def test_nothing_is_protected_where_that_is_asked_for() -> None:
    model, handle = attached(protect="none", scorer="first")
    with torch.no_grad(), handle.at(tokens=0.5):
        model(IDS)
    assert handle.survivors()[0][0] == list(range(12))


def test_marked_positions_survive_and_raise_the_count() -> None:
    model, handle = attached(scorer="first")
    marked = torch.zeros((1, 24), dtype=torch.bool)
    marked[0, 10:20] = True
    with torch.no_grad(), handle.at(tokens=0.1, protect=marked):
        model(IDS)
    assert handle.survivors()[-1][0] == [*range(10, 20), 23]


@pytest.mark.parametrize("mask", [torch.ones(24, dtype=torch.bool), torch.ones((1, 24)), [True]])
def test_an_unfit_mask_is_refused(mask: Any) -> None:
    _, handle = attached()
    with pytest.raises(SettingError, match="bool tensor"), handle.at(tokens=0.5, protect=mask):
        pass


def test_a_mask_of_another_shape_is_refused() -> None:
    model, handle = attached()
    mask = torch.ones((1, 7), dtype=torch.bool)
    with pytest.raises(SettingError, match="one entry for each token"), handle.at(tokens=0.5, protect=mask):
        model(IDS)


def test_a_mask_of_the_prompt_lasts_through_generation() -> None:
    model, handle = attached()
    marked = torch.zeros((1, 24), dtype=torch.bool)
    marked[0, 7:12] = True
    with torch.no_grad(), handle.at(tokens=0.3, protect=marked):
        cache = model.generate(IDS, max_new_tokens=4, eos_token_id=None, return_dict_in_generate=True).past_key_values
    assert cache.layers[-1].columns[0].tolist() == [*range(7, 12), 23, 24, 25, 26]


def test_a_model_wears_rheostat_once() -> None:
    model, handle = attached()
    with pytest.raises(SettingError, match="once"):
        attach(model)
    handle.detach()
    attach(model).detach()


@pytest.mark.parametrize("settings", [{"floor": 0}, {"floor": 2.5}, {"scorer": "atention"}, {"protect": "frist"}])
def test_unfit_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        TokenPruning(**settings)


def test_an_unknown_technique_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="Did you mean 'tokens'"):
        attach(tiny_model("bert"), "token")


def test_an_unsupported_family_is_refused_with_the_list() -> None:
    config = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=20)
    with pytest.raises(UnsupportedModelError, match=r"t5.*Supported: GPT-2, Llama"):
        attach(AutoModel.from_config(config))


def test_an_encoder_set_up_as_a_decoder_is_refused() -> None:
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, is_decoder=True
    )
    with pytest.raises(UnsupportedModelError, match="decoder"):
        attach(AutoModel.from_config(config))


def test_a_block_whose_forward_was_replaced_is_refused() -> None:
    model = tiny_model("bert")
    block = model.encoder.layer[0]
    block.forward = block.forward
    with pytest.raises(UnsupportedModelError, match="own forward"):
        attach(model)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model("bert", AutoModelForSequenceClassification).double()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        handle = attach(model, "tokens")
        model.train()
        with handle.at(tokens=0.5):
            model(IDS, labels=torch.tensor([1])).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 30
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_dropped_positions_pass_gradients() -> None:
    """A head that reads every position, as mean pooling does, trains through the dropped ones, too."""
    model, handle = attached("bert")
    embeddings = torch.randn(1, 24, 32, requires_grad=True)
    with handle.at(tokens=0.3):
        states = model(inputs_embeds=embeddings).last_hidden_state
        gone = sorted(set(range(24)) - set(handle.survivors()[0][0]))
        states[0, gone].sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad[0, gone].abs().sum() > 0


def test_a_given_embedding_is_not_written_over() -> None:
    model, handle = attached("bert")
    embeddings = torch.randn(2, 24, 32)
    before = embeddings.clone()
    mask = torch.ones((2, 24), dtype=torch.long)
    mask[0, 9:] = 0
    with torch.no_grad(), handle.at(tokens=0.5):
        model(inputs_embeds=embeddings, attention_mask=mask)
    assert torch.equal(embeddings, before)


def test_a_row_without_tokens_is_survived() -> None:
    model, handle = attached("bert")
    mask = torch.ones((2, 24), dtype=torch.long)
    mask[0] = 0
    with torch.no_grad(), handle.at(tokens=0.5):
        states = model(IDS.repeat(2, 1), attention_mask=mask).last_hidden_state
    assert handle.survivors()[0][0] == []
    assert torch.isfinite(states[1]).all()


def test_json_round_trips() -> None:
    technique = TokenPruning(floor=8, scorer="mean", protect="both")
    assert rheostat.techniques.technique_from_json(technique.to_json()) == technique
