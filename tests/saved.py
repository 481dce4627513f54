"""Tiny random models saved as folders, and texts whose class can be learnt: nothing is downloaded."""

import random
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from rheostat.core.text import Split, TextData
from rheostat.testing import tiny_model

SPECIAL = ("[PAD]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[UNK]")
WORDS = tuple(f"w{number}" for number in range(97 - len(SPECIAL)))


def make_tokenizer(task: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token a word; for classification it adds [CLS] and [SEP], for causal-lm [BOS]."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    if task == "classification":
        ends = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
    else:
        ends = {"bos_token": "[BOS]", "eos_token": "[EOS]"}
        single, pair = "[BOS] $A", "[BOS] $A $B"
    ids = [(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]", "[BOS]")]
    words.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    if task == "causal-lm":
        inputs.remove("token_type_ids")
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", model_max_length=128, model_input_names=inputs, **ends
    )


def save_tiny(folder: Path, task: str = "classification", model_type: str | None = None, **settings: Any) -> Path:
    """Save a tiny model and its tokenizer: an encoder without a head, or a language model."""
    head = AutoModel if task == "classification" else AutoModelForCausalLM
    default = {"num_hidden_layers": 2} if model_type is None else {}
    kind = model_type or ("bert" if task == "classification" else "llama")
    tiny_model(kind, head, **{**default, **settings}).save_pretrained(folder)
    make_tokenizer(task).save_pretrained(folder)
    return folder


def make_data(task: str = "classification", rows: int = 24, words: int = 12) -> TextData:
    """Texts of random words; those of class "b" have the word w0 in every third place."""
    splits = {"train": _split(task, rows, words, seed=1), "validation": _split(task, 8, words, seed=2)}
    if task == "causal-lm":
        return TextData(splits, "causal-lm")
    return TextData(splits, "classification", ("a", "b"))


def _split(task: str, rows: int, words: int, seed: int) -> Split:
    generator = random.Random(seed)
    labels = [row % 2 for row in range(rows)]
    texts = []
    for label in labels:
        text = generator.choices(WORDS[1:], k=generator.randint(words // 2, words))
        text[::3] = ["w0"] * len(text[::3]) if label else text[::3]
        texts.append(" ".join(text))
    return Split(texts, labels=labels if task == "classification" else None)
