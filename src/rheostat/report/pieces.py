"""From a tokenizer's pieces back to text that people can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache

__all__ = ["Piece", "readable_pieces"]

_SPECIAL = re.compile(r"\[[A-Z]+\d*\]|<(?!0x)[^<>\s]+>|<\|[^|]*\|>")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_NO_BLANK_BEFORE = frozenset(".,;:!?%)]}'\u2019\u201d\u2026-/")
_NO_BLANK_AFTER = frozenset("([{'\u2019\u201c$#-/")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as people read it.

    Attributes:
        text: The letters, without the tokenizer's marks.
        spaced: Whether a blank stands before it.
        special: Whether it is a mark such as ``[CLS]`` and no part of the text.
    """

    text: str
    spaced: bool
    special: bool


def readable_pieces(tokens: Sequence[str], special: Collection[str] | None = None) -> list[Piece]:
    """Return one readable piece for each token.

    Three ways of marking words are known, and told apart by their marks: BERT's ``##``, the ``Ġ`` of
    byte-level tokenizers (GPT-2, RoBERTa, Llama 3, Qwen) and SentencePiece's ``▁`` (Llama 2, Gemma).

    Args:
        tokens: What ``tokenizer.convert_ids_to_tokens`` returns.
        special: The tokenizer's special tokens; where None they are told by their shape (``[CLS]``, ``<s>``).

    Example:
        >>> [piece.text for piece in readable_pieces(["[CLS]", "token", "##s", "[SEP]"])]
        ['[CLS]', 'token', 's', '[SEP]']
    """
    read = _reader(tokens)
    pieces: list[Piece] = []
    for token in tokens:
        if token in special if special is not None else _SPECIAL.fullmatch(token) is not None:
            pieces.append(Piece(token, spaced=bool(pieces), special=True))
            continue
        text, spaced = read(token, pieces[-1] if pieces else None)
        after_mark = bool(pieces) and pieces[-1].special
        pieces.append(Piece(text, spaced=bool(pieces) and (spaced or after_mark), special=False))
    return pieces


def _reader(tokens: Sequence[str]) -> Callable[[str, Piece | None], tuple[str, bool]]:
    if any("Ġ" in token or "Ċ" in token for token in tokens):
        return _byte_level
    if any("▁" in token for token in tokens):
        return _sentence_piece
    return _word_piece


def _word_piece(token: str, before: Piece | None) -> tuple[str, bool]:
    if token.startswith("##"):
        return token[2:], False
    glued = token[:1] in _NO_BLANK_BEFORE or (before is not None and before.text[-1:] in _NO_BLANK_AFTER)
    return token, not glued


def _sentence_piece(token: str, before: Piece | None) -> tuple[str, bool]:
    if byte := _BYTE.fullmatch(token):
        token = bytes([int(byte[1], 16)]).decode("utf-8", errors="replace")
    text = token.replace("▁", " ")
    return text.removeprefix(" "), text.startswith(" ")


def _byte_level(token: str, before: Piece | None) -> tuple[str, bool]:
    table = _bytes_of_letters()
    raw = bytes(table[letter] for letter in token if letter in table)
    text = raw.decode("utf-8", errors="replace")
    return text.removeprefix(" "), text.startswith(" ")


@cache
def _bytes_of_letters() -> dict[str, int]:
    """Undo GPT-2's alphabet: printable bytes stand for themselves, the others for letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
