"""Prompts and answers become rows; batches of them are read as each row would be by itself."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from rheostat.core.errors import DataError
from rheostat.core.text import Split
from rheostat.techniques import TokenPruning, attach
from rheostat.testing import tiny_model
from rheostat.train.examples import Collator, ShuffledRows, fingerprint, make_examples
from rheostat.train.losses import IGNORED, ContinuationLoss
from rheostat.train.prompts import pad_prompts, prompt_notes, prompt_rows
from tests.saved import SPECIAL, make_tokenizer

BOS, EOS, FIRST = SPECIAL.index("[BOS]"), SPECIAL.index("[EOS]"), len(SPECIAL)
TEMPLATE = (
    "{% for m in messages %}{{ m.role == 'user' and 'w80' or 'w81' }} {{ m.content }} w82\n{% endfor %}"
    "{% if add_generation_prompt %}w81 {% endif %}"
)


def words(*numbers: int) -> list[int]:
    return [FIRST + number for number in numbers]


def chat_tokenizer(template: str | None = TEMPLATE):
    tokenizer = make_tokenizer("causal-lm")
    tokenizer.chat_template = template
    return tokenizer


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)]


def test_a_prompt_is_encoded_as_for_generation_and_an_answer_ends_the_text() -> None:
    rows, cut = prompt_rows(make_tokenizer("causal-lm"), Split(["w0 w1"], ["w2"]), 16)
    assert rows == [{"input_ids": [BOS, *words(0, 1)], "attention_mask": [1] * 3, "answer": [*words(2), EOS]}]
    assert cut == 0


def test_long_prompts_lose_their_beginning_and_long_answers_their_row() -> None:
    split = Split(["w0 w1 w2 w3 w4", "w0", "w0"], ["w5", "w1 w2 w3 w4", "w1 w2 w3"])
    examples = make_examples(make_tokenizer("causal-lm"), split, "causal-lm", 6)
    assert [row["input_ids"] for row in examples.rows] == [[BOS, *words(2, 3, 4)], [BOS, *words(0)]]
    assert (examples.texts, examples.truncated, examples.left_out) == (3, 1, 1)
    assert prompt_notes(2, 3, 1, 6) == [
        "1 of 3 train rows were left out: no prompt fits beside their answers.",
        "1 of 2 train prompts lost their beginning: with its answer, one has 6 tokens.",
    ]
    with pytest.raises(DataError, match="fit into 3 tokens. Given: 3 rows, the shortest answer with 2 tokens"):
        prompt_rows(make_tokenizer("causal-lm"), split.take([1, 0, 2]), 3)


def test_a_chat_is_written_by_the_template_up_to_the_answer() -> None:
    split = Split(["w0"], ["w1"], chats=[chat("w0", "w5", "w0")])
    ((row,), _) = prompt_rows(chat_tokenizer(), split, 64)
    assert row["input_ids"] == words(80, 0, 82, 81, 5, 82, 80, 0, 82, 81)
    assert row["answer"] == words(1, 82)


@pytest.mark.parametrize(
    ("template", "wording"),
    [
        (None, "chat template. Given: a tokenizer without one"),
        ("{{ raise_exception('no, thank you') }}", "takes every chat. Given: chat 1 with turns of user: no, thank you"),
        ("{{ messages[0].nothing.more }}", "takes every chat.*no attribute 'nothing'"),
        ("{% if %}", "takes every chat"),
        ("{{ messages | length }}", "writes a chat with an answer as one that waits for it"),
    ],
)
def test_a_template_that_is_missing_or_fails_is_said(template: str | None, wording: str) -> None:
    with pytest.raises(DataError, match=wording):
        prompt_rows(chat_tokenizer(template), Split(["w0"], ["w1"], chats=[chat("w0")]), 64)


def test_roles_are_part_of_the_fingerprint() -> None:
    said = [chat("w0"), [{"role": "system", "content": "w0"}]]
    assert len({fingerprint(Split(["w0"], ["w1"], chats=[each])) for each in said}) == 2


def test_prompts_are_padded_on_the_left_and_answers_on_the_right() -> None:
    rows = [
        {"input_ids": [5, 6, 7], "attention_mask": [1] * 3, "answer": [8]},
        {"input_ids": [9], "attention_mask": [1], "answer": [10, 11]},
    ]
    batch = Collator(make_tokenizer("causal-lm"))(rows)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [0, 0, 9]],
        "attention_mask": [[1, 1, 1], [0, 0, 1]],
        "answer_ids": [[8, 0], [10, 11]],
        "labels": [[8, IGNORED], [10, 11]],
    }


def test_rows_are_sorted_by_the_length_of_both() -> None:
    rows = [{"input_ids": [0] * (1 + n % 7), "answer": [0] * (1 + n % 5)} for n in range(40)]
    shuffled = ShuffledRows(rows, batch_size=4, seed=0)
    lengths = [len(row["input_ids"]) + len(row["answer"]) for row in (shuffled[at] for at in range(40))]
    assert all(max(lengths[at : at + 4]) - min(lengths[at : at + 4]) <= 2 for at in range(0, 40, 4))


def make_rows() -> list[dict]:
    generator = torch.Generator().manual_seed(3)
    lengths = [(17, 3), (5, 9), (1, 1), (24, 12), (9, 1)]
    ids = [torch.randint(3, 97, (a + b,), generator=generator).tolist() for a, b in lengths]
    return [{"input_ids": row[:a], "answer": row[a:]} for row, (a, _) in zip(ids, lengths, strict=True)]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mistral", "qwen2", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("tokens", [1.0, 0.5, 0.1])
def test_a_batch_has_the_loss_and_gradient_of_its_rows(model_type: str, tokens: float) -> None:
    # Rows of 1 to 24 tokens over a sliding window of 8, answers of 1 to 12.
    model = tiny_model(model_type, AutoModelForCausalLM)
    # Eager attention of the plain model computes its softmax in float32, where the lowest float64 is minus infinity.
    exact = model_type != "gemma2"
    model = model.double() if exact else model
    handle = attach(model, TokenPruning(floor=2))
    loss, rows = ContinuationLoss(handle), make_rows()
    with handle.at(tokens=tokens):
        together = loss(model, pad_prompts(rows))
        together.mean.backward()
        gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
        model.zero_grad()
        alone = [loss(model, pad_prompts([row])) for row in rows]
        count = sum(value.count for value in alone)
        mean = sum(value.mean * value.count for value in alone) / count
        mean.backward()
    assert int(together.count) == int(count) == 26
    # The cross-entropy itself is computed in float32.
    torch.testing.assert_close(together.mean, mean, rtol=1e-6 if exact else 1e-5, atol=0)
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(
                gradients[name], weight.grad, rtol=1e-5 if exact else 1e-3, atol=1e-7 if exact else 1e-5
            )


@pytest.mark.parametrize("tokens", [1.0, 0.4])
def test_an_answer_is_scored_as_it_would_be_generated(tokens: float) -> None:
    model = tiny_model("llama", AutoModelForCausalLM).double()
    handle = attach(model, TokenPruning(floor=2))
    row = make_rows()[3]
    with handle.at(tokens=tokens), torch.no_grad():
        value = ContinuationLoss(handle)(model, pad_prompts([row, make_rows()[0]]))
        both = ContinuationLoss(handle)(model, pad_prompts([row]))
        output = model(torch.tensor([row["input_ids"]]), use_cache=True)
        total = 0.0
        for token in row["answer"]:
            total -= float(output.logits[0, -1].log_softmax(-1)[token])
            with handle.at(tokens=1.0):
                output = model(torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True)
    assert float(both.mean) == pytest.approx(total / len(row["answer"]), rel=1e-6)
    assert int(value.count) == 15
