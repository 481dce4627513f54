"""The options of generate, under pruning."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxTimeCriteria,
    StaticCache,
    StoppingCriteriaList,
)

from rheostat.core.errors import CacheError, SettingError
from rheostat.models.families import families
from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept, texts

DECODERS = [family.model_type for family in families() if family.kind == "decoder"]
WINDOWED = ["mistral", "qwen2", "gemma2", "gemma3_text"]
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None, "pad_token_id": 0}


def pruned(model_type: str = "llama") -> tuple[Any, Handle]:
    model = tiny_model(model_type, AutoModelForCausalLM)
    handle = attach(model, "tokens")
    handle.set(tokens=0.6)
    return model, handle


def generate(model: Any, inputs: dict[str, torch.Tensor], **options: Any) -> Any:
    with torch.no_grad():
        return model.generate(**inputs, **{**GREEDY, **options})


@pytest.mark.parametrize("model_type", DECODERS)
def test_embeddings_in_place_of_a_prompt(model_type: str) -> None:
    model, _ = pruned(model_type)
    inputs = batch("left")
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach()
    found = generate(model, {"inputs_embeds": embedded, "attention_mask": inputs["attention_mask"]})
    assert torch.equal(found, generate(model, inputs)[:, 21:])


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3, "num_return_sequences": 2, "early_stopping": True, "length_penalty": 0.5},
        {"num_beams": 2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
        {"guidance_scale": 1.5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_batch_gives_what_each_row_gives(options: dict[str, Any]) -> None:
    model, _ = pruned()
    inputs = batch("left")
    together = generate(model, inputs, **options)
    share = options.get("num_return_sequences", 1)
    for row, text in enumerate(texts(inputs)):
        alone = generate(model, {"input_ids": text}, **options)
        assert torch.equal(together[row * share : (row + 1) * share, 21:], alone[:, text.shape[1] :])


def test_beams_that_end_early() -> None:
    model, _ = pruned()
    common = int(generate(model, batch("left"))[0, 22])
    found = generate(model, batch("left"), num_beams=3, eos_token_id=common, max_new_tokens=12)
    assert found.shape[0] == 3
    assert found.shape[1] <= 33


def test_several_samples_of_a_prompt() -> None:
    model, _ = pruned()
    options = {"do_sample": True, "num_return_sequences": 3, "temperature": 2.0, "top_p": 0.95}
    torch.manual_seed(0)
    together = generate(model, batch("left"), **options)
    assert together.shape == (9, 27)
    assert torch.equal(together[:3, :21], batch("left")["input_ids"][:1].expand(3, -1))
    assert len({tuple(row) for row in together[:3].tolist()}) > 1


def test_everything_generate_can_return() -> None:
    model, handle = pruned()
    options = {"output_scores": True, "output_logits": True, "output_hidden_states": True, "output_attentions": True}
    found = generate(model, batch("left"), return_dict_in_generate=True, **options)
    assert torch.equal(found.sequences, generate(model, batch("left")))
    assert len(found.scores) == len(found.logits) == len(found.hidden_states) == 6
    assert [tuple(states.shape) for states in found.hidden_states[0]] == [(3, 21, 32)] * 5
    assert [tuple(states.shape) for states in found.hidden_states[1]] == [(3, 1, 32)] * 5
    assert found.attentions[0] == ()
    with torch.no_grad():
        prefill = model(**batch("left"), output_hidden_states=True)
    assert kept(handle) == [13, 8, 5, 5]
    for states, expected in zip(found.hidden_states[0], prefill.hidden_states, strict=True):
        torch.testing.assert_close(states, expected)


class Forbid(LogitsProcessor):
    """Forbids one token, and turns the dial while at it."""

    def __init__(self, token: int, handle: Handle | None = None) -> None:
        self.token, self.handle, self.calls = token, handle, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.handle is not None:
            self.handle.set(tokens=(0.3, 1.0)[self.calls % 2])
        scores[:, self.token] = -torch.inf
        return scores


def test_logits_processors_and_stopping() -> None:
    model, _ = pruned()
    first = int(generate(model, batch("left"))[0, 21])
    forbid = Forbid(first)
    stopping = StoppingCriteriaList([MaxTimeCriteria(60.0)])
    found = generate(model, batch("left"), logits_processor=LogitsProcessorList([forbid]), stopping_criteria=stopping)
    assert forbid.calls == 6
    assert not (found[:, 21:] == first).any()


@pytest.mark.parametrize("first", [1.0, 0.6])
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_the_dial_turns_between_two_tokens(model_type: str, first: float) -> None:
    """A single token is never dropped, so that the tokens are those of the setting that the prompt was read with."""
    model, handle = pruned(model_type)
    handle.set(tokens=first)
    expected = generate(model, batch("left"))
    found = generate(model, batch("left"), logits_processor=LogitsProcessorList([Forbid(96, handle)]))
    assert not (expected[:, 21:] == 96).any()
    assert torch.equal(found, expected)


def conversation(model: Any, first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> torch.Tensor:
    """Generate, add a second turn, and go on with the cache that came back."""
    answer = generate(model, first, return_dict_in_generate=True)
    rows = answer.sequences.shape[0]
    masks = [first["attention_mask"], torch.ones((rows, 6), dtype=torch.long), second["attention_mask"]]
    inputs = {
        "input_ids": torch.cat([answer.sequences, second["input_ids"]], dim=1),
        "attention_mask": torch.cat(masks, dim=1),
    }
    return generate(model, inputs, past_key_values=answer.past_key_values)[:, -6:]


def without_padding(inputs: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    text = texts(inputs)[row]
    return {"input_ids": text, "attention_mask": torch.ones_like(text)}


@pytest.mark.parametrize("lengths", [(11, 11, 11), (11, 7, 4)], ids=["even", "padded between turns"])
@pytest.mark.parametrize("model_type", DECODERS)
def test_a_second_turn_of_a_padded_batch(model_type: str, lengths: tuple[int, ...]) -> None:
    if model_type in WINDOWED and lengths[0] != lengths[1]:
        pytest.skip("padding between turns stands in a sliding window, with Transformers alone, too")
    model, _ = pruned(model_type)
    first, second = batch("left"), batch("left", lengths)
    together = conversation(model, first, second)
    for row in range(3):
        alone = conversation(model, without_padding(first, row), without_padding(second, row))
        assert torch.equal(together[row], alone[0])


def test_generation_without_a_cache_prunes_the_whole_text_at_every_step() -> None:
    """So its tokens are those of forwards over all there is so far, and may differ from cached generation's."""
    model, handle = pruned()
    ids = texts(batch())[0]
    found = generate(model, {"input_ids": ids}, use_cache=False)
    assert len(handle.survivors()[0][0]) == 16  # ceil(0.6 x 26)
    for _ in range(6):
        with torch.no_grad():
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(found, ids)
    assert not torch.equal(generate(model, batch("left"), use_cache=False), generate(model, batch("left")))


@pytest.mark.parametrize("given", ["argument", "position", "model"])
def test_a_refusal_finds_the_option_wherever_it_is_set(given: str) -> None:
    model, handle = pruned()
    inputs = batch("left")
    config = GenerationConfig(**{**GREEDY, "prefill_chunk_size": 4})
    if given == "model":
        model.generation_config.prefill_chunk_size = 4
    calls = {
        "argument": lambda: model.generate(**inputs, generation_config=config),
        "position": lambda: model.generate(inputs["input_ids"], config, attention_mask=inputs["attention_mask"]),
        "model": lambda: model.generate(**inputs, **GREEDY),
    }
    with pytest.raises(SettingError, match="Chunked prefill"):
        calls[given]()
    with handle.at(tokens=1.0), torch.no_grad():
        assert calls[given]().shape == (3, 27)


def test_continuous_batching_is_refused() -> None:
    """Its manager would log the error of each forward, and hand out empty texts."""
    model, _ = pruned()
    with pytest.raises(SettingError, match="paged cache"):
        model.generate_batch([[5, 6, 7]], generation_config=GenerationConfig(**GREEDY))


@pytest.mark.parametrize("kind", ["static", "offloaded"])
def test_a_cache_of_another_kind_is_refused_by_its_name(kind: str) -> None:
    model, _ = pruned()
    cache = StaticCache(config=model.config, max_cache_len=64) if kind == "static" else DynamicCache(offloading=True)
    with pytest.raises(CacheError, match=f"not offloaded. Given: {type(cache).__name__}"):
        generate(model, batch("left"), past_key_values=cache)


def test_a_copied_cache_goes_on_by_itself() -> None:
    """As for a long prefix that is read once and shared by many prompts."""
    model, _ = pruned()
    with torch.no_grad():
        prefix = model(**batch("left"), use_cache=True).past_key_values
        mask = torch.cat([batch("left")["attention_mask"], torch.ones((3, 4), dtype=torch.long)], dim=1)
        found = [
            model(torch.full((3, 4), token), attention_mask=mask, past_key_values=copy.deepcopy(prefix)).logits
            for token in (5, 9, 5)
        ]
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert prefix.get_seq_length() == 21
