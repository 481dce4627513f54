"""The texts of `benchmarks.language`, as windows: a prompt, and what really follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rheostat.core.errors import DataError

TEXTS = ("wikitext2", "moby_dick", "state_of_the_union")
WORDS = "lambada"
_SPLITS = {"protect": {"wikitext2": "valid", "moby_dick": "train", "state_of_the_union": "train"}}


@dataclass(frozen=True, slots=True)
class Window:
    """A prompt and what follows it.

    Attributes:
        ids: Token ids of both, int64 ``[1, tokens]``.
        prompt: How many of them are the prompt; at least 1, and less than all.
    """

    ids: torch.Tensor
    prompt: int


def names_of(experiment: str, words: int) -> tuple[str, ...]:
    """Return the text sets of an experiment; last words decide nothing, as LAMBADA is a test set as a whole."""
    return (*TEXTS, WORDS) if experiment == "main" and words else TEXTS


def file_of(folder: Path, name: str) -> Path:
    """Return a text set's file.

    Raises:
        DataError: If it is not there.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise DataError("Each text set is a Parquet file in --data.", given=f"no {path}", mend="Give its folder.")
    return path


def windows_of(name: str, tokenizer: Any, options: Any) -> list[Window]:
    """Return the windows of a text set, of the split that belongs to the experiment.

    Args:
        name: Of the text set.
        tokenizer: Of the model.
        options: ``data``, ``experiment``, ``prompt``, ``continuation``, ``windows`` and ``words`` are read.

    Raises:
        DataError: If the file is missing or holds too little text.
    """
    import pandas

    rows = pandas.read_parquet(file_of(options.data, name))
    start = _beginning(tokenizer)
    if name == WORDS:
        pairs = list(zip(rows["context"], rows["last_word"], strict=True))
        chosen = [pairs[at] for at in _spread(len(pairs), options.words)[: options.words]]
        return [last_word(tokenizer, start, *pair) for pair in chosen]
    split = _SPLITS.get(options.experiment, {}).get(name, "test")
    texts = list(rows.loc[rows["split"] == split, "text"])
    body = options.prompt + options.continuation - len(start)
    ids = stretches(tokenizer, texts, body, options.windows)
    return [Window(torch.tensor([start + found]), options.prompt) for found in ids]


def last_word(tokenizer: Any, start: list[int], context: str, word: str) -> Window:
    """Return the window of a last word: its tokens, the space before it included, follow those of its context."""
    prompt, following = _ids(tokenizer, context), _ids(tokenizer, f" {word}")
    return Window(torch.tensor([start + prompt + following]), len(start) + len(prompt))


def stretches(tokenizer: Any, texts: Sequence[str], length: int, count: int) -> list[list[int]]:
    """Return ``count`` stretches of ``length`` tokens, from texts spread evenly over all, each from a text's start on.

    Texts that are too short are passed over; where texts run out, each gives its next stretch.

    Raises:
        DataError: If there are not so many.
    """
    found: list[list[int]] = []
    for part in range(count):
        before = len(found)
        for at in _spread(len(texts), count):
            # Hardly any token is longer than 40 characters on average: no need to read a whole speech.
            ids = _ids(tokenizer, texts[at][: 40 * length * (part + 1)])[part * length : (part + 1) * length]
            if len(found) < count and len(ids) == length:
                found.append(ids)
            if len(found) == count:
                return found
        if len(found) == before:
            break
    raise DataError(
        f"The texts hold {count} stretches of {length} tokens.", given=len(found), mend="Ask for fewer --windows."
    )


def _spread(rows: int, count: int) -> list[int]:
    """Return every row's number, in an order whose first ``count`` lie far apart."""
    step = max(1, rows // count)
    return [at for offset in range(step) for at in range(offset, rows, step)]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _beginning(tokenizer: Any) -> list[int]:
    """Return the token that the tokenizer writes before every text, in a list; empty where it writes none."""
    first = tokenizer("")["input_ids"][:1]
    return list(first) if first and first[0] == tokenizer.bos_token_id else []
