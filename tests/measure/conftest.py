"""Tiny random models with a word tokenizer: nothing is downloaded."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rheostat.core.text import Split, TextData
from rheostat.techniques import TokenPruning, attach

WORDS = [f"w{number}" for number in range(60)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>"]


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    single, names = ("<s> $A", ["<s>"]) if kind == "causal-lm" else ("[CLS] $A [SEP]", ["[CLS]", "[SEP]"])
    words.post_processor = TemplateProcessing(
        single=single,
        pair=f"{single} $B:1" + ("" if kind == "causal-lm" else " [SEP]:1"),
        special_tokens=[(name, SPECIAL.index(name)) for name in names],
    )
    specials = {"bos_token": "<s>"} if kind == "causal-lm" else {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=256, **specials
    )


def make_classifier() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=65,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        num_labels=2,
        initializer_range=0.3,
    )
    return BertForSequenceClassification(config).eval()


def make_language_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=65,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        bos_token_id=4,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def make_bundle(folder, task: str) -> SimpleNamespace:
    model = make_classifier() if task == "classification" else make_language_model()
    return SimpleNamespace(
        folder=folder,
        task=task,
        model=model,
        tokenizer=make_tokenizer(task),
        handle=attach(model, TokenPruning(floor=2)),
        max_length=48,
        label_names=("even", "odd") if task == "classification" else None,
    )


def text_of(seed: int, words: int) -> str:
    numbers = torch.randint(0, len(WORDS), (words,), generator=torch.Generator().manual_seed(seed))
    return " ".join(WORDS[number] for number in numbers)


def make_split(rows: int, seed: int) -> Split:
    texts = [text_of(seed * 1000 + row, 5 + row % 30) for row in range(rows)]
    return Split(texts, labels=[row % 2 for row in range(rows)])


@pytest.fixture
def classifier(tmp_path):
    return make_bundle(tmp_path / "bundle", "classification")


@pytest.fixture
def language_model(tmp_path):
    return make_bundle(tmp_path / "bundle", "causal-lm")


@pytest.fixture
def reviews():
    splits = {"train": make_split(24, 1), "validation": make_split(12, 2)}
    return TextData(splits, "classification", ("even", "odd"))


@pytest.fixture
def book():
    return TextData({"validation": Split([text_of(7, 400), text_of(8, 300)])}, "causal-lm")
