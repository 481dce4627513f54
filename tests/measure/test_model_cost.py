import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    GPT2Config,
    MistralConfig,
    ModernBertConfig,
)

from rheostat.core.errors import UnsupportedModelError
from rheostat.measure.macs import Plan, Visible, batch_macs, macs_ratio
from rheostat.measure.model_cost import cost_of, linear_weights
from rheostat.techniques import TokenPruning, attach
from tests.measure.conftest import make_classifier, make_language_model

LENGTH = 12


def counted_by_torch(model, **options) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.arange(LENGTH)[None], **options)
    return counter.get_total_flops() // 2


def test_bert_agrees_with_torch_to_the_last_product():
    model = make_classifier()
    model.set_attn_implementation("eager")
    assert batch_macs(cost_of(model), [LENGTH], []).total == counted_by_torch(model)


def test_llama_agrees_with_torch_but_for_what_a_causal_mask_hides():
    model = make_language_model()
    model.set_attn_implementation("eager")
    blocks = len(cost_of(model).blocks)
    # Eager attention multiplies the whole square and masks it afterwards; ours counts what a query sees.
    hidden = blocks * 2 * 4 * 8 * (LENGTH * LENGTH - LENGTH * (LENGTH + 1) // 2)
    counted = batch_macs(cost_of(model), [LENGTH], [], output_rows=LENGTH).total
    assert counted + hidden == counted_by_torch(model)


def test_next_token_logits_alone_take_one_row_of_the_head():
    model = make_language_model()
    model.set_attn_implementation("eager")
    saved = counted_by_torch(model) - counted_by_torch(model, logits_to_keep=1)
    cost = cost_of(model)
    ours = [batch_macs(cost, [LENGTH], [], output_rows=rows).total for rows in (LENGTH, 1)]
    assert ours[0] - ours[1] == saved


def test_wearing_a_technique_changes_no_cost():
    model = make_classifier()
    plain = cost_of(model)
    handle = attach(model)
    assert cost_of(model) == plain
    handle.detach()


@pytest.mark.parametrize("make", [make_classifier, make_language_model])
def test_arithmetic_is_what_a_forward_really_dropped(make):
    model = make()
    handle = attach(model, TokenPruning(floor=3))
    with torch.no_grad(), handle.at(tokens=0.6):
        model(torch.arange(LENGTH)[None])
    cost = cost_of(model)
    counted = batch_macs(cost, [LENGTH], handle.survivors()).total
    assert batch_macs(cost, [LENGTH], []).total / counted == macs_ratio(cost, [LENGTH], Plan(0.6, floor=3))


def test_conv1d_layers_count():
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=65, bos_token_id=0, eos_token_id=0)
    block = cost_of(AutoModelForCausalLM.from_config(config)).blocks[0]
    assert (block.attention, block.feed_forward) == (4 * 32 * 32, 8 * 32 * 32)
    assert (block.heads, block.head_size, block.visible) == (4, 8, Visible(causal=True))


def test_windows_are_read_off_each_block():
    shape = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 65}
    gemma = Gemma3TextConfig(**shape, num_hidden_layers=6, num_key_value_heads=1, head_dim=16, sliding_window=7)
    blocks = cost_of(AutoModelForCausalLM.from_config(gemma)).blocks
    assert [block.visible.window for block in blocks] == [7, 7, 7, 7, 7, None]
    assert blocks[0].head_size == 16
    mistral = MistralConfig(**shape, num_hidden_layers=2, num_key_value_heads=2, sliding_window=9)
    assert cost_of(AutoModelForCausalLM.from_config(mistral)).blocks[1].visible == Visible(True, 9)
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    modern = ModernBertConfig(**shape, **special, num_hidden_layers=3, local_attention=8)
    windows = [block.visible.window for block in cost_of(AutoModelForSequenceClassification.from_config(modern)).blocks]
    # Four columns to either side: less than five away.
    assert windows == [None, 5, 5]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT still asks for it
def test_low_rank_adapters_count_while_they_run():
    model = make_language_model()
    plain = cost_of(model).blocks[0]
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert cost_of(adapted).blocks[0].attention == plain.attention + 2 * (32 + 32)
    with adapted.disable_adapter():
        assert cost_of(adapted).blocks[0] == plain
    adapted.merge_adapter()
    assert cost_of(adapted).blocks[0] == plain


def test_low_precision_layers_count_like_any_other():
    plain = nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Embedding(5, 4))
    assert linear_weights(plain) == 32

    class Packed(nn.Module):
        in_features, out_features = 8, 4

    assert linear_weights(nn.Sequential(Packed())) == 32


def test_layers_without_a_size_are_refused():
    model = make_classifier()
    for block in model.bert.encoder.layer:
        block.intermediate.dense = nn.Identity()
        block.output.dense = nn.Identity()
    with pytest.raises(UnsupportedModelError, match="linear layers that show their size"):
        cost_of(model)
