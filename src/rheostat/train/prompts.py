"""From prompts with answers, and chats, to the rows that a language model is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rheostat.core.errors import DataError
from rheostat.core.extras import require
from rheostat.core.text import Split
from rheostat.train.losses import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["pad_prompts", "prompt_notes", "prompt_rows"]

_Ids = list[int]


def prompt_rows(tokenizer: PreTrainedTokenizerBase, split: Split, max_length: int) -> tuple[list[dict[str, Any]], int]:
    """Encode prompts and their answers, each by itself, as they meet in generation.

    Long prompts lose their beginning, but for a begin-of-text token; rows whose answers leave no room for a token of
    the prompt are left out. Plain answers end with the end-of-text token, those of chats as the template ends them.

    Args:
        tokenizer: The model's tokenizer.
        split: Prompts in ``texts`` or ``chats``, answers in ``pairs``.
        max_length: Most tokens of a prompt with its answer.

    Returns:
        The rows, with the prompt in ``input_ids`` and ``attention_mask`` and the answer in ``answer``; and how many
        prompts were cut.

    Raises:
        DataError: If no answer fits, or the tokenizer has no chat template or one that fails.
    """
    prompts, answers = _encoded(tokenizer, split) if split.chats is None else _rendered(tokenizer, split)
    rows, cut = [], 0
    for prompt, answer in zip(prompts, answers, strict=True):
        start = prompt[:1] if prompt[:1] == [tokenizer.bos_token_id] else []
        room = max_length - len(answer)
        if room <= len(start):
            continue
        shown = prompt if len(prompt) <= room else start + prompt[len(prompt) - room + len(start) :]
        cut += len(shown) < len(prompt)
        rows.append({"input_ids": shown, "attention_mask": [1] * len(shown), "answer": answer})
    if not rows:
        raise DataError(
            f"An answer and its prompt fit into {max_length} tokens.",
            given=f"{len(split)} rows, the shortest answer with {min(map(len, answers))} tokens",
            mend="Raise max_length, or give shorter answers.",
        )
    return rows, cut


def prompt_notes(rows: int, texts: int, cut: int, max_length: int) -> list[str]:
    """Return what to tell the user of cut prompts and of answers that do not fit."""
    notes = []
    if rows < texts:
        notes.append(f"{texts - rows} of {texts} train rows were left out: no prompt fits beside their answers.")
    if cut:
        notes.append(
            f"{cut} of {rows} train prompts lost their beginning: with its answer, one has {max_length} tokens."
        )
    return notes


def pad_prompts(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch: prompts padded on the left, answers on the right.

    Args:
        rows: Rows of `prompt_rows`.

    Returns:
        ``input_ids`` and ``attention_mask`` ``[batch, longest prompt]``, ``answer_ids`` and ``labels`` (`IGNORED` in
        place of padding) ``[batch, longest answer]``.
    """
    prompts, answers = [row["input_ids"] for row in rows], [row["answer"] for row in rows]
    width, length = max(map(len, prompts)), max(map(len, answers))
    return {
        "input_ids": torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts]),
        "attention_mask": torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
        "answer_ids": torch.tensor([ids + [0] * (length - len(ids)) for ids in answers]),
        "labels": torch.tensor([ids + [IGNORED] * (length - len(ids)) for ids in answers]),
    }


def _encoded(tokenizer: PreTrainedTokenizerBase, split: Split) -> tuple[list[_Ids], list[_Ids]]:
    prompts = tokenizer(list(split.texts), verbose=False)["input_ids"]
    answers = tokenizer(list(split.pairs or ()), add_special_tokens=False, verbose=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return prompts, [[*ids, *end] for ids in answers]


def _rendered(tokenizer: PreTrainedTokenizerBase, split: Split) -> tuple[list[_Ids], list[_Ids]]:
    """Render chats with the tokenizer's template, and encode what stands before the answer and what follows."""
    if tokenizer.chat_template is None:
        raise DataError(
            "Chats are written by the tokenizer's chat template.",
            given="a tokenizer without one",
            mend="Take a model made for chats, or give columns of prompts and answers.",
        )
    texts = [
        _turns(tokenizer, [*chat], answer, row)
        for row, (chat, answer) in enumerate(zip(split.chats or (), split.pairs or (), strict=True), start=1)
    ]
    # The template writes special tokens itself.
    befores, afters = (
        tokenizer([text[part] for text in texts], add_special_tokens=False, verbose=False)["input_ids"]
        for part in (0, 1)
    )
    return befores, afters


def _turns(tokenizer: PreTrainedTokenizerBase, chat: list[Mapping[str, str]], answer: str, row: int) -> tuple[str, str]:
    """Return what the template writes before an answer, and what for it."""
    failures = (require("jinja2", extra="train").TemplateError, TypeError, ValueError, KeyError)
    try:
        asked = [dict(said) for said in chat]
        before = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
        said = [*asked, {"role": "assistant", "content": answer}]
        whole = str(tokenizer.apply_chat_template(said, tokenize=False))
    except failures as error:
        raise DataError(
            "The tokenizer's chat template takes every chat.",
            given=f"chat {row} with turns of {', '.join(said['role'] for said in chat)}: {error}",
            mend="Leave such chats out, or give columns of prompts and answers.",
        ) from error
    if not whole.startswith(before):
        raise DataError(
            "A chat template writes a chat with an answer as one that waits for it, and then the answer.",
            given=f"for chat {row}, {before[-60:]!r} before the answer and {whole[-60:]!r} with it",
            mend="Give columns of prompts and answers.",
        )
    # Line ends after the mark that ends a turn are never generated.
    return before, whole[len(before) :].rstrip()
