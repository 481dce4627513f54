import json
from dataclasses import replace

import pytest
import torch

from rheostat.core.errors import RheostatError, SettingError
from rheostat.core.profile import Profile
from rheostat.core.text import TextData
from rheostat.measure.calibrate import GRID, PARTIAL, CalibrationSettings, calibrate
from rheostat.models.words import set_words
from rheostat.techniques import attach

QUICK = CalibrationSettings(grid=(0.5, 1.0, 0.2), pairs=2, timing_texts=4, batch_size=4, continuation_tokens=4)


def saved(bundle) -> Profile:
    return Profile.from_json((bundle.folder / "profile.json").read_text())


def test_a_classifier_s_profile(classifier, reviews):
    profile = calibrate(classifier, reviews, QUICK)
    assert saved(classifier) == profile
    assert [point.tokens for point in profile.points] == [1.0, 0.5, 0.2]
    neutral, *pruned = profile.points
    assert (neutral.speedup, neutral.macs_ratio) == (1.0, 1.0)
    assert neutral.speedup_low <= 1.0 <= neutral.speedup_high
    assert 1.0 < pruned[0].macs_ratio < pruned[1].macs_ratio
    for point in profile.points:
        assert point.seconds > 0
        assert set(point.quality) == set(point.quality_interval) == {"accuracy", "f1"}
        assert point.speedup_low <= point.speedup <= point.speedup_high
    assert set(profile.baselines) == {"majority", "linear"}
    assert profile.model["type"] == "bert"
    assert profile.model["technique"]["floor"] == 2
    assert profile.device["device"] == "cpu"
    assert profile.data["quality_rows"] == 12
    assert profile.settings_for(1.0) == {"tokens": 1.0}
    assert not (classifier.folder / PARTIAL).exists()
    assert classifier.handle.settings == {"tokens": 1.0}


def test_a_profile_over_both_dials(classifier, reviews):
    classifier.handle.detach()
    classifier.handle = attach(classifier.model, "tokens", "depth")
    profile = calibrate(classifier, reviews, replace(QUICK, grid=(1.0, 0.3), depths=(1,)))
    blocks = float(classifier.model.config.num_hidden_layers)
    measured = [(point.settings["tokens"], point.settings["depth"]) for point in profile.points]
    assert measured == [(1.0, blocks), (0.3, blocks), (1.0, 1.0), (0.3, 1.0)]
    assert profile.points[2].macs_ratio == pytest.approx(blocks, rel=0.15)
    assert Profile.from_json(profile.to_json()) == profile
    assert classifier.handle.settings == classifier.handle.neutral()


def test_a_profile_with_cascades(classifier, reviews):
    with pytest.raises(SettingError, match="where the bundle has the dial"):
        calibrate(classifier, reviews, replace(QUICK, cascades=(0.7,)))
    with pytest.raises(SettingError, match="probabilities in"):
        CalibrationSettings(cascades=(0.0,))
    classifier.handle.detach()
    classifier.handle = attach(classifier.model, "tokens", "depth", "cascade")
    profile = calibrate(classifier, reviews, replace(QUICK, grid=(1.0, 0.3), depths=(1,), cascades=(1.0,)))
    blocks = float(classifier.model.config.num_hidden_layers)
    measured = [tuple(point.settings[dial] for dial in ("tokens", "depth", "cascade")) for point in profile.points]
    once = [(1.0, blocks, 0.0), (0.3, blocks, 0.0), (1.0, 1.0, 0.0), (0.3, 1.0, 0.0)]
    assert measured == [*once, (0.3, blocks, 1.0), (0.3, 1.0, 1.0)]
    # Every text is read twice: the work is that of both readings.
    for short, whole, both in ((1, 0, 4), (3, 2, 5)):
        works = [1.0 / profile.points[at].macs_ratio for at in (short, whole, both)]
        assert works[2] == pytest.approx(works[0] + works[1])
        assert profile.points[both].quality == profile.points[whole].quality
    assert Profile.from_json(profile.to_json()) == profile


def test_a_profile_with_words(classifier, reviews):
    with pytest.raises(SettingError, match="where the bundle has the dial"):
        calibrate(classifier, reviews, replace(QUICK, words=1.0))
    with pytest.raises(SettingError, match=r"in \[0, 4\]"):
        CalibrationSettings(words=4.5)
    classifier.handle.detach()
    vocabulary = classifier.model.config.vocab_size
    # What comes in most texts says the second class: so loudly that nobody else is heard.
    set_words(classifier.model, torch.tensor([[-1e3, 1e3, 1.0]] * vocabulary + [[0.0, 0.0, 0.0]]))
    classifier.handle = attach(classifier.model, "tokens", "words")
    profile = calibrate(classifier, reviews, replace(QUICK, grid=(1.0, 0.3), words=1.0))
    measured = [(point.settings["tokens"], point.settings["words"]) for point in profile.points]
    assert measured == [(1.0, 0.0), (1.0, 1.0), (0.3, 1.0)]
    share = sum(reviews.split("validation").labels) / len(reviews.split("validation"))
    assert [point.quality["accuracy"] for point in profile.points[1:]] == pytest.approx([share] * 2)
    assert profile.points[1].macs_ratio == 1.0


def test_a_depth_that_is_no_choice_is_refused(classifier, reviews):
    with pytest.raises(SettingError, match="below the model's"):
        calibrate(classifier, reviews, replace(QUICK, depths=(99,)))
    with pytest.raises(SettingError, match="whole numbers from 1"):
        CalibrationSettings(depths=(0,))


def test_a_language_model_s_profile(language_model, book):
    profile = calibrate(language_model, book, QUICK)
    assert [set(point.quality) for point in profile.points] == [{"perplexity", "agreement"}] * 3
    assert profile.points[0].quality["agreement"] == 1.0
    assert profile.data["prompt_tokens"] == language_model.max_length - 4
    assert profile.baselines == {}
    assert saved(language_model) == profile


def test_progress_counts_up_and_estimates_the_rest(classifier, reviews):
    seen = []
    calibrate(classifier, reviews, QUICK, progress=seen.append)
    assert [(step.done, step.total) for step in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert seen[0].point is None
    assert seen[0].seconds_left is None
    assert [step.point.tokens for step in seen[1:]] == [1.0, 0.5, 0.2]
    assert seen[1].seconds_left > 0
    assert seen[3].seconds_left == 0


class InterruptionError(Exception):
    """Stands for Control-C."""


def interrupt_after(done):
    def progress(step):
        if step.done == done:
            raise InterruptionError

    return progress


def test_an_interrupted_calibration_goes_on_where_it_was(classifier, reviews):
    with pytest.raises(InterruptionError):
        calibrate(classifier, reviews, QUICK, progress=interrupt_after(2))
    kept = json.loads((classifier.folder / PARTIAL).read_text())["points"]
    assert [point["tokens"] for point in kept] == [1.0, 0.5]
    assert not (classifier.folder / "profile.json").exists()
    seen = []
    profile = calibrate(classifier, reviews, replace(QUICK, grid=(0.5, 0.2, 0.1)), progress=seen.append)
    assert [step.done for step in seen] == [2, 3, 4]
    assert [point.to_json() for point in profile.points[:2]] == kept
    assert [point.tokens for point in profile.points] == [1.0, 0.5, 0.2, 0.1]


@pytest.mark.parametrize("change", ["settings", "data", "resume", "damage"])
def test_what_was_measured_otherwise_is_measured_again(classifier, reviews, change):
    with pytest.raises(InterruptionError):
        calibrate(classifier, reviews, QUICK, progress=interrupt_after(2))
    settings = replace(QUICK, pairs=3) if change == "settings" else QUICK
    if change == "data":
        reviews.splits["validation"].texts[0] = "w1 w2"
    if change == "damage":
        (classifier.folder / PARTIAL).write_text('{"points": [{"tokens": 0.5}]}')
    seen = []
    calibrate(classifier, reviews, settings, progress=seen.append, resume=change != "resume")
    assert seen[0].done == 0


def test_fewer_texts_may_be_judged(classifier, reviews):
    profile = calibrate(classifier, reviews, replace(QUICK, quality_texts=5))
    assert profile.data["quality_rows"] == 5
    assert profile.baselines["majority"]["accuracy"] in [share / 5 for share in range(6)]


def test_data_for_something_else_is_refused(classifier, reviews, book):
    with pytest.raises(SettingError, match="the bundle's task, classification. Given: causal-lm"):
        calibrate(classifier, book, QUICK)
    swapped = TextData(reviews.splits, "classification", ("odd", "even"))
    with pytest.raises(SettingError, match="in the bundle's order: even, odd. Given: odd, even"):
        calibrate(classifier, swapped, QUICK)
    with pytest.raises(SettingError, match="The data has to have the split"):
        calibrate(classifier, reviews, replace(QUICK, split="test"))


def test_without_a_train_split_there_are_no_baselines(classifier, reviews):
    only = TextData({"validation": reviews.split("validation")}, "classification", reviews.label_names)
    assert calibrate(classifier, only, QUICK).baselines == {}


def test_baselines_that_cannot_be_had_do_not_spoil_a_calibration(classifier, reviews, monkeypatch):
    def fail(*_, **__):
        raise RheostatError("This needs a package that is not installed.")

    monkeypatch.setattr("rheostat.measure.calibrate.baselines", fail)
    assert calibrate(classifier, reviews, QUICK).baselines == {}


def test_the_usual_grid_reaches_down_to_the_floor():
    assert CalibrationSettings().rates == GRID
    assert CalibrationSettings(grid=(0.5,)).rates == (1.0, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": (0.0, 0.5)}, r"keep rates in \(0, 1\]. Given: \[0.0\]"),
        ({"pairs": 0}, "pairs is at least 1. Given: 0"),
        ({"quality_texts": 0}, "quality_texts is at least 1"),
    ],
)
def test_unfit_settings_are_refused(change, message):
    with pytest.raises(SettingError, match=message):
        CalibrationSettings(**change)
