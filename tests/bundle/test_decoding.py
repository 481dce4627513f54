"""Bundles that write by drafts and by exits."""

from pathlib import Path
from typing import Any

import pytest

from rheostat.bundle import Bundle, BundleInfo, load, save_bundle, write_exits
from rheostat.core.errors import BundleError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.measure.exits import choose_exits
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny

PROMPTS = ["w1 w2 w3 w4 w5 w6", "w9 w8"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    here = tmp_path_factory.mktemp("writer")
    loaded = load_model(save_tiny(here / "tiny", "causal-lm", num_hidden_layers=4), "causal-lm")
    info = BundleInfo("causal-lm", 16)
    return load(save_bundle(here / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=2), info), device="cpu")


@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("depth", [1, 3])
def test_drafts_write_what_the_whole_model_writes(writer: Bundle, depth: int, tokens: float) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 12, "tokens": tokens}
    whole = [writer.generate(prompt, **settings) for prompt in PROMPTS]
    assert writer.generate(PROMPTS, draft_depth=depth, **settings) == whole
    found = writer.decode(PROMPTS[0], draft_depth=depth, eos_token_id=[], **settings)
    assert (found.tokens, found.mean_depth) == (12, None)
    assert found.acceptance is not None
    assert 0 <= found.acceptance <= 1


def test_exits_go_to_the_depth_of_their_rule(writer: Bundle) -> None:
    found = writer.decode(PROMPTS[0], exits=ExitRule({2: -2.0}), max_new_tokens=5, eos_token_id=[])
    # The first token is the prompt's, which goes through all 4 blocks.
    assert (found.tokens, found.mean_depth, found.acceptance) == (5, (4 + 4 * 2) / 5, None)
    never = ExitRule({2: 2.0})
    assert writer.generate(PROMPTS[0], exits=never, max_new_tokens=9) == writer.generate(PROMPTS[0], max_new_tokens=9)


def test_exits_are_chosen_on_running_text(writer: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rheostat.measure.exits.WINDOW", 8)
    with pytest.raises(BundleError, match="Run: rheostat exits"):
        writer.generate("w1", exits=True)
    with writer.handle.at(tokens=0.5), pytest.raises(SettingError, match="chosen at neutral"):
        choose_exits(writer, make_data("causal-lm").split("validation"), [1, 2], 3.0)
    chosen = choose_exits(writer, make_data("causal-lm").split("validation"), [1, 2], 3.0)
    assert chosen.mean_depth == pytest.approx(3.0, abs=0.2)
    assert chosen.data["rows"] % 8 == 0
    write_exits(writer.folder, chosen)
    again = load(writer.folder, device="cpu")
    assert again.generate("w1 w2", exits=True, max_new_tokens=4) == writer.generate(
        "w1 w2", exits=chosen.rule, max_new_tokens=4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draft_depth": 4}, "fewer than the 4 blocks"),
        ({"draft_depth": 0}, "A depth lies in"),
        ({"draft_depth": 2, "exits": ExitRule({1: 0.5})}, "by exits or by drafts. Given: both"),
        ({"draft_depth": 2, "do_sample": True}, "Given: do_sample=True"),
        ({"draft_depth": 2, "num_beams": 3}, "Given: num_beams=3"),
        ({"draft_depth": 2, "repetition_penalty": 1.2, "max_length": 9}, "Given: max_length, repetition_penalty"),
        ({"exits": ExitRule({1: 0.5}), "depth": 2}, "depth is no setting of its own"),
        ({"draft_depth": 2, "streamer": print}, "A streamer follows plain writing"),
        ({"draft_depth": 2, "max_new_tokens": 10**6}, "positions"),
        ({"draft_depth": 2, "max_new_tokens": 0}, "have a token or more"),
        ({"draft_depth": 2, "drat": 1}, "An option is a dial"),
    ],
)
def test_what_is_refused(writer: Bundle, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        writer.generate("w1", **options)
    assert message in str(caught.value)


def test_what_the_models_own_configuration_asks_for_counts(writer: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.model.generation_config, "do_sample", True)
    with pytest.raises(SettingError, match="do_sample=True. Give do_sample=False"):
        writer.decode("w1", draft_depth=2)
    assert writer.decode("w1", draft_depth=2, do_sample=False, max_new_tokens=2).tokens <= 2
    monkeypatch.setattr(writer.model.generation_config, "repetition_penalty", 1.3)
    with pytest.raises(SettingError, match="Given: repetition_penalty"):
        writer.decode("w1", draft_depth=2, do_sample=False)


def test_neither_exits_nor_drafts(writer: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="by exits or by drafts. Given: neither"):
        writer.decode("w1")
