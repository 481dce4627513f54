"""Verdicts and costs of a language model make AE-LLM's score; what it says of a model is no matter of tests."""

import json
import random
from pathlib import Path

import pandas
import pytest

from benchmarks import tuned_language, tuned_score
from rheostat.core.metrics import Metric, unavailable
from tests.saved import WORDS, save_tiny


def test_what_is_on_file_is_not_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random.Random(0)
    texts = [" ".join(drawn.choices(WORDS, k=drawn.randint(8, 24))) for _ in range(24)]
    frame = pandas.DataFrame({"text": texts, "label": ["positive", "negative"] * 12, "split": ["train"] * 24})
    frame.to_parquet(tmp_path / "imdb.parquet")
    monkeypatch.setattr(tuned_language, "VERDICTS", (" w1", " w2"))
    monkeypatch.setattr(tuned_score, "HELD_OUT", 6)
    monkeypatch.setattr(tuned_score, "REVIEWS", 8)
    model = str(save_tiny(tmp_path / "model", "causal-lm"))
    given = ["--data", str(tmp_path), "--model", model, "--bundle", model, "--results", str(tmp_path)]
    tuned_score.main(["judge", *given, "--models", "untuned", "--precisions", "fp32", "--keeps", "1"])
    tuned_score.main(["judge", *given, "--precisions", "fp32", "--keeps", "1", "0.6"])
    untuned, tuned = (
        json.loads((tmp_path / f"tuned-score-{name}-fp32.json").read_text())["rows"] for name in ("untuned", "tuned")
    )
    assert [row["keep"] for row in untuned] == [row["keep"] for row in tuned] == [1.0, 0.6]
    # Ten reviews are left of those that neither the thresholds nor tuning have; the weights are the same twice.
    assert [len(row["asked"]) for row in untuned] == [10, 10]
    assert untuned[0]["asked"] == tuned[0]["asked"] != tuned[1]["asked"]


def test_the_best_score_loses_few_points(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def metrics(times: float) -> dict[str, Metric]:
        units = {"latency_p50": "s", "memory_peak_host": "B"}
        found = {name: Metric(8.0 / times, unit) for name, unit in units.items()}
        # No energy is measured: it follows from how busy the processor is.
        return {
            **found,
            "processor_utilisation": Metric(0.5, "1"),
            "energy_per_sample": unavailable("energy_per_sample", "no meter"),
        }

    costs = {("fp32", 1.0): metrics(1.0), ("fp32", 0.8): metrics(2.0), ("int8", 0.8): metrics(4.0)}
    said = {("untuned", "fp32", 1.0): 0.86, ("tuned", "fp32", 1.0): 0.92, ("tuned", "fp32", 0.8): 0.91,
            ("tuned", "int8", 0.8): 0.85}  # fmt: skip
    rows = [{"model": m, "precision": p, "keep": k, "accuracy": right} for (m, p, k), right in said.items()]
    measured = [type("One", (), {"configuration": {"precision": p, "tokens": k}, "metrics": each, "status": "ok",
                                 "machine": {"cores": 2}}) for (p, k), each in costs.items()]  # fmt: skip
    monkeypatch.setattr(tuned_score, "_judged", lambda options: rows)
    monkeypatch.setattr(tuned_score, "read_measurements", lambda folder: measured)
    tuned_score.main(["table"])
    best = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Best")]
    assert best[0].endswith("| tuned | int8 | 0.8 | 85.0% | 1.0 | 4.00, 4.00, 4.00 (estimated) | 4.00 |")
    assert best[1].endswith("| tuned | fp32 | 0.8 | 91.0% | 1.0 | 2.00, 2.00, 2.00 (estimated) | 2.00 |")


def test_the_boundary_lies_between_the_classes() -> None:
    scores = [(-2.0, False), (-1.0, False), (0.5, False), (0.4, True), (1.0, True), (3.0, True)]
    assert 0.0 < tuned_score.boundary(scores) < 1.0
