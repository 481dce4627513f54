"""What a device or an installation cannot do is refused before anything is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rheostat.core.errors import RheostatError, SettingError
from rheostat.train.finetune import finetune
from rheostat.train.options import check_device, more_arguments, steps_in
from rheostat.train.settings import FinetuneSettings
from tests.saved import make_data

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
