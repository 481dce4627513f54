"""Running bundles: predictions, generation, speeds, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TextStreamer

from rheostat.bundle import Bundle, BundleInfo, load, save_bundle
from rheostat.core.errors import BundleError, DataError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.core.machine import machine_facts
from rheostat.core.profile import Point, Profile
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny

TEXTS = make_data().split("train").texts


def save(folder: Path, task: str) -> Path:
    names = ("a", "b") if task == "classification" else None
    loaded = load_model(save_tiny(folder / "tiny", task), task, label_names=names)
    info = BundleInfo(task, 16, names)
    return save_bundle(folder / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=2), info)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(save(tmp_path_factory.mktemp("classifier"), "classification"), device="cpu")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(save(tmp_path_factory.mktemp("writer"), "causal-lm"), device="cpu")


def profile(**facts: object) -> Profile:
    point = Point({"tokens": 1.0}, 1.0, 1.0, 1.0, 1.0, 1.0)
    fast = Point({"tokens": 0.4}, 2.0, 1.9, 2.1, 0.5, 3.0)
    return Profile({**machine_facts(), **facts}, {}, {}, (point, fast))


def test_predictions_equal_the_plain_model_at_neutral(classifier: Bundle) -> None:
    predictions = classifier.predict(TEXTS, batch_size=5)
    plain = load_model(classifier.folder)
    for text, prediction in zip(TEXTS, predictions, strict=True):
        with torch.no_grad():
            logits = plain.model(**plain.tokenizer(text, return_tensors="pt", truncation=True, max_length=16)).logits
        expected = logits.softmax(-1)[0]
        assert list(prediction.probabilities) == ["a", "b"]
        torch.testing.assert_close(torch.tensor(list(prediction.probabilities.values())), expected)
        assert prediction.label == "ab"[int(expected.argmax())]
        assert prediction.probability == max(prediction.probabilities.values())


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_batching_and_order_change_nothing(classifier: Bundle, tokens: float) -> None:
    together = classifier.predict(TEXTS, batch_size=7, tokens=tokens)
    for text, prediction in zip(TEXTS, together, strict=True):
        (alone,) = classifier.predict([text], tokens=tokens)
        assert alone.probability == pytest.approx(prediction.probability, abs=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text"])
def test_a_decoder_classifies_by_its_last_token_whatever_its_neighbours(tmp_path: Path, kind: str) -> None:
    tiny = save_tiny(tmp_path / "tiny", "causal-lm", kind)
    loaded = load_model(tiny, "classification", label_names=["a", "b", "c"])
    info = BundleInfo("classification", 16, ("a", "b", "c"))
    bundle = load(save_bundle(tmp_path / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=2), info))
    together = bundle.predict(TEXTS[:6], tokens=0.5)
    for text, prediction in zip(TEXTS[:6], together, strict=True):
        (alone,) = bundle.predict([text], tokens=0.5)
        assert alone.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
    assert len({round(prediction.probability, 5) for prediction in together}) == 6


def test_a_dial_holds_for_one_call(classifier: Bundle) -> None:
    before = classifier.predict(TEXTS)
    pruned = classifier.predict(TEXTS, tokens=0.3)
    assert [p.probabilities for p in pruned] != [p.probabilities for p in before]
    assert classifier.predict(TEXTS) == before
    assert classifier.handle.settings == classifier.handle.neutral()


def test_every_classifier_has_a_cascade(classifier: Bundle, tmp_path: Path) -> None:
    once, whole = classifier.predict(TEXTS, tokens=0.3), classifier.predict(TEXTS)
    threshold = sorted(row.probability for row in once)[1]
    found = classifier.predict(TEXTS, tokens=0.3, cascade=threshold)
    for row, first, second in zip(found, once, whole, strict=True):
        expected = second if first.probability < threshold else first
        assert row.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    with pytest.raises(SettingError, match="read once"):
        classifier.predict(TEXTS, tokens=0.3, cascade=0.9, exits=ExitRule({1: 0.9}))
    assert "cascade" not in load(save(tmp_path, "causal-lm")).handle.neutral()


def test_every_bundle_has_a_depth_dial(classifier: Bundle) -> None:
    assert set(classifier.handle.neutral()) == {"tokens", "depth", "cascade"}
    shallow, both = classifier.predict(TEXTS, depth=1), classifier.predict(TEXTS, depth=1, tokens=0.3)
    answers = [[row.probabilities for row in rows] for rows in (classifier.predict(TEXTS), shallow, both)]
    assert answers[0] != answers[1] != answers[2] != answers[0]
    with pytest.raises(SettingError, match="The dial 'depth' lies in"):
        classifier.predict(TEXTS, depth=99)


def test_a_dial_set_on_the_handle_holds_where_none_is_given(classifier: Bundle) -> None:
    pruned = classifier.predict(TEXTS, tokens=0.3)
    classifier.handle.set(tokens=0.3)
    try:
        assert classifier.predict(TEXTS) == pruned
    finally:
        classifier.handle.set(tokens=1.0)


def test_long_texts_are_cut_and_reported(classifier: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    exact, longer = " ".join(["w3"] * 14), " ".join(["w3"] * 15)
    short, fits, cut = classifier.predict(["w1", exact, longer])
    assert (short.truncated, fits.truncated, cut.truncated) == (False, False, True)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 3 texts are longer than 16 tokens: their end was not read."
    ]
    assert fits.probabilities == pytest.approx(cut.probabilities)


def test_pairs_are_read(classifier: Bundle) -> None:
    (first,) = classifier.predict(["w1 w2"], ["w3"])
    (second,) = classifier.predict(["w1 w2"], ["w4"])
    assert first != second


def test_no_texts_give_no_predictions(classifier: Bundle) -> None:
    assert classifier.predict([]) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("one text",), "The texts are a list of strings. Given: str"),
        ((["x", 3],), "Each of the texts is a string. Given: 3"),
        ((["x"], "y"), "The pairs are a list of strings"),
        ((["x"], ["y", "z"]), "1 texts and 2 pairs"),
    ],
)
def test_texts_that_are_no_lists_of_strings_are_refused(classifier: Bundle, arguments, text: str) -> None:
    with pytest.raises(DataError, match=text):
        classifier.predict(*arguments)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tokens": 0.0}, r"lies in \(0, 1\]"),
        ({"token": 0.5}, "Did you mean 'tokens'"),
        ({"batch_size": 0}, "A batch size is a whole number from 1"),
        ({"speed": 2.0, "tokens": 0.5}, "A speed sets the dials itself"),
    ],
)
def test_unfit_settings_are_refused(classifier: Bundle, options: dict, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        classifier.predict(["w1"], **options)


def test_a_speed_needs_a_profile(classifier: Bundle) -> None:
    with pytest.raises(BundleError, match=r"Run: rheostat calibrate .*bundle"):
        classifier.predict(["w1"], speed=2.0)


def test_a_speed_is_the_dial_setting_of_the_profile(classifier: Bundle) -> None:
    calibrated = replace(classifier, profile=profile())
    assert calibrated.predict(TEXTS, speed=2.0) == classifier.predict(TEXTS, tokens=0.4)
    with pytest.raises(SettingError, match=r"The speed lies in \[1, 2\]"):
        calibrated.predict(TEXTS, speed=5.0)


def test_a_profile_is_loaded_with_the_bundle(tmp_path: Path) -> None:
    folder = save(tmp_path, "classification")
    assert load(folder).profile is None
    (folder / "profile.json").write_text(profile().to_text())
    assert load(folder).settings(speed=2.0) == {"tokens": 0.4, "depth": 2.0, "cascade": 0.0}


def test_a_profile_of_another_machine_is_pointed_out(tmp_path: Path) -> None:
    folder = save(tmp_path, "classification")
    (folder / "profile.json").write_text(profile(cpu="Abacus 2000").to_text())
    with pytest.warns(UserWarning, match=r"another machine \(cpu: Abacus 2000 there.*rheostat calibrate"):
        bundle = load(folder)
    assert bundle.settings(speed=2.0) == {"tokens": 0.4, "depth": 2.0, "cascade": 0.0}


@pytest.mark.parametrize("content", ["{", json.dumps({"version": 7})])
def test_a_damaged_profile_is_named(tmp_path: Path, content: str) -> None:
    folder = save(tmp_path, "classification")
    (folder / "profile.json").write_text(content)
    with pytest.raises(BundleError, match=r"profile\.json"):
        load(folder)


def test_an_unknown_device_is_refused(classifier: Bundle) -> None:
    with pytest.raises(SettingError, match="A device is one that PyTorch has here"):
        load(classifier.folder, device="abacus")


def test_each_task_has_its_method(classifier: Bundle, writer: Bundle) -> None:
    with pytest.raises(BundleError, match="generate is for causal-lm bundles.*Use predict"):
        classifier.generate("w1")
    with pytest.raises(BundleError, match="predict is for classification bundles.*Use generate"):
        writer.predict(["w1"])


PROMPTS = ["w1 w2 w3 w4 w5 w6 w7 w8", "w9 w3 w5"]


def test_generation_equals_the_plain_model_at_neutral(writer: Bundle) -> None:
    plain = load_model(writer.folder)
    inputs = plain.tokenizer(PROMPTS[0], return_tensors="pt", return_token_type_ids=False)
    tokens = plain.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    written = writer.generate(PROMPTS[0], max_new_tokens=6, do_sample=False)
    assert written == plain.tokenizer.decode(tokens, skip_special_tokens=True)
    assert isinstance(written, str)


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_prompts_of_different_lengths_are_continued_together(writer: Bundle, tokens: float) -> None:
    together = writer.generate(PROMPTS, tokens=tokens, max_new_tokens=6, do_sample=False)
    alone = [writer.generate(prompt, tokens=tokens, max_new_tokens=6, do_sample=False) for prompt in PROMPTS]
    assert together == alone
    assert writer.tokenizer.padding_side == "right"


def test_a_streamer_gets_the_tokens(writer: Bundle, capsys: pytest.CaptureFixture) -> None:
    written = writer.generate(
        PROMPTS[0],
        tokens=0.5,
        max_new_tokens=4,
        do_sample=False,
        streamer=TextStreamer(writer.tokenizer, skip_prompt=True, skip_special_tokens=True),
    )
    assert capsys.readouterr().out.strip() == written.strip()
    with pytest.raises(SettingError, match="A streamer follows one prompt. Given: 2 prompts"):
        writer.generate(PROMPTS, streamer=TextStreamer(writer.tokenizer))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"token": 0.5}, "Did you mean 'tokens'"),
        ({"temperatur": 0.5}, "Did you mean 'temperature'"),
        ({"tokens": 2}, r"lies in \(0, 1\]"),
        ({"max_new_tokens": 200}, "fit the model's 128 positions.*max_new_tokens=200"),
        ({"speed": 2.0, "tokens": 0.5}, "A speed sets the dials itself"),
    ],
)
def test_unfit_options_are_refused(writer: Bundle, options: dict, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        writer.generate("w1", **options)


def test_no_prompts_give_no_text(writer: Bundle) -> None:
    assert writer.generate([]) == []
