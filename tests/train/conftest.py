"""What tests of fine-tuning share: tiny models on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.train.finetune import FinetuneSettings
from tests.saved import make_data, save_tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {task: save_tiny(folder / task, task) for task in ("classification", "causal-lm")}


@pytest.fixture
def writing(models: dict[str, Path], tmp_path: Path) -> FinetuneSettings:
    data = make_data("causal-lm", rows=16, words=32)
    return FinetuneSettings(models["causal-lm"], data, tmp_path / "bundle", "causal-lm", epochs=1, max_length=16)
