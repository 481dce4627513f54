"""Further outputs, other attention implementations, and other ways to run a forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.models.families import Family, families
from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept, logits


def label(family: Family) -> str:
    return family.model_type


def head_of(family: Family) -> Any:
    return AutoModelForCausalLM if family.kind == "decoder" else AutoModelForMaskedLM


def pruned(model_type: str = "llama", head: Any = AutoModelForCausalLM, **settings: Any) -> tuple[Any, Handle]:
    model = tiny_model(model_type, head, **settings)
    handle = attach(model, "tokens")
    handle.set(tokens=0.5)
    return model, handle


@pytest.mark.parametrize("configured", [True, False], ids=["by configuration", "by argument"])
@pytest.mark.parametrize("family", families(), ids=label)
def test_hidden_states_are_as_each_block_left_them(family: Family, configured: bool) -> None:
    """Blocks write over each other's output where nobody holds it; from the first recording on, somebody does."""
    model, _ = pruned(family.model_type, head_of(family), output_hidden_states=configured)
    options = {} if configured else {"output_hidden_states": True}
    with torch.no_grad():
        first = model(**batch(), **options).hidden_states
        again = model(**batch(), **options).hidden_states
    trained = model(**batch(), **options).hidden_states
    real = batch()["attention_mask"].bool()
    assert [tuple(states.shape) for states in first] == [(3, 21, 32)] * 5
    for one, other, graded in zip(first, again, trained, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one[real], graded[real].detach(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("place", [0, 2])
def test_a_hook_may_keep_what_a_block_returned(place: int) -> None:
    model, _ = pruned()
    seen: list[torch.Tensor] = []
    model.model.layers[place].register_forward_hook(lambda module, args, output: seen.extend([output, output.clone()]))
    with torch.no_grad():
        model(**batch())
    assert torch.equal(*seen)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bert"])
def test_attention_weights_are_there_at_neutral_only(model_type: str) -> None:
    """Under pruning there are none, as under Transformers' own sdpa: an empty tuple."""
    model, handle = pruned(model_type, AutoModel, attn_implementation="eager")
    with torch.no_grad():
        assert model(**batch(), output_attentions=True).attentions == ()
        with handle.at(tokens=1.0):
            weights = model(**batch(), output_attentions=True).attentions
    assert [tuple(block.shape) for block in weights] == [(3, 4, 21, 21)] * 4


def test_the_attention_implementation_changes_while_attached() -> None:
    model, handle = pruned()
    before = logits(model, batch())
    model.set_attn_implementation("eager")
    assert torch.equal(logits(model, batch()), before)
    eager = tiny_model("llama", AutoModelForCausalLM, attn_implementation="eager")
    with handle.at(tokens=1.0):
        assert torch.equal(logits(model, batch()), logits(eager, batch()))
    handle.detach()
    assert torch.equal(logits(model, batch()), logits(eager, batch()))
    assert model.model.layers[0].self_attn.config is model.config


def test_inference_mode_gives_what_no_grad_gives() -> None:
    model, _ = pruned()
    with torch.inference_mode():
        inferred = model(**batch("left"), use_cache=True)
        more = model(torch.full((3, 1), 5), past_key_values=inferred.past_key_values).logits
    with torch.no_grad():
        expected = model(**batch("left"), use_cache=True)
        assert torch.equal(more, model(torch.full((3, 1), 5), past_key_values=expected.past_key_values).logits)
    assert torch.equal(inferred.logits, expected.logits)


def test_embeddings_in_place_of_tokens() -> None:
    model, _ = pruned()
    inputs = batch()
    embedded = {"inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]).detach()}
    embedded["attention_mask"] = inputs["attention_mask"]
    assert torch.equal(logits(model, embedded), logits(model, inputs))


def test_arguments_by_position() -> None:
    model, _ = pruned()
    inputs = batch()
    with torch.no_grad():
        assert torch.equal(model(inputs["input_ids"], inputs["attention_mask"])[0], logits(model, inputs))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int32])
def test_a_mask_of_any_type(dtype: torch.dtype) -> None:
    model, _ = pruned()
    inputs = batch("left")
    cast = {**inputs, "attention_mask": inputs["attention_mask"].to(dtype)}
    assert torch.equal(logits(model, cast), logits(model, inputs))


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text"])
def test_texts_packed_into_one_row_are_refused(model_type: str) -> None:
    """Transformers tells them apart by positions that start anew; pruning would mix them without a word."""
    model, handle = pruned(model_type, AutoModelForCausalLM)
    ids = torch.arange(3, 27)[None]
    packed = {"position_ids": torch.cat([torch.arange(14), torch.arange(10)])[None], "use_cache": False}
    with handle.at(tokens=1.0), torch.no_grad():
        alone = model(ids[:, 14:]).logits
        torch.testing.assert_close(model(ids, **packed).logits[:, 14:], alone, atol=1e-4, rtol=1e-4)
    with pytest.raises(SettingError, match="packed into one row"):
        model(ids, **packed)
    in_one = {"position_ids": torch.arange(24)[None], "use_cache": False}
    assert torch.equal(model(ids, **in_one).logits, model(ids, use_cache=False).logits)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_is_plain_at_neutral() -> None:
    model = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    inputs = {**batch("left"), "use_cache": False}
    plain = logits(model, inputs)
    attach(model, "tokens")
    torch.testing.assert_close(logits(torch.compile(model, backend="eager"), inputs), plain)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_runs_at_every_setting() -> None:
    """The handle belongs to the model; its compiled form follows, at the price of compiling for each setting."""
    model = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    inputs = {**batch("left"), "use_cache": False}
    handle = attach(model, "tokens")
    compiled = torch.compile(model, backend="eager")
    for rate in (0.5, 0.7, 1.0):
        handle.set(tokens=rate)
        torch.testing.assert_close(logits(compiled, inputs), logits(model, inputs))


def test_attaching_to_a_compiled_model_finds_the_model_inside() -> None:
    model = tiny_model("bert", num_hidden_layers=2)
    handle = attach(torch.compile(model, backend="eager"), "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        model(**batch())
    assert kept(handle) == [11, 6]


def test_one_handle_for_two_models_is_refused() -> None:
    both = torch.nn.ModuleList([tiny_model("bert"), tiny_model("bert", seed=1)])
    with pytest.raises(UnsupportedModelError, match="one base model. Given: BertModel and BertModel"):
        attach(both, "tokens")


def test_weights_that_accelerate_brings_in_are_pruned_alike() -> None:
    model, handle = pruned()
    expected = logits(model, batch())
    handle.detach()
    cpu_offload(model, execution_device="cpu")
    handle = attach(model, "tokens")
    with handle.at(tokens=0.5):
        assert torch.equal(logits(model, batch()), expected)


@pytest.mark.parametrize("path", ["model", "model.layers.1"])
def test_a_forward_that_a_hook_replaced_is_refused(path: str) -> None:
    """Accelerate spreads a model over devices so; the base model would run unpruned without a word."""
    model = tiny_model("llama", AutoModelForCausalLM)
    add_hook_to_module(model.get_submodule(path), AlignDevicesHook(io_same_device=True))
    with pytest.raises(UnsupportedModelError, match="their class's own forward"):
        attach(model, "tokens")


def test_hooks_put_on_after_attaching_outlive_it() -> None:
    model, handle = pruned()
    plain = logits(tiny_model("llama", AutoModelForCausalLM), batch())
    for path in ("model", "model.layers.1"):
        add_hook_to_module(model.get_submodule(path), AlignDevicesHook(io_same_device=True))
    logits(model, batch())
    assert kept(handle) == [11, 6, 5, 5]
    handle.detach()
    assert torch.equal(logits(model, batch()), plain)
