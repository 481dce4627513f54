"""Bundles are written whole or not at all, and damage is found and named."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rheostat.bundle import BundleInfo, load, read_manifest, save_bundle, store
from rheostat.core.errors import BundleError, SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning, attach
from tests.saved import save_tiny

INFO = BundleInfo(
    "classification",
    max_length=16,
    label_names=("a", "b"),
    origin="somewhere",
    training={"settings": {"epochs": 2}, "validation": [{"epoch": 1, "0.5": {"loss": 0.5, "accuracy": 0.75}}]},
    notes=("A note.",),
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory):
    return load_model(save_tiny(tmp_path_factory.mktemp("tiny")), "classification", label_names=["a", "b"])


@pytest.fixture
def folder(tmp_path: Path, loaded) -> Path:
    return save_bundle(tmp_path / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=3), INFO)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_bundle_holds_safetensors_and_json_only(folder: Path) -> None:
    assert names(folder) == {
        "README.md",
        "bundle.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert names(folder.parent) == {"bundle"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())


def test_the_manifest_says_what_it_is(folder: Path) -> None:
    manifest = read_manifest(folder)
    expected = {"name": "tokens", "floor": 3, "scorer": "attention", "protect": "auto", "decay": 1.0, "entry": 0.0}
    expected |= {"entry_scorer": "salience"}
    assert manifest["technique"] == expected
    assert set(manifest["files"]) == names(folder) - {"README.md", "bundle.json"}
    assert store.info_of(manifest) == INFO


def test_the_card_shows_facts_results_and_notes(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "| weights from | somewhere |" in card
    assert "| 1 | 0.5 | 0.5000 | 0.7500 |" in card
    assert "| epochs | 2 |" in card
    assert "- A note.\n" in card


def test_plain_transformers_reads_a_bundle(folder: Path, loaded) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(plain.classifier.weight, loaded.model.classifier.weight)


def test_a_model_that_wears_a_technique_is_saved_the_same(tmp_path: Path, folder: Path, loaded) -> None:
    handle = attach(loaded.model, "tokens")
    try:
        worn = save_bundle(tmp_path / "worn", loaded.model, loaded.tokenizer, TokenPruning(floor=3), INFO)
    finally:
        handle.detach()
    assert read_manifest(worn)["files"] == read_manifest(folder)["files"]


def test_an_existing_bundle_is_replaced_with_everything_in_it(folder: Path, loaded) -> None:
    (folder / "profile.json").write_text("{}")
    (folder / ".checkpoints").mkdir()
    save_bundle(folder, loaded.model, loaded.tokenizer, TokenPruning(floor=4), INFO)
    assert read_manifest(folder)["technique"]["floor"] == 4
    assert "profile.json" not in names(folder)
    assert ".checkpoints" not in names(folder)
    assert names(folder.parent) == {"bundle"}


@pytest.mark.parametrize("step", ["_fill", "replace_folder"])
def test_a_failure_keeps_the_old_bundle(folder: Path, loaded, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, step, fail)
    with pytest.raises(BundleError, match=r"No space left on device.*Free some space"):
        save_bundle(folder, loaded.model, loaded.tokenizer, TokenPruning(floor=4), INFO)
    assert names(folder.parent) == {"bundle"}
    assert load(folder).handle.technique == TokenPruning(floor=3)


def test_other_folders_are_not_replaced(tmp_path: Path, loaded) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="a new folder, an empty one, or over another bundle"):
        save_bundle(tmp_path, loaded.model, loaded.tokenizer, TokenPruning(), INFO)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_and_a_relative_one_are_taken(tmp_path: Path, loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    saved = save_bundle(Path("empty"), loaded.model, loaded.tokenizer, TokenPruning(), INFO)
    assert load("empty").info == INFO
    assert saved == tmp_path / "empty"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}: its content is not what was written"):
        load(folder)


@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_file_is_named(folder: Path, verify: bool) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors: the file is missing"):
        load(folder, verify=verify)


def test_an_edited_card_is_no_damage(folder: Path) -> None:
    (folder / "README.md").write_text("# Mine")
    load(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, "up to version 1.*has version 2.*Update rheostat"),
        ({"version": None}, "names no version"),
        ({"task": "poetry"}, "its task is 'poetry'"),
        ({"max_length": "long"}, "it lacks 'max_length'"),
        ({"files": {"../secret": "0"}}, "a file outside the bundle"),
        ({"technique": {"name": "tokenz"}}, "Did you mean 'tokens'"),
        ({"technique": {"name": "tokens", "floor": 0}}, "The knob 'floor'"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, change: dict, text: str) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(BundleError, match=text):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_an_unreadable_manifest_is_named(folder: Path, content: str) -> None:
    (folder / "bundle.json").write_text(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"A bundle is a folder with a bundle\.json.*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "half" / ".checkpoints").mkdir(parents=True)
    with pytest.raises(BundleError, match="unfinished: continue it with --resume"):
        load(tmp_path / "half")
    (tmp_path / ".gone.old-x1").mkdir()
    with pytest.raises(BundleError, match=r"kept the earlier bundle as .*\.gone\.old-x1: rename it to gone"):
        load(tmp_path / "gone")


def test_the_configuration_that_a_search_chose_is_in_force(folder: Path) -> None:
    manifest = read_manifest(folder)
    chosen = {"tokens": 0.5, "depth": 1, "precision": "fp32"}
    (folder / "bundle.json").write_text(json.dumps({**manifest, "configuration": chosen}))
    bundle = load(folder)

    assert bundle.handle.settings == {"tokens": 0.5, "depth": 1.0}
    assert bundle.handle.technique == TokenPruning(floor=3)
    with bundle.handle.at(tokens=1.0):
        assert bundle.handle.settings["tokens"] == 1.0


def test_a_dial_of_the_configuration_is_worn_for_it(folder: Path) -> None:
    manifest = read_manifest(folder)
    chosen = {"exit": 0.01, "exit_every": 1}
    (folder / "bundle.json").write_text(json.dumps({**manifest, "configuration": chosen}))
    bundle = load(folder)

    assert bundle.handle.settings == {"tokens": 1.0, "depth": 2.0, "exit": 0.01}
    early = bundle.predict(["a few words"])[0]
    assert early.probability == bundle.predict(["a few words"], depth=1, exit=1.0)[0].probability
    assert early.probability != bundle.predict(["a few words"], exit=1.0)[0].probability
    with pytest.raises(SettingError, match=r"exit=0\.01"):
        bundle.predict(["a few words"], exits=ExitRule({1: 0.5}))


def test_without_one_everything_is_at_neutral(folder: Path) -> None:
    assert load(folder).handle.settings == {"tokens": 1.0, "depth": 2.0, "cascade": 0.0}
