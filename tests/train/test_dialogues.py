"""Prompts with answers and chats are read from tables; what cannot be read is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from rheostat.core.errors import DataError
from rheostat.train.data import Columns, load_data


def save(folder: Path, rows: list[dict[str, Any]], kind: str = "jsonl") -> Path:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pandas.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def qa(count: int = 12) -> list[dict[str, Any]]:
    return [{"prompt": f"question {row}", "answer": f"answer {row}", "split": "train"} for row in range(count)]


def say(*turns: str) -> dict[str, Any]:
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]}


def chats(count: int = 12) -> list[dict[str, Any]]:
    return [{**say("s be brief", f"u hello {row}", f"a hi {row}"), "split": "train"} for row in range(count)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompts_and_answers_need_no_options(tmp_path: Path, kind: str) -> None:
    train = load_data(save(tmp_path, qa(), kind), "causal-lm").split("train")
    assert "question 3" in train.texts
    assert [text.split()[1] for text in train.texts] == [answer.split()[1] for answer in train.pairs]
    assert train.chats is None
    assert train.labels is None


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_chats_end_before_the_last_answer(tmp_path: Path, kind: str) -> None:
    rows = [*chats(11), {**say("u one", "a two", "u three", "a four", "u five"), "split": "train"}]
    data = load_data(save(tmp_path, rows, kind), "causal-lm")
    train = data.split("train")
    at = train.pairs.index("four")
    assert [(said["role"], said["content"]) for said in train.chats[at]] == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]
    assert train.texts[at] == "one\ntwo\nthree"
    assert "1 of 12 chats go on after the last turn of the assistant; that end is not read." in data.notes


def test_columns_can_be_named_and_win_over_text(tmp_path: Path) -> None:
    rows = [{"text": "t", "q": "why", "a": "so", "talk": say("u x", "a y")["messages"]} for _ in range(12)]
    path = save(tmp_path, rows)
    assert load_data(path, "causal-lm").split("train").pairs is None
    assert load_data(path, "causal-lm", Columns(prompt="q", answer="a")).split("train").pairs[0] == "so"
    assert load_data(path, "causal-lm", Columns(messages="talk")).split("train").pairs[0] == "y"
    with pytest.raises(DataError, match="column 'answer'"):
        load_data(path, "causal-lm", Columns(prompt="q"))
    with pytest.raises(DataError, match="prompts with answers, or chats"):
        load_data(path, "causal-lm", Columns(prompt="q", messages="talk"))


def test_splits_are_held_out_of_prompts_too(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "split"} for row in qa(40)]
    data = load_data(save(tmp_path, rows), "causal-lm", limit=20)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "validation": 4, "test": 4}
    assert all(len(split.pairs) == len(split) for split in data.splits.values())


def test_an_answer_learnt_by_heart_is_counted(tmp_path: Path) -> None:
    rows = [*qa(), {**qa(1)[0], "split": "test"}, {**qa(1)[0], "answer": "another", "split": "test"}]
    notes = load_data(save(tmp_path, rows), "causal-lm").notes
    assert any("1 of 2 test rows occur in train, too" in note for note in notes)


def test_rows_without_a_prompt_or_an_answer_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = qa(14)
    rows[0]["answer"], rows[1]["answer"], rows[2]["prompt"] = "  ", None, ""
    data = load_data(save(tmp_path, rows), "causal-lm")
    assert data.notes[0] == "3 of 14 rows had no prompt or no answer and were dropped."
    assert sum(len(split) for split in data.splits.values()) == 11


def test_chats_without_an_answer_are_dropped_and_counted(tmp_path: Path) -> None:
    bare = [say("u hello"), say("a hello"), say("u hello", "a  "), {"messages": None}]
    data = load_data(save(tmp_path, [*chats(), *({**row, "split": "train"} for row in bare)]), "causal-lm")
    expected = "4 of 16 chats had no turn of the assistant that says something after another turn, and were dropped."
    assert data.notes[0] == expected


REFUSED = {
    "no answer at all": ([{**row, "answer": ""} for row in qa()], "Some rows have a prompt and an answer.*12 of 12"),
    "no assistant at all": ([say("u hello")] * 12, "Some rows have a prompt and an answer.*12 of 12 chats"),
    "an answer of another kind": ([{**row, "answer": 4} for row in qa()], "int in column 'answer', row 1"),
    "a chat in words": ([*chats(), {"messages": "hello"}], "a list of messages such as.*hello in row 13"),
    "content in parts": (
        [{"messages": [{"role": "user", "content": [{"type": "text"}]}]}] * 12,
        "both of them text.*in row 1",
    ),
    "too few": (qa(9), "at least 10 rows. Given: 9 rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unfit_rows_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    rows, wording = REFUSED[name]
    with pytest.raises(DataError, match=wording):
        load_data(save(tmp_path, rows), "causal-lm")
