"""Which model families are supported, and where the parts of their blocks are: one line a family."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

from rheostat.core.errors import UnsupportedModelError
from rheostat.models.layouts import Layout, PostNorm, PreNorm, SelfContained

__all__ = ["Family", "Located", "families", "locate"]


@dataclass(frozen=True, slots=True)
class Family:
    """Where the blocks of a model family are, and how a block is laid out.

    Attributes:
        model_type: Transformers' ``config.model_type``.
        label: What people call it.
        kind: Whether attention is causal.
        blocks: Path of the list of blocks under the base model.
        layout: Where attention and feed-forward are in a block.
    """

    model_type: str
    label: str
    kind: Literal["decoder", "encoder"]
    blocks: str
    layout: Layout

    def blocks_of(self, base: nn.Module) -> nn.ModuleList | None:
        """Return the blocks of a base model; None where it has none at that path."""
        found: object = base
        for name in self.blocks.split("."):
            found = getattr(found, name, None)
        return found if isinstance(found, nn.ModuleList) else None


_LLAMA = PreNorm(
    attention="self_attn",
    before_attention="input_layernorm",
    feed_forward="mlp",
    before_feed_forward="post_attention_layernorm",
)
_GEMMA = PreNorm(
    attention="self_attn",
    before_attention="input_layernorm",
    after_attention="post_attention_layernorm",
    feed_forward="mlp",
    before_feed_forward="pre_feedforward_layernorm",
    after_feed_forward="post_feedforward_layernorm",
)
_PHI = PreNorm(
    attention="self_attn",
    before_attention="input_layernorm",
    after_attention="resid_attn_dropout",
    feed_forward="mlp",
    before_feed_forward="post_attention_layernorm",
    after_feed_forward="resid_mlp_dropout",
)
_GPT2 = PreNorm(attention="attn", before_attention="ln_1", feed_forward="mlp", before_feed_forward="ln_2")
_MODERNBERT = PreNorm(
    attention="attn", before_attention="attn_norm", feed_forward="mlp", before_feed_forward="mlp_norm"
)
_BERT = SelfContained(attention="attention", feed_forward="feed_forward_chunk", parts=("intermediate", "output"))
_DISTILBERT = PostNorm(
    attention="attention",
    after_attention="sa_layer_norm",
    feed_forward="ffn",
    after_feed_forward="output_layer_norm",
)

_FAMILIES = (
    Family("gpt2", "GPT-2", "decoder", "h", _GPT2),
    Family("llama", "Llama", "decoder", "layers", _LLAMA),
    Family("mistral", "Mistral", "decoder", "layers", _LLAMA),
    Family("qwen2", "Qwen2", "decoder", "layers", _LLAMA),
    Family("qwen3", "Qwen3", "decoder", "layers", _LLAMA),
    Family("gemma2", "Gemma 2", "decoder", "layers", _GEMMA),
    Family("gemma3_text", "Gemma 3", "decoder", "layers", _GEMMA),
    Family("phi3", "Phi-3", "decoder", "layers", _PHI),
    Family("smollm3", "SmolLM3", "decoder", "layers", _LLAMA),
    Family("bert", "BERT", "encoder", "encoder.layer", _BERT),
    Family("roberta", "RoBERTa", "encoder", "encoder.layer", _BERT),
    Family("distilbert", "DistilBERT", "encoder", "transformer.layer", _DISTILBERT),
    Family("electra", "ELECTRA", "encoder", "encoder.layer", _BERT),
    Family("modernbert", "ModernBERT", "encoder", "layers", _MODERNBERT),
)


def families() -> tuple[Family, ...]:
    """Return every supported family."""
    return _FAMILIES


@dataclass(frozen=True, slots=True)
class Located:
    """A family found in a model.

    Attributes:
        family: The family.
        base: The module whose forward runs the blocks, for instance ``LlamaModel``.
        blocks: The blocks, in order.
    """

    family: Family
    base: nn.Module
    blocks: tuple[nn.Module, ...]

    def attentions(self) -> list[nn.Module]:
        """Return the modules that dispatch to the attention interface, one for each block."""
        return [self.family.layout.dispatcher(block) for block in self.blocks]


def locate(model: nn.Module) -> Located:
    """Find the supported base model inside a model: itself, under a head, or under PEFT adapters.

    Raises:
        UnsupportedModelError: With the reason, and the list of what is supported.
    """
    found = list(_located(model))
    if not found:
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise _unsupported("A model's family must be a supported one.", kind, "Use one of them, or add a family.")
    if len(found) > 1:
        given = " and ".join(type(located.base).__name__ for located in found)
        raise _unsupported("One handle turns one base model.", given, "Attach to each of them by itself.")
    _refuse_unfit(found[0], model)
    return found[0]


def _located(model: nn.Module) -> Iterator[Located]:
    by_type = {family.model_type: family for family in _FAMILIES}
    for module in model.modules():
        # Wrappers, as PEFT's and torch.compile's, show the attributes of what they wrap: only models themselves count.
        if not isinstance(module, PreTrainedModel):
            continue
        family = by_type.get(getattr(module.config, "model_type", ""))
        blocks = family.blocks_of(module) if family is not None else None
        if family is not None and blocks is not None:
            yield Located(family, module, tuple(blocks))


def _refuse_unfit(located: Located, model: nn.Module) -> None:
    config: Any = located.base.config
    family = located.family
    implementation = config._attn_implementation
    if implementation not in ("eager", "sdpa"):
        mend = "Load the model with attn_implementation='sdpa', or call model.set_attn_implementation('sdpa')."
        raise _unsupported("Attention must be eager or sdpa.", implementation, mend)
    reasons = {
        "cross-attention": getattr(config, "add_cross_attention", False),
        "an encoder set up as a decoder (is_decoder=True)": family.kind == "encoder"
        and getattr(config, "is_decoder", False),
        "bidirectional attention in a decoder": family.kind == "decoder" and not _causal(located),
        "reorder_and_upcast_attn": getattr(config, "reorder_and_upcast_attn", False),
        "images beside text": any(name.startswith("vision") for name, _ in model.named_children())
        or getattr(getattr(model, "config", None), "vision_config", None) is not None,
    }
    for reason, present in reasons.items():
        if present:
            raise _unsupported(f"{family.label} is supported without {reason}.", reason, "Set the model up without it.")
    if any("forward" in vars(module) for module in (located.base, *located.blocks)):
        mend = "Attach before hooks replace the forward of a module, or load on one device."
        rule = "The base model and its blocks must run their class's own forward."
        raise _unsupported(rule, "a forward set on the instance", mend)


def _causal(located: Located) -> bool:
    return all(getattr(module, "is_causal", True) for module in located.attentions())


def _unsupported(rule: str, given: object, mend: str) -> UnsupportedModelError:
    known = ", ".join(family.label for family in _FAMILIES)
    return UnsupportedModelError(rule, given=given, mend=f"{mend} Supported: {known}.")
