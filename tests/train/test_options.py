"""What a device or an installation cannot do is refused before anything is loaded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rheostat.bundle import read_manifest
from rheostat.core.errors import RheostatError, SettingError
from rheostat.train import options
from rheostat.train.data import load_data
from rheostat.train.finetune import finetune
from rheostat.train.options import bf16_gain, check_device, more_arguments, setting_notes, steps_in, with_precision
from rheostat.train.settings import FinetuneSettings
from tests.saved import make_data, save_tiny

SETTINGS = FinetuneSettings("/no/model", make_data(), Path("/no/bundle"), epochs=3, batch_size=4)


def test_fp16_needs_a_device_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match="no CUDA device. Use fp32, or bf16"):
        finetune(replace(SETTINGS, precision="fp16"))
    check_device("bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old card")
    with pytest.raises(SettingError, match="Given: an old card. Use fp16 or fp32."):
        check_device("bf16")
    check_device("fp16")


def test_a_tracker_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trackio", None)
    with pytest.raises(RheostatError, match=r"'trackio', which is not installed.*pip install 'rheostat\[track\]'"):
        finetune(replace(SETTINGS, track="trackio"))


@pytest.mark.parametrize(
    ("rows", "accumulate", "processes", "steps"),
    [(24, 1, 1, 18), (25, 1, 1, 21), (24, 4, 1, 6), (24, 1, 2, 9), (25, 3, 2, 6)],
)
def test_steps_are_counted(rows: int, accumulate: int, processes: int, steps: int) -> None:
    assert steps_in(replace(SETTINGS, accumulate=accumulate), rows, processes) == steps


def test_settings_become_arguments() -> None:
    arguments = more_arguments(replace(SETTINGS, accumulate=4, precision="bf16"))
    assert (arguments["gradient_accumulation_steps"], arguments["bf16"], arguments["report_to"]) == (4, True, "none")
    assert arguments["run_name"] == "bundle"
    assert "bf16" not in more_arguments(SETTINGS)


@pytest.mark.parametrize(("gain", "taken"), [(2.0, "bf16"), (1.1, "fp32"), (0.02, "fp32")])
def test_auto_is_bf16_where_that_is_faster(gain: float, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(options, "bf16_gain", lambda: gain)
    assert with_precision(replace(SETTINGS, precision="auto")).precision == taken
    assert with_precision(replace(SETTINGS, precision="bf16")).precision == "bf16"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert with_precision(replace(SETTINGS, precision="auto")).precision == "fp32"


def test_on_a_gpu_auto_asks_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for supported, taken in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda supported=supported: supported)
        assert with_precision(replace(SETTINGS, precision="auto")).precision == taken


def test_a_precision_that_is_slower_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(options, "bf16_gain", lambda: 0.02)
    (note,) = setting_notes(replace(SETTINGS, precision="bf16"), make_data())
    assert note.startswith("bf16 is slower than fp32 on this CPU: a matrix product takes 50 times as long.")
    assert "'auto' would take fp32" in note
    assert setting_notes(replace(SETTINGS, precision="fp32"), make_data()) == []
    monkeypatch.setattr(options, "bf16_gain", lambda: 1.5)
    assert setting_notes(replace(SETTINGS, precision="bf16"), make_data()) == []


def test_the_gain_is_a_ratio_of_times_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    # float32 and bf16 in turn; the first turn does not count.
    times = iter([9.0, 1.0, 2.0, 1.0, 6.0, 2.0, 4.0, 2.0])
    monkeypatch.setattr(options, "_seconds", lambda *_: next(times))
    assert bf16_gain() == 2.0


def test_a_run_records_which_precision_auto_was(tmp_path: Path, models: dict[str, Path]) -> None:
    data = make_data(rows=8)
    settings = FinetuneSettings(models["classification"], data, tmp_path / "bundle", epochs=1, precision="auto")
    folder = finetune(settings)
    recorded = json.loads((folder / "bundle.json").read_text())["training"]["settings"]["precision"]
    assert recorded == with_precision(settings).precision
    # The same run again is complete, not another one.
    assert finetune(replace(settings, resume=True)) == folder


def test_a_bundle_that_may_have_learnt_what_is_held_out_is_said(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"w{row % 7} w{row % 5} w3", "label": "ab"[row % 2]}) for row in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    first = FinetuneSettings(
        save_tiny(tmp_path / "model"), tmp_path / "rows.jsonl", tmp_path / "first", epochs=1, max_length=8
    )
    folder = finetune(first)
    notes = {}
    for seed in (0, 1):
        more = finetune(replace(first, model=folder, out=tmp_path / f"more-{seed}", seed=seed))
        notes[seed] = [note for note in read_manifest(more)["notes"] if "seed 0" in note and str(folder) in note]
    assert notes[0] == []
    (note,) = notes[1]
    assert note.startswith(f"{folder} was trained with seed 0, and seed 1 holds out other rows")
    # Other texts with the same seed: it knows none of them.
    (tmp_path / "others.jsonl").write_text("\n".join(rows[:40]))
    others = load_data(tmp_path / "others.jsonl", "classification", seed=0)
    assert setting_notes(replace(first, model=folder), others) == []
    assert len(setting_notes(replace(first, model=folder, seed=1), others)) == 1
    # With a validation split of its own a seed holds nothing out.
    assert setting_notes(replace(first, model=folder, seed=1), make_data()) == []
