"""From text data to the rows that a model is trained on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, final

import torch

from rheostat.core.errors import DataError
from rheostat.core.text import Split, Task
from rheostat.models.texts import encode_texts, pad_rows
from rheostat.train.losses import IGNORED
from rheostat.train.prompts import pad_prompts, prompt_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Collator", "Examples", "ShuffledRows", "fingerprint", "make_examples"]

_BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows ready to be batched.

    Attributes:
        rows: ``input_ids`` and what else the model reads, and ``label`` for classification; of a prompt with an
            answer, ``input_ids`` are the prompt's and ``answer`` the answer's.
        texts: How many texts they were made from.
        truncated: How many of those were longer than the limit and were cut.
        left_out: How many are no rows, because their answers are longer than the limit.
    """

    rows: list[dict[str, Any]]
    texts: int
    truncated: int = 0
    left_out: int = 0


@final
class ShuffledRows:
    """Rows in the order in which an epoch reads them: random, but with rows of similar length in one batch.

    The order follows from seed and epoch alone, so that a run that is continued in the middle of an epoch reads the
    rows that are left; the samplers of Transformers that group by length do not keep that promise.

    Args:
        rows: The rows.
        batch_size: Rows in a batch.
        seed: The seed of the run.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], batch_size: int, seed: int) -> None:
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[self._order[index]]

    def set_epoch(self, epoch: int) -> None:
        """Put the rows into the order of an epoch, counted from 0; Accelerate calls this as each begins."""
        generator = random.Random(f"rheostat order of rows {self._seed} {epoch}")
        order = generator.sample(range(len(self)), len(self))
        together = _BATCHES_SORTED_TOGETHER * self._batch_size
        pieces = [sorted(order[at : at + together], key=self._length) for at in range(0, len(order), together)]
        by_length = list(chain.from_iterable(pieces))
        # Only the last batch may be smaller, so it stays behind when the others are shuffled.
        whole = len(by_length) - len(by_length) % self._batch_size
        batches = [by_length[at : at + self._batch_size] for at in range(0, whole, self._batch_size)]
        generator.shuffle(batches)
        self._order = [*chain.from_iterable(batches), *by_length[whole:]]

    def _length(self, row: int) -> int:
        return len(self._rows[row]["input_ids"]) + len(self._rows[row].get("answer", ()))


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes batches, each padded to its longest row.

    Attributes:
        tokenizer: The model's tokenizer.
        multiple: Widths are rounded up to a multiple of so many, as far as ``most`` allows; prompts' are not.
        most: The greatest width; needed with a ``multiple`` other than 1.
    """

    tokenizer: PreTrainedTokenizerBase
    multiple: int = 1
    most: int = 0

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch with ``labels``: class ids, or token ids with `IGNORED` in place of padding.

        Prompts with answers are padded on the left, ``answer_ids`` and ``labels``, ``[batch, longest answer]``, on the
        right.
        """
        if "answer" in rows[0]:
            return pad_prompts(rows)
        longest = max(len(row["input_ids"]) for row in rows)
        width = max(longest, min(-(-longest // self.multiple) * self.multiple, self.most))
        batch = pad_rows(self.tokenizer, [{k: v for k, v in row.items() if k != "label"} for row in rows], width)
        if "label" in rows[0]:
            return {**batch, "labels": torch.tensor([row["label"] for row in rows])}
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)}


def make_examples(tokenizer: PreTrainedTokenizerBase, split: Split, task: Task, max_length: int) -> Examples:
    """Turn a split into rows: one a text or a prompt, chunks of running text for causal-lm without answers.

    Args:
        tokenizer: The model's tokenizer.
        split: The texts.
        task: What they are for.
        max_length: Tokens of a row, special ones included: exactly in chunks, else at most.

    Raises:
        DataError: If the texts are too short for a single chunk, or every answer is too long.
    """
    if task == "causal-lm" and split.pairs is not None:
        rows, cut = prompt_rows(tokenizer, split, max_length)
        return Examples(rows, len(split), cut, len(split) - len(rows))
    if task == "causal-lm":
        return _chunks(tokenizer, split.texts, max_length)
    encoded = encode_texts(tokenizer, split.texts, split.pairs, max_length)
    labels = split.labels or []
    rows = [{**row, "label": label} for row, label in zip(encoded.rows, labels, strict=True)]
    return Examples(rows, len(split), sum(encoded.truncated))


def fingerprint(split: Split) -> str:
    """Return a hash that changes with any text, pair or label of a split, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for row in zip(split.texts, split.pairs or split.texts, split.labels or [0] * len(split), strict=True):
        digest.update(repr(row).encode())
    if split.chats is not None:
        digest.update(repr([[(said["role"], said["content"]) for said in chat] for chat in split.chats]).encode())
    return digest.hexdigest()[:16]


def _chunks(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> Examples:
    """Join the texts, an end-of-text token after each, and cut them; a last piece too short is left out."""
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    stream = list(chain.from_iterable([*ids, *end] for ids in encoded))
    start = _start_tokens(tokenizer)
    body = length - len(start)
    if len(stream) < body:
        raise DataError(
            f"The texts of a split fill at least one chunk of {length} tokens.",
            given=f"{len(stream)} tokens in {len(texts)} texts",
            mend="Add text, or lower max_length.",
        )
    cuts = [start + stream[at : at + body] for at in range(0, len(stream) - body + 1, body)]
    return Examples([{"input_ids": cut, "attention_mask": [1] * length} for cut in cuts], len(texts))


def _start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    # Models trained with a begin-of-text token need it in front of every chunk; the tokenizer knows.
    ids = tokenizer("a")["input_ids"]
    begin = tokenizer.bos_token_id
    return [begin] if begin is not None and ids[:1] == [begin] else []
