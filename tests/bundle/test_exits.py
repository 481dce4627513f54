"""Exits in a bundle: written, read back, used, and refused where they are not its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from rheostat.bundle import EXITS, Bundle, BundleInfo, SavedExits, load, save_bundle, weights_of, write_exits
from rheostat.core.errors import BundleError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.measure.exits import choose_exits
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny

DATA = make_data()
TEXTS = DATA.split("train").texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("classifier")
    loaded = load_model(save_tiny(here / "tiny", num_hidden_layers=4), "classification", label_names=("a", "b"))
    info = BundleInfo("classification", 16, ("a", "b"))
    return save_bundle(here / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=2), info)


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    (folder / EXITS).unlink(missing_ok=True)
    return load(folder, device="cpu")


def saved(bundle: Bundle, **changes: Any) -> SavedExits:
    given = {"rule": ExitRule({1: 0.9, 2: 0.8}), "blocks": 4, "target": 3.0, "mean_depth": 3.1}
    return SavedExits(**{**given, "weights": weights_of(bundle.manifest), **changes})


@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("criterion", ["confidence", "similarity"])
def test_each_text_has_the_answer_of_its_depth(bundle: Bundle, criterion: Any, tokens: float) -> None:
    with bundle.handle.at(tokens=tokens):
        write_exits(bundle.folder, choose_exits(bundle, DATA.split("train"), [1, 2, 3], 2.5, criterion=criterion))
    again = load(bundle.folder, device="cpu")
    assert again.exits is not None
    assert again.exits.settings == {"tokens": tokens}
    found = again.predict(TEXTS, exits=True, batch_size=5, tokens=tokens)
    depths = [prediction.depth for prediction in found]
    assert len(set(depths)) > 2
    # Thresholds are scores of rows themselves, where rounding decides.
    assert sum(depth or 0 for depth in depths) / len(depths) == pytest.approx(again.exits.mean_depth, abs=0.3)
    for depth in set(depths):
        whole = again.predict(TEXTS, depth=depth, tokens=tokens)
        for one, other in zip(found, whole, strict=True):
            if one.depth == depth:
                assert one.probability == pytest.approx(other.probability, abs=1e-5)
                assert other.depth is None


def test_a_rule_can_be_given_and_none_is_refused_where_the_bundle_has_none(bundle: Bundle) -> None:
    assert {row.depth for row in bundle.predict(TEXTS, exits=ExitRule({3: -2.0}))} == {3}
    with pytest.raises(BundleError, match=r"once exits were chosen.*Run: rheostat exits"):
        bundle.predict(TEXTS, exits=True)
    with pytest.raises(SettingError, match="depth is no setting of its own. Given: depth=2"):
        bundle.predict(TEXTS, exits=ExitRule({1: 0.5}), depth=2)
    with pytest.raises(SettingError, match="below the last of 4 blocks"):
        choose_exits(bundle, DATA.split("train"), [2, 4], 3.0)
    with pytest.raises(SettingError, match="threshold that is kept is finite"):
        saved(bundle, rule=ExitRule({1: float("-inf")}))
    with bundle.handle.at(depth=2), pytest.raises(SettingError, match="depth is no setting of its own"):
        choose_exits(bundle, DATA.split("train"), [1], 3.0)
    with pytest.raises(SettingError, match="criterion is one of"):
        choose_exits(bundle, DATA.split("train"), [2], 3.0, criterion="entropy")  # type: ignore[arg-type]


def test_exits_round_trip_and_a_file_is_replaced_whole(bundle: Bundle) -> None:
    for mean in (3.1, 3.2):
        exits = saved(bundle, mean_depth=mean, settings={"tokens": 0.5}, data={"split": "validation", "rows": 3})
        write_exits(bundle.folder, exits)
        assert load(bundle.folder, device="cpu").exits == exits
    assert [path.name for path in bundle.folder.glob("*exits*")] == [EXITS]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "Exits have version 1. Given: 2"),
        ({"thresholds": {}}, "one or more"),
        ({"thresholds": {"two": 0.5}}, "two"),
        ({"thresholds": {"1": "high"}}, "A threshold is a number"),
        ({"thresholds": {"4": 0.5}}, "A rule lets go below the last block"),
        ({"criterion": "entropy"}, "The criterion is one of"),
        ({"blocks": 6}, "chosen for 6 blocks, and the model has 4"),
        ({"blocks": None}, "A rule lets go below the last block"),
        ({"mean_depth": 9}, "lies in [1, 4]"),
        ({"settings": []}, "without settings"),
        ({"weights": "0" * 64}, "chosen for other weights"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(bundle: Bundle, changes: dict[str, Any], message: str) -> None:
    path = write_exits(bundle.folder, saved(bundle))
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(BundleError, match="A bundle's exits are those that were chosen") as caught:
        load(bundle.folder, device="cpu")
    assert message in str(caught.value)
    assert "Run rheostat exits" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "blocks": NaN}'])
def test_a_file_that_is_damaged_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.folder / EXITS).write_text(text)
    with pytest.raises(BundleError, match=r"exits\.json"):
        load(bundle.folder, device="cpu")


def test_weights_tell_bundles_apart(bundle: Bundle) -> None:
    files = dict(bundle.manifest["files"])
    assert weights_of({"files": {**files, "tokenizer.json": "0"}}) == weights_of({"files": files})
    assert weights_of({"files": {**files, "model.safetensors": "0"}}) != weights_of({"files": files})
