"""Fine-tuning end to end with each way of choosing the trained weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import TrainerCallback

from rheostat.bundle import load, read_manifest
from rheostat.core.errors import SettingError
from rheostat.models.sources import load_model
from rheostat.techniques.finetuning.shira import SparseAdapter, SparseSwitch
from rheostat.train import finetune as finetuning
from rheostat.train.adapters import Trainable
from rheostat.train.finetune import FinetuneSettings, finetune
from tests.saved import make_data

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SHIRA = Trainable("shira", mask="gradient")


@pytest.fixture
def settings(models: dict[str, Path], tmp_path: Path) -> FinetuneSettings:
    return FinetuneSettings(
        models["classification"], make_data(), tmp_path / "bundle", epochs=1, max_length=16, learning_rate=1e-2
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed(settings: FinetuneSettings) -> dict[str, float]:
    """Which tensors of the base model are not what they were, and in what share of their entries."""
    plain, tuned = weights(Path(settings.model)), weights(settings.out)
    pairs = {name: plain.get(name, plain.get(name.removeprefix("bert."))) for name in tuned}
    shares = {name: float((tuned[name] != old).float().mean()) for name, old in pairs.items() if old is not None}
    assert len(shares) >= len(plain)
    return {name: share for name, share in shares.items() if share}


@pytest.mark.parametrize("task", ["classification", "causal-lm"])
@pytest.mark.parametrize("mask", ["gradient", "structural"])
def test_shira_changes_two_percent_and_leaves_its_adapter(
    settings: FinetuneSettings, writing: FinetuneSettings, task: str, mask: Any
) -> None:
    wanted = settings if task == "classification" else writing
    wanted = replace(wanted, trainable=Trainable("shira", mask=mask), learning_rate=1e-2)
    folder = finetune(wanted)
    assert changed(wanted)
    assert max(changed(wanted).values()) <= 0.02
    names = set(weights(folder))
    assert not any("values" in name or "base" in name.split(".") for name in names)
    assert f"({mask} mask), and the change was merged" in (folder / "README.md").read_text()
    assert "adapter/shira.safetensors" in read_manifest(folder)["files"]
    said = read_manifest(folder)["training"]["settings"]
    assert said["trainable"] == {"kind": "shira", "share": 0.02, "mask": mask}
    assert said["recipe"]["keep_low"] == 0.02

    base = load_model(str(wanted.model), wanted.task, label_names=None if task == "causal-lm" else ("a", "b")).model
    switch = SparseSwitch(base)
    switch.add("it", SparseAdapter.load(folder / "adapter"))
    switch.use(it=1.0)
    tuned = load(folder).model.state_dict()
    assert all(torch.equal(tensor, tuned[name]) for name, tensor in base.state_dict().items() if "pooler" not in name)


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_adapters_of_low_rank_are_merged_and_kept_beside(settings: FinetuneSettings, kind: Any) -> None:
    wanted = replace(settings, trainable={"kind": kind, "rank": 2})  # type: ignore[arg-type]
    folder = finetune(wanted)
    assert any(name.endswith("query.weight") for name in changed(wanted))
    assert not any("lora" in name for name in weights(folder))
    assert read_manifest(folder)["training"]["settings"]["recipe"]["keep_low"] == 0.5
    assert sorted(name for name in read_manifest(folder)["files"] if name.startswith("adapter/")) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ]
    assert str(folder.parent) not in (folder / "adapter/adapter_config.json").read_text().replace(str(wanted.model), "")
    base = load_model(str(wanted.model), "classification").model
    assert isinstance(PeftModel.from_pretrained(base, folder / "adapter"), PeftModel)


def test_last_k_changes_the_last_block_and_what_follows(settings: FinetuneSettings) -> None:
    wanted = replace(settings, trainable=Trainable("last-k", blocks=1))
    folder = finetune(wanted)
    assert {".".join(name.split(".")[:4]) for name in changed(wanted)} == {
        "bert.encoder.layer.1",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
    }
    assert "The last 1 of 2 blocks and what follows them were trained." in (folder / "README.md").read_text()
    assert not (folder / "adapter").exists()


def test_the_frozen_kind_changes_no_tensor_of_the_base(settings: FinetuneSettings) -> None:
    wanted = replace(settings, trainable=Trainable("frozen"))
    finetune(wanted)
    assert changed(wanted) == {}


class Killed(Exception):  # noqa: N818 - it is no error of ours
    """Stands for a kill: nothing of ours catches it."""


class Kill(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            raise Killed


@pytest.mark.parametrize("trainable", [SHIRA, Trainable("last-k"), Trainable("dora", rank=2)])
def test_a_killed_run_goes_on_with_the_same_result(
    settings: FinetuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: Trainable
) -> None:
    wanted = replace(settings, trainable=trainable, epochs=2, save_minutes=1e-9)
    whole = finetune(replace(wanted, out=tmp_path / "whole"))
    plain = finetuning._trainer

    def trainer(*args: Any) -> Any:
        made = plain(*args)
        made[0].add_callback(Kill())
        return made

    monkeypatch.setattr(finetuning, "_trainer", trainer)
    with pytest.raises(Killed):
        finetune(wanted)
    monkeypatch.setattr(finetuning, "_trainer", plain)
    again = finetune(replace(wanted, resume=True))
    one, two = weights(whole), weights(again)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_best_epoch_is_kept_of_a_sparse_training(settings: FinetuneSettings) -> None:
    folder = finetune(replace(settings, trainable=SHIRA, epochs=3, choose="best"))
    assert read_manifest(folder)["training"]["epoch_kept"].endswith("of 3 (best)")
    assert max(changed(replace(settings, out=folder)).values()) <= 0.02


def test_a_run_is_not_continued_with_other_weights_trained(settings: FinetuneSettings, monkeypatch) -> None:
    monkeypatch.setattr(finetuning, "save_bundle", _fail)
    with pytest.raises(Killed):
        finetune(replace(settings, trainable=SHIRA))
    with pytest.raises(SettingError, match="trainable was .*'shira'.*now .*'last-k'"):
        finetune(replace(settings, trainable=Trainable("last-k"), resume=True))


def _fail(*args: Any) -> Path:
    raise Killed
