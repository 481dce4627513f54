import pytest
import torch

from rheostat.core.errors import DataError
from rheostat.core.text import Split
from rheostat.measure.encoding import batches, windows
from tests.measure.conftest import make_split, text_of


def test_every_row_is_there_once_and_like_lengths_go_together(classifier):
    split = make_split(11, 3)
    found = list(batches(classifier, split, 4))
    assert sorted(row for rows, _ in found for row in rows) == list(range(11))
    assert [len(rows) for rows, _ in found] == [4, 4, 3]
    lengths = [inputs["attention_mask"].sum(1).tolist() for _, inputs in found]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)


def test_pairs_are_read_and_long_texts_are_cut(classifier):
    split = Split(["w1 w2", text_of(0, 90)], pairs=["w3", "w4"])
    found = {rows[0]: inputs["input_ids"].tolist() for rows, inputs in batches(classifier, split, 1)}
    assert found[0] == [[2, 6, 7, 3, 8, 3]]
    assert len(found[1][0]) == classifier.max_length


def test_windows_are_of_one_length_and_start_as_texts_do(language_model, book):
    found = windows(language_model, book.split("validation"), 21, 100)
    assert found.shape == (400 // 20 + 300 // 20, 21)
    assert (found[:, 0] == 4).all()
    words = language_model.tokenizer(book.split("validation").texts[0], add_special_tokens=False)["input_ids"]
    assert found[:20, 1:].flatten().tolist() == words


def test_no_more_windows_than_wanted(language_model, book):
    assert torch.equal(
        windows(language_model, book.split("validation"), 21, 3),
        windows(language_model, book.split("validation"), 21, 9)[:3],
    )


def test_a_tokenizer_that_starts_texts_with_nothing_adds_nothing(classifier):
    # [CLS] is no beginning of a running text: this tokenizer has no token for that.
    assert windows(classifier, Split(["w0 w1 w2 w3"]), 2, 9).tolist() == [[5, 6], [7, 8]]


def test_texts_that_are_too_short_are_refused(language_model):
    with pytest.raises(DataError, match="needs a text of 50 tokens or more. Given: 1 shorter texts"):
        windows(language_model, Split(["w1 w2"]), 50, 3)
