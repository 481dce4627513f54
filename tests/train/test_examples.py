"""Texts become rows; what was cut is counted; chunks lose nothing but their end."""

import pytest

from rheostat.core.errors import DataError
from rheostat.core.text import Split
from rheostat.train.examples import Collator, ShuffledRows, fingerprint, make_examples
from rheostat.train.losses import IGNORED
from tests.saved import SPECIAL, make_tokenizer

CLS, SEP, BOS, EOS, FIRST = (
    *(SPECIAL.index(name) for name in ("[CLS]", "[SEP]", "[BOS]", "[EOS]")),
    len(SPECIAL),
)


def test_a_row_for_each_text_cut_at_its_end() -> None:
    split = Split(["w0 w1 w2 w3", "w0 w1", "w0 w1 w2"], labels=[1, 0, 1])
    examples = make_examples(make_tokenizer("classification"), split, "classification", 5)
    assert [row["input_ids"] for row in examples.rows] == [
        [CLS, FIRST, FIRST + 1, FIRST + 2, SEP],
        [CLS, FIRST, FIRST + 1, SEP],
        [CLS, FIRST, FIRST + 1, FIRST + 2, SEP],
    ]
    assert [row["label"] for row in examples.rows] == [1, 0, 1]
    assert (examples.texts, examples.truncated) == (3, 1)


def test_pairs_are_joined() -> None:
    split = Split(["w0"], pairs=["w1"], labels=[0])
    (row,) = make_examples(make_tokenizer("classification"), split, "classification", 16).rows
    assert row["input_ids"] == [CLS, FIRST, SEP, FIRST + 1, SEP]
    assert row["token_type_ids"] == [0, 0, 0, 1, 1]


def test_batches_are_padded_to_their_longest_row() -> None:
    tokenizer = make_tokenizer("classification")
    split = Split(["w0 w1", "w0"], labels=[1, 0])
    batch = Collator(tokenizer)(make_examples(tokenizer, split, "classification", 16).rows)
    assert batch["input_ids"].tolist() == [[CLS, FIRST, FIRST + 1, SEP], [CLS, FIRST, SEP, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(("most", "width"), [(12, 8), (7, 7), (3, 4)])
def test_widths_are_rounded_up_as_far_as_they_may_be(most: int, width: int) -> None:
    tokenizer = make_tokenizer("classification")
    rows = make_examples(tokenizer, Split(["w0 w1", "w0"], labels=[1, 0]), "classification", 16).rows
    batch = Collator(tokenizer, multiple=8, most=most)(rows)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, width)
    assert batch["attention_mask"].sum(1).tolist() == [4, 3]


def test_chunks_hold_the_running_text() -> None:
    split = Split(["w0 w1 w2", "w3 w4", "w5 w6 w7 w8"])
    examples = make_examples(make_tokenizer("causal-lm"), split, "causal-lm", 5)
    stream = [token for row in examples.rows for token in row["input_ids"][1:]]
    words = [FIRST + n for n in range(9)]
    assert [row["input_ids"][0] for row in examples.rows] == [BOS] * 3
    assert stream == [*words[:3], EOS, *words[3:5], EOS, *words[5:], EOS]
    assert all(len(row["input_ids"]) == 5 for row in examples.rows)
    assert examples.texts == 3


def test_an_end_that_fills_no_chunk_is_left_out() -> None:
    examples = make_examples(make_tokenizer("causal-lm"), Split(["w0 w1 w2 w3 w4 w5"]), "causal-lm", 5)
    assert len(examples.rows) == 1


def test_too_little_text_is_refused() -> None:
    with pytest.raises(DataError, match="at least one chunk of 64 tokens. Given: 2 tokens in 1 texts"):
        make_examples(make_tokenizer("causal-lm"), Split(["w0"]), "causal-lm", 64)


def rows_of(lengths: list[int]) -> list[dict]:
    return [{"input_ids": [0] * length} for length in lengths]


def test_every_epoch_reads_every_row_in_its_own_order() -> None:
    lengths = [7 * n % 31 for n in range(103)]
    rows = ShuffledRows(rows_of(lengths), batch_size=4, seed=1)
    epochs = []
    for epoch in range(3):
        rows.set_epoch(epoch)
        epochs.append([len(rows[index]["input_ids"]) for index in range(len(rows))])
    assert all(sorted(read) == sorted(lengths) for read in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    again = ShuffledRows(rows_of(lengths), batch_size=4, seed=1)
    again.set_epoch(2)
    assert [len(again[index]["input_ids"]) for index in range(len(again))] == epochs[2]
    other = ShuffledRows(rows_of(lengths), batch_size=4, seed=2)
    assert [len(other[index]["input_ids"]) for index in range(len(other))] != epochs[0]


def test_batches_hold_rows_of_similar_length_and_come_in_random_order() -> None:
    rows = ShuffledRows(rows_of(list(range(100))), batch_size=10, seed=0)
    read = [len(row["input_ids"]) for row in (rows[index] for index in range(100))]
    batches = [read[at : at + 10] for at in range(0, 100, 10)]
    assert all(max(batch) - min(batch) == 9 for batch in batches)
    assert batches != sorted(batches)


def test_labels_of_padding_are_ignored() -> None:
    tokenizer = make_tokenizer("causal-lm")
    tokenizer.pad_token = tokenizer.eos_token
    rows = [{"input_ids": [BOS, EOS, FIRST], "attention_mask": [1] * 3}, {"input_ids": [BOS], "attention_mask": [1]}]
    batch = Collator(tokenizer)(rows)
    assert batch["labels"].tolist() == [[BOS, EOS, FIRST], [BOS, IGNORED, IGNORED]]


def test_the_fingerprint_changes_with_every_column() -> None:
    prints = {
        fingerprint(split)
        for split in (
            Split(["a", "b"]),
            Split(["ab", ""]),
            Split(["a", "b"], pairs=["c", "d"]),
            Split(["a", "b"], labels=[0, 1]),
            Split(["a", "b"], labels=[1, 1]),
        )
    }
    assert len(prints) == 5
    assert fingerprint(Split(["a", "b"])) in prints
