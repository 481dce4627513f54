"""What is measured is right; what it says about pruning is no matter of tests."""

import json
import math
import random

import pandas
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import language, language_tables, language_texts
from rheostat.core.errors import DataError, MeasurementError, SettingError
from rheostat.measure.quality import continuations
from rheostat.models.cache import new_cache
from rheostat.techniques import TokenPruning, attach
from rheostat.testing import tiny_model
from tests.saved import WORDS, make_tokenizer, save_tiny

SIZES = ["--prompt", "30", "--continuation", "6", "--windows", "4", "--words", "3", "--pairs", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, generator = tmp_path_factory.mktemp("data"), random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=90)) for _ in range(12)]
    for name in language_texts.TEXTS:
        splits = ["test", "valid", "train"] * 4
        pandas.DataFrame({"text": texts, "split": splits}).to_parquet(folder / f"{name}.parquet")
    words = {"context": [text[:80].rpartition(" ")[0] for text in texts], "last_word": ["w1", "w2 w3", "w4"] * 4}
    pandas.DataFrame(words).to_parquet(folder / "lambada.parquet")
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), "causal-lm")


def run(data, model_folder, out, *more):
    arguments = ["--data", str(data), "--model", str(model_folder), "--out", str(out), *SIZES, *more]
    language.main(arguments)
    return json.loads(out.read_text())


def test_main_measures_every_setting_and_prints_tables(data, model_folder, tmp_path, capsys):
    found = run(data, model_folder, tmp_path / "found.json", "--scorers", "mean", "--rates", "0.9", "0.5")
    settings = [(row["texts"], row["scorer"], row["keep"]) for row in found["rows"]]
    sets = (*language_texts.TEXTS, "lambada")
    grid = [
        ("plain", 1.0),
        ("mean", 0.9),
        ("mean", 0.5),
        *((name, 0.9) for name in ("last", "window", "random", "first")),
    ]
    assert settings == [(name, *pair) for pair in grid for name in sets]
    for row in found["rows"]:
        assert row["perplexity_95"][0] <= row["perplexity"] <= row["perplexity_95"][1]
        assert len(row["seconds"]) == len(row["plain_seconds"]) == (0 if row["scorer"] == "plain" else 2)
        assert ("accuracy" in row) == (row["texts"] == "lambada")
    assert all(row["ratio"] == row["cache_share"] == 1.0 for row in found["rows"][:4])
    # The two blocks of the tiny model hold 30 and 27 of 30 states at 0.9.
    assert found["rows"][4]["cache_share"] == (30 + 27) / 60
    output = capsys.readouterr().out
    assert "| wikitext2 | 0.950 | 0.750 |" in output
    assert output.count("| scorer | keep 0.9 | keep 0.5 |") == 6


def test_an_interrupted_run_goes_on_where_it_stopped(data, model_folder, tmp_path, monkeypatch):
    out, whole = tmp_path / "found.json", ["--scorers", "mean", "--others", "--rates", "0.9"]
    before = run(data, model_folder, out, *whole)
    out.write_text(json.dumps({**before, "rows": before["rows"][:-1]}))
    measured = []
    own = language._measured
    monkeypatch.setattr(language, "_measured", lambda *given: measured.append(given[1]) or own(*given))
    after = run(data, model_folder, out, *whole)
    assert measured == [language.Setting("lambada", "mean", "auto", 0.9)]
    assert after["rows"][-1]["losses"] == before["rows"][-1]["losses"]
    with pytest.raises(SettingError, match="of the same prompt. Given: 20, in found.json 30"):
        run(data, model_folder, out, *whole, "--prompt", "20")


def test_protect_stays_off_the_test_splits(data, model_folder, tmp_path, monkeypatch, capsys):
    asked = []
    own = language_texts.stretches
    monkeypatch.setattr(language_texts, "stretches", lambda *given: asked.append(given[1]) or own(*given))
    more = ["--experiment", "protect", "--rates", "0.8", "--windows", "2", "--pairs", "0"]
    found = run(data, model_folder, tmp_path / "found.json", *more)
    for name, texts in zip(language_texts.TEXTS, asked, strict=True):
        rows = pandas.read_parquet(data / f"{name}.parquet")
        assert texts == list(rows.text[rows.split == ("valid" if name == "wikitext2" else "train")])
    kinds = {(row["scorer"], row["protect"]) for row in found["rows"]}
    expected = {(scorer, protect) for scorer in ("attention", "mean") for protect in ("last", "both")}
    assert kinds == {("plain", "auto"), *expected}
    assert "| mean, protects both |" in capsys.readouterr().out


def test_a_plain_window_scores_what_the_whole_text_scores():
    model = tiny_model("gemma3_text", AutoModelForCausalLM)
    ids = torch.randint(3, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    handle = attach(model, "tokens")
    found = language.read(handle, language_texts.Window(ids, 30), 1.0)
    with torch.inference_mode():
        expected = model(ids, labels=ids.clone().index_fill(1, torch.arange(30), -100)).loss.item() * 10
    assert found["losses"] == pytest.approx(expected, rel=1e-5)
    assert found["tokens"] == 10
    assert found.keys() == {"cache_bytes", "losses", "tokens", "right"}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3_text"])
def test_a_pruned_window_scores_what_calibration_measures(kind):
    handle = attach(tiny_model(kind, AutoModelForCausalLM), TokenPruning(scorer="mean"))
    ids = torch.randint(3, 97, (1, 40), generator=torch.Generator().manual_seed(1))
    found = language.read(handle, language_texts.Window(ids, 30), 0.7, pair=1)

    class Bundle:
        model, handle = None, None

    Bundle.model, Bundle.handle = handle.model, handle
    expected = continuations(Bundle, ids, 30, {"tokens": 0.7}).losses[0] * 10
    assert found["losses"] == pytest.approx(expected, rel=1e-5)
    assert found["plain_seconds"] > 0
    assert found["seconds"] > 0


def test_a_byte_more_than_the_survivors_is_an_error():
    handle = attach(tiny_model("llama", AutoModelForCausalLM), "tokens")
    window = language_texts.Window(torch.arange(40).unsqueeze(0), 30)
    with handle.at(tokens=0.7):
        _, output = language.prefill(handle.model, window)
        states = language.entering(handle)
    assert states == [30, 21, 15, 11]
    language.check_bytes(output.past_key_values, states, handle.model)
    cache = new_cache(4)
    cache.layers = list(output.past_key_values.layers)
    # A view of a longer tensor keeps the whole of it alive.
    layer = cache.layers[2]
    layer.keys = torch.cat([layer.keys, layer.keys[:, :, :1]], dim=2)[:, :, :-1]
    with pytest.raises(MeasurementError, match="holds the states that entered each block. Given: "):
        language.check_bytes(cache, states, handle.model)


def test_perplexity_counts_tokens_and_ratios_pair_windows():
    plain = {"texts": "lambada", "keep": 1.0, "losses": [1.0, 6.0], "tokens": [1, 2], "right": [True, True]}
    first = language_tables.summary({**plain, "cache_bytes": [8, 8]}, [])
    pruned = {**plain, "keep": 0.5, "losses": [1.5, 7.0], "right": [True, False], "cache_bytes": [4, 4]}
    found = language_tables.summary(pruned, [first])
    assert first["perplexity"] == pytest.approx(math.exp(7 / 3))
    assert found["perplexity"] == pytest.approx(math.exp(8.5 / 3))
    assert found["ratio"] == pytest.approx(math.exp(0.5))
    assert found["ratio_95"] == pytest.approx((math.exp(0.5), math.exp(0.5)))
    assert (found["accuracy"], found["cache_share"]) == (0.5, 0.5)


def test_stretches_come_from_texts_far_apart_and_then_further_on():
    tokenizer = make_tokenizer("causal-lm")
    texts = [" ".join([word] * 3 + ["w0"] * 3) for word in ("w1", "w2", "w3", "w4")] + ["w5"]
    one, two = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("w1", "w3"))
    assert language_texts.stretches(tokenizer, texts, 3, 2) == [one * 3, two * 3]
    zeros = tokenizer("w0 w0 w0", add_special_tokens=False)["input_ids"]
    assert language_texts.stretches(tokenizer, texts, 3, 8)[4:] == [zeros] * 4
    with pytest.raises(DataError, match="hold 9 stretches of 3 tokens. Given: 8"):
        language_texts.stretches(tokenizer, texts, 3, 9)


def test_a_last_word_follows_its_context():
    tokenizer = make_tokenizer("causal-lm")
    window = language_texts.last_word(tokenizer, [1], "w1 w2", "w3")
    assert window.ids.tolist() == [tokenizer("w1 w2 w3")["input_ids"]]
    assert window.prompt == 3


def test_a_missing_file_and_a_missing_folder_are_said(model_folder, tmp_path, capsys):
    with pytest.raises(DataError, match="is a Parquet file in --data"):
        run(tmp_path, model_folder, tmp_path / "found.json")
    missing = ["--table", "--out", str(tmp_path / "found.json")]
    for wrong in ([], missing, ["--data", str(tmp_path), "--rates", "1"]):
        with pytest.raises(SystemExit):
            language.main(wrong)
    said = capsys.readouterr().err
    for part in ("--data is needed", "there is no", "the plain model is measured anyway"):
        assert part in said
