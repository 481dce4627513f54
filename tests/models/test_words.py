"""What words say by themselves: a table of token ids that lies on a model and in its bundle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from rheostat.core.errors import SettingError
from rheostat.models.words import has_words, read_words, set_words, word_logits, words_of, write_words
from rheostat.testing import tiny_model
from rheostat.testing.tiny import VOCABULARY

TABLE = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))


def classifier() -> Any:
    return tiny_model("bert", AutoModelForSequenceClassification, num_labels=3)


@given(st.lists(st.lists(st.integers(0, 14), min_size=1, max_size=9), min_size=1, max_size=4), st.booleans())
def test_a_word_counts_once_wherever_it_stands_and_padding_never(texts: list[list[int]], left: bool) -> None:
    width = max(map(len, texts))
    ids, mask = torch.zeros(len(texts), width, dtype=torch.long), torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        at = slice(width - len(text), width) if left else slice(0, len(text))
        ids[row, at], mask[row, at] = torch.tensor(text), True
    found = word_logits(TABLE, ids, mask)
    for row, text in enumerate(texts):
        # Of 11 ids the table knows; the last row is the bias.
        known = [TABLE[one].double() for one in {*text} if one < 11]
        length = math.sqrt(sum(float(each[-1]) for each in known)) or 1.0
        expected = sum((each[:-1] for each in known), torch.zeros(3).double()) / length + TABLE[-1, :-1].double()
        torch.testing.assert_close(found[row].double(), expected, atol=1e-5, rtol=1e-5)


def test_without_a_mask_every_column_is_read() -> None:
    ids = torch.tensor([[3, 1, 3]])
    assert torch.equal(word_logits(TABLE, ids, None), word_logits(TABLE, ids, torch.ones(1, 3, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (torch.zeros(VOCABULARY + 2, 4), "token ids and a bias"),
        (torch.zeros(VOCABULARY + 1, 3), "with 3 classes"),
        (torch.zeros(VOCABULARY + 1), "token ids and a bias"),
        (torch.zeros(1, 4), "token ids and a bias"),
        (torch.zeros(VOCABULARY + 1, 4, dtype=torch.float64), "token ids and a bias"),
        (torch.full((VOCABULARY + 1, 4), torch.inf), "finite numbers"),
        (torch.full((VOCABULARY + 1, 4), -1.0), "squares from 0"),
    ],
)
def test_a_table_fits_the_model(unfit: torch.Tensor, said: str) -> None:
    model = classifier()
    with pytest.raises(SettingError, match=said):
        set_words(model, unfit)
    assert words_of(model) is None


def test_a_table_is_no_weight_and_is_written_beside_them(tmp_path: Path) -> None:
    model = classifier()
    write_words(tmp_path, model)
    assert not has_words(tmp_path)
    set_words(model, TABLE)
    assert not any("words" in name for name in model.state_dict())
    write_words(tmp_path, model)
    other = classifier()
    read_words(tmp_path, other)
    found = words_of(other)
    assert found is not None
    assert torch.equal(found, TABLE)
    set_words(other, None)
    read_words(tmp_path / "nowhere", other)
    assert words_of(other) is None
