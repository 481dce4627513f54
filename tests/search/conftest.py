"""Workers that are played, models that are never loaded, and texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rheostat.core.text import TextData
from rheostat.search import sitting, trainings
from rheostat.search.instruments import Instruments
from tests.saved import make_data
from tests.search import played

COMMAND = (sys.executable, "-S", played.__file__)


@pytest.fixture
def as_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few lines of Python play the worker; and no instrument is looked for."""
    monkeypatch.setattr(sitting, "COMMAND", COMMAND)
    monkeypatch.setattr(trainings, "COMMAND", COMMAND)
    tools = Instruments(None, None, "no counter", False, 1e9)
    monkeypatch.setattr(Instruments, "of", lambda device: tools)


@pytest.fixture
def data() -> TextData:
    return make_data()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder that looks like a bundle from outside."""
    return saved_bundle(tmp_path / "plain")


def saved_bundle(folder: Path, seed: int = 0) -> Path:
    folder.mkdir()
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "num_hidden_layers": 4}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "bundle.json").write_text(json.dumps({"training": {}}))
    save_file({"weight": torch.full((4,), float(seed))}, folder / "model.safetensors")
    return folder
