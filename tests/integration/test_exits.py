"""From data to exits and drafts, through the command line."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rheostat.bundle import BundleInfo, save_bundle
from rheostat.cli import app
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def save(folder: Path, task: Any) -> Path:
    names = ("a", "b") if task == "classification" else None
    loaded = load_model(save_tiny(folder / "tiny", task, num_hidden_layers=4), task, label_names=names)
    return save_bundle(
        folder / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=2), BundleInfo(task, 16, names)
    )


def test_a_classifier_gets_exits_and_uses_them(tmp_path: Path) -> None:
    bundle, data = save(tmp_path, "classification"), make_data()
    rows = [
        {"text": text, "label": "ab"[label], "split": name}
        for name, split in data.splits.items()
        for text, label in zip(split.texts, split.labels or [], strict=True)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = run("exits", bundle, "--data", tmp_path / "d.jsonl", "--depths", "1,2", "--mean-depth", "3")
    assert chosen["exits"]["data"] == {"split": "validation", "rows": 8}
    assert (bundle / "exits.json").is_file()
    texts = data.split("validation").texts
    found = run("predict", bundle, *texts, "--exits")
    assert found["mean_depth"] == sum(row["depth"] for row in found["predictions"]) / len(texts)
    assert {row["depth"] for row in found["predictions"]} <= {1, 2, 4}


def test_a_language_model_drafts_what_it_writes(tmp_path: Path) -> None:
    bundle = save(tmp_path, "causal-lm")
    plain = run("generate", bundle, "w1 w2 w3", "--max-new-tokens", "8")
    drafted = run("generate", bundle, "w1 w2 w3", "--max-new-tokens", "8", "--draft-depth", "2")
    assert drafted["text"] == plain["text"]
    assert 0 <= drafted["acceptance"] <= 1
