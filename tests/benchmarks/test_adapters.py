"""Runs are measured once, learning rates are chosen on validation, and switching leaves what it should."""

import json
from pathlib import Path

import pytest

from benchmarks import adapters
from rheostat.core.errors import MeasurementError
from tests.saved import save_tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    import pandas

    words = ["w1 w2 w3 w4", "w0 w0 w0 w0"]
    rows = [
        {"text": words[row % 2], "label": row % 2, "split": split}
        for split in ("train", "validation", "test")
        for row in range(12)
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    return tmp_path / "words.parquet"


def test_one_run_is_measured(data: Path, tmp_path: Path) -> None:
    options = adapters._options(["train", str(data), "--quick", "--model", str(save_tiny(tmp_path / "model"))])
    options.data = data
    for kind in ("shira-snip", "last-1", "lora"):
        case = next(case for case in adapters._rates(options) if case.kind == kind)
        found = adapters.measure(adapters.replace(case, seconds=0.6))
        assert found["steps"] > 1
        assert found["judged_rows"] == 12
        assert 0 < found["trained_share"] < 1
        assert found["file_bytes"] > 0
        assert found["prepare_seconds"] < found["seconds"]


def test_done_runs_are_skipped_and_rates_chosen_on_validation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked: list[adapters.Case] = []

    def run(command: list[str], **kwargs):
        case = adapters.Case(**json.loads(command[-1]))
        asked.append(case)
        best = case.rate == pytest.approx(1e-3, rel=0.01)
        result = {
            "accuracy": 0.9 if best else 0.5, "interval": [0.4, 0.95], "steps": 3, "step_ms": 2.0,
            "peak_bytes": 1 << 20, "trained_share": 0.01, "file_bytes": 2048,
        }  # fmt: skip
        return adapters.subprocess.CompletedProcess(command, 0, stdout=json.dumps(result), stderr="")

    monkeypatch.setattr(adapters, "commit", lambda: "abc")
    monkeypatch.setattr(adapters, "machine", dict)
    monkeypatch.setattr(adapters.subprocess, "run", run)
    arguments = ["train", str(data), "--results", str(tmp_path), "--kinds", "lora", "last-1", "--seeds", "0", "1"]
    adapters.main(arguments)
    tried, final = [case for case in asked if case.judged == "validation"], [c for c in asked if c.judged == "test"]
    assert [case.rate for case in tried] == [3.33e-4, 1e-3, 3e-3, 1e-4, 3e-4, 9e-4]
    assert {case.seconds for case in tried} == {120.0}
    assert {case.seconds for case in final} == {600.0}
    assert [(case.kind, case.rate, case.seed) for case in final] == [
        ("lora", 1e-3, 0), ("lora", 1e-3, 1), ("last-1", 1e-4, 0), ("last-1", 1e-4, 1),
    ]  # fmt: skip
    assert "| lora | 90.00% | 90.00% to 90.00% | 0.001 | 3 | 2 | 1 | 1.00% | 2 |" in capsys.readouterr().out
    path = tmp_path / "adapters-words.jsonl"
    with path.open("a") as file:
        file.write('{"case": {"data"')
    asked.clear()
    adapters.main(arguments)
    assert asked == []


def test_a_run_that_fails_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="fine-tuning of lora ends well"):
        adapters.main(
            ["train", str(data), "--quick", "--results", str(tmp_path), "--kinds", "lora", "--model", "/none"]
        )


def test_switching_leaves_nothing_or_rounding() -> None:
    rows = adapters._switching(100, 3, 4)
    assert [row["what"] for row in rows] == [
        "SHiRA, 2 %", "LoRA 1, PEFT", "LoRA 1, in place", "LoRA 4, PEFT", "LoRA 4, in place",
    ]  # fmt: skip
    assert rows[0]["left_after_taking_off"] == 0
    assert all(0 < row["left_after_taking_off"] < 1e-5 for row in rows[1:])
    assert rows[0]["times_SHiRA"] == 1
