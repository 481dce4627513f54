"""Reading prompts with their answers, and chats, out of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from rheostat.core.errors import DataError
from rheostat.core.text import Split
from rheostat.train.formats import Table
from rheostat.train.labels import is_missing

__all__ = ["Prompted", "prompted_rows"]

_PROMPT, _ANSWER, _MESSAGES = "prompt", "answer", "messages"
_SPEAKER: Final = "assistant"


class _Columns(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def prompt(self) -> str | None: ...
    @property
    def answer(self) -> str | None: ...
    @property
    def messages(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Prompted:
    """Prompts and answers of a table.

    Attributes:
        split: Prompts in ``texts``, answers in ``pairs``; of chats, the messages before the answer in ``chats``.
        kept: The row of the table that each comes from.
        notes: What was left out, for the user to see.
    """

    split: Split
    kept: list[int]
    notes: tuple[str, ...]


def prompted_rows(table: Table, columns: _Columns) -> Prompted | None:
    """Read prompts with answers, or chats.

    Args:
        table: The data.
        columns: Which columns hold them; where none is named, a column of texts is read before prompts, and prompts
            before chats.

    Returns:
        What was read; None where the table holds running text.

    Raises:
        DataError: If a named column is missing, a value is of another kind, or no row has a prompt and an answer.
    """
    named = columns.prompt is not None or columns.answer is not None
    if columns.messages is not None and named:
        raise DataError(
            "Data holds prompts with answers, or chats.",
            given=f"a column of chats, '{columns.messages}', and one of prompts or answers",
            mend="Name one or the other.",
        )
    text = columns.text in table.names
    prompt, answer = columns.prompt or _PROMPT, columns.answer or _ANSWER
    if named or (columns.messages is None and not text and {prompt, answer} <= {*table.names}):
        return _pairs(table, prompt, answer)
    messages = columns.messages or _MESSAGES
    if columns.messages is not None or (not text and messages in table.names):
        return _chats(table, messages)
    return None


def _pairs(table: Table, prompt: str, answer: str) -> Prompted:
    texts, answers = _texts(table, prompt), _texts(table, answer)
    kept = [row for row in range(table.length) if texts[row] and answers[row]]
    note = f"{table.length - len(kept)} of {table.length} rows had no prompt or no answer and were dropped."
    _check_some(kept, table, note)
    split = Split([texts[row] for row in kept], [answers[row] for row in kept])
    return Prompted(split, kept, (note,) if len(kept) < table.length else ())


def _texts(table: Table, name: str) -> list[str]:
    """Read a column of text; missing and blank values become empty."""
    values = ["" if is_missing(value) else value for value in table.column(name)]
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(
                "Prompts and answers are text.",
                given=f"{type(value).__name__} in column '{name}', row {row + 1}",
                mend="Name the columns that hold them, or turn their values into text first.",
            )
    return values


def _chats(table: Table, name: str) -> Prompted:
    chats = [_messages(value, row) for row, value in enumerate(table.column(name), start=1)]
    ends = [_last_answer(chat) for chat in chats]
    kept = [row for row, end in enumerate(ends) if end]
    missing = f"{len(chats) - len(kept)} of {len(chats)} chats"
    note = f"{missing} had no turn of the {_SPEAKER} that says something after another turn, and were dropped."
    _check_some(kept, table, note)
    later = sum(ends[row] + 1 < len(chats[row]) for row in kept)
    notes = [note] if len(kept) < len(chats) else []
    if later:
        notes.append(f"{later} of {len(kept)} chats go on after the last turn of the {_SPEAKER}; that end is not read.")
    earlier = [chats[row][: ends[row]] for row in kept]
    said = ["\n".join(message["content"] for message in chat) for chat in earlier]
    answers = [chats[row][ends[row]]["content"] for row in kept]
    return Prompted(Split(said, answers, chats=earlier), kept, tuple(notes))


def _messages(value: Any, row: int) -> list[Mapping[str, str]]:
    """Check a chat; a missing one has no messages."""
    if is_missing(value):
        return []
    messages = value if isinstance(value, list) else [value]
    for message in messages:
        whole = isinstance(message, Mapping) and all(isinstance(message.get(part), str) for part in ("role", "content"))
        if not whole:
            raise DataError(
                'A chat is a list of messages such as {"role": "user", "content": "Hello"}, both of them text.',
                given=f"{str(message)[:80]} in row {row}",
                mend="Mend the row, or name the column that holds the chats.",
            )
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _last_answer(chat: list[Mapping[str, str]]) -> int:
    """Return which message is the last answer; 0, where none comes after another message and says something."""
    spoken = [at for at, said in enumerate(chat) if said["role"] == _SPEAKER and not is_missing(said["content"])]
    return spoken[-1] if spoken else 0


def _check_some(kept: list[int], table: Table, note: str) -> None:
    if not kept:
        raise DataError("Some rows have a prompt and an answer.", given=note, mend="Name the columns that hold them.")
