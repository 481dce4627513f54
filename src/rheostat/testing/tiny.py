"""Tiny random models of every supported family: small enough for a test, odd enough to catch mistakes."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest

__all__ = ["TINY", "VOCABULARY", "tiny_model"]

VOCABULARY = 97
"""Tokens that tiny models know; 0 is padding."""

_DECODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
# A sliding window shorter than the texts of the tests, in some layers.
_WINDOW = {"sliding_window": 8}
_MIXED = {
    **_WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}

TINY: dict[str, dict[str, Any]] = {
    "gpt2": {
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "llama": _DECODER,
    "mistral": {**_DECODER, **_WINDOW},
    "qwen2": {**_DECODER, **_MIXED, "use_sliding_window": True},
    "qwen3": {**_DECODER, "head_dim": 8},
    "gemma2": {
        **_DECODER,
        **_MIXED,
        "head_dim": 8,
        "attn_logit_softcapping": 5.0,
        "query_pre_attn_scalar": 8,
    },
    "gemma3_text": {**_DECODER, **_MIXED, "head_dim": 8, "query_pre_attn_scalar": 8},
    "phi3": {**_DECODER, "resid_pdrop": 0.0},
    "smollm3": {**_DECODER, "no_rope_layers": [1, 0, 1, 1]},
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 4, "n_heads": 4, "max_position_embeddings": 512},
    "electra": {**_ENCODER, "embedding_size": 16},
    "modernbert": {
        **_ENCODER,
        "layer_types": _MIXED["layer_types"],
        "local_attention": 8,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
}
"""Settings of a tiny model for each family, by ``model_type``."""


def tiny_model(model_type: str, head: Any = AutoModel, *, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Return a tiny random model, in eval mode and float32.

    Args:
        model_type: Key of `TINY`.
        head: An auto class of Transformers, for instance ``AutoModelForCausalLM``.
        seed: Seed of the weights.
        settings: Further settings of the configuration, and ``attn_implementation``.

    Raises:
        SettingError: If the family has no tiny model.
    """
    if model_type not in TINY:
        raise SettingError("A tiny model is of a known family.", given=repr(model_type), mend=suggest(model_type, TINY))
    attention = settings.pop("attn_implementation", "sdpa" if model_type != "gemma2" else "eager")
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, pad_token_id=0, **{**TINY[model_type], **settings})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = head.from_config(config, attn_implementation=attention)
        _spread(model)
    model.eval()
    return model


def _spread(model: PreTrainedModel) -> None:
    """Give weights more spread than Transformers' 0.02, so that attention is far from uniform and scores differ.

    Norms and biases move away from ones and zeros, too: or one norm taken for another would go unnoticed.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
        elif "embed" not in name:
            torch.nn.init.normal_(parameter, std=0.25)
