from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.report.pieces import readable_pieces


def joined(tokens: list[str]) -> str:
    return "".join((" " if piece.spaced else "") + piece.text for piece in readable_pieces(tokens))


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["[CLS]", "token", "##s", "[SEP]"], "[CLS] tokens [SEP]"),
        (["don", "'", "t", "end", "(", "yet", ")", "."], "don't end (yet)."),
        (["<s>", "Hello", "Ġworld", ",", "Ġagain", "</s>"], "<s> Hello world, again </s>"),
        (["<bos>", "▁Call", "▁me", "▁Ish", "mael", "."], "<bos> Call me Ishmael."),
        (["plain", "words"], "plain words"),
        (["it", "âĢ", "Ļ", "s", "Ġok"], "it\ufffd\ufffds ok"),
        (["itâĢĻs", "Ġok", "Ċ"], "it\u2019s ok\n"),
        (["▁a", "<0x0A>", "▁b"], "a\n b"),
        ([], ""),
    ],
)  # fmt: skip
def test_pieces_read_like_the_text(tokens: list[str], text: str) -> None:
    assert joined(tokens) == text


def test_special_tokens_are_told_by_shape_or_by_name() -> None:
    by_shape = readable_pieces(["[CLS]", "[x]", "<|endoftext|>", "<0x0A>", "▁a"])
    by_name = readable_pieces(["[CLS]", "a"], special={"a"})

    assert [piece.special for piece in by_shape] == [True, False, True, False, False]
    assert [piece.special for piece in by_name] == [False, True]


@given(st.lists(st.text(max_size=8), max_size=20))
def test_any_tokens_give_one_piece_each_and_the_first_has_no_blank(tokens: list[str]) -> None:
    pieces = readable_pieces(tokens)

    assert len(pieces) == len(tokens)
    assert not pieces or not pieces[0].spaced
