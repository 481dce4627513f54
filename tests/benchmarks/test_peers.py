"""The two sides of the comparison, without the peer itself: a stand-in takes its place."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import peers, peers_driver
from rheostat.bundle.store import BundleInfo, save_bundle
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny

STAND_IN = """
import json, sys
for line in sys.stdin:
    order = json.loads(line)
    if order["order"] == "load":
        files = {name: json.load(open(path)) for name, path in order["rows"].items()}
        reply = {}
    elif order["order"] == "run":
        reply = {"seconds": [1e-5] * (len(files[order["name"]]["rows"]) // files[order["name"]]["batch"])}
    else:
        reply = {"classes": files[order["name"]]["labels"]}
    print(json.dumps(reply), flush=True)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    loaded = load_model(save_tiny(tmp_path / "base"), "classification", label_names=["a", "b"])
    info = BundleInfo("classification", 32, ("a", "b"), "tiny")
    return save_bundle(tmp_path / "model", loaded.model, loaded.tokenizer, TokenPruning(floor=2), info)


@pytest.fixture
def arguments(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts = make_data()
    rows = [
        {"text": text, "label": texts.label_names[label], "split": name}
        for name, at in (("train", "train"), ("validation", "validation"), ("test", "validation"))
        for text, label in zip(texts.split(at).texts, texts.split(at).labels, strict=True)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(peers, "DRIVER", script)
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.onnx").write_bytes(b"12345")
    graph = {"config": {"model_path": str(work / "model.onnx")}}
    (work / "found.json").write_text(json.dumps({"returned": graph, "seconds": 3.0, "trials": []}))
    given = {"--model": model, "--data": tmp_path / "data.jsonl", "--peer-python": sys.executable, "--work": work}
    given |= {"--rounds": 2, "--sittings": 1, "--batch": 2, "--requests": 2, "--threads": 1, "--max-length": 16}
    given |= {"--out": tmp_path / "peers.json"}
    return ["--measure-only", *(str(part) for pair in given.items() for part in pair)]


@pytest.mark.slow
def test_peers_are_measured_side_by_side(arguments: list[str], model: Path, capsys: pytest.CaptureFixture[str]):
    configuration = {"recipe": "plain", "tokens": 0.5, "batch": 4, "threads": 1}
    peers.main([*arguments, "--ours", str(model), "--configuration", json.dumps(configuration)])
    found = json.loads(Path(arguments[-1]).read_text())
    plain, ours, peer = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["plain", "rheostat", "Olive"]
    assert plain["speedup"] == 1.0
    assert plain["points_lost_validation"] == 0.0
    assert plain["keeps_the_goal"]
    assert [len(row["rounds"]) for row in (plain, ours, peer)] == [2] * 3
    assert [len(row["rounds"][0]) for row in (plain, ours, peer)] == [2] * 3
    assert peer["latency_p50"] == 1e-5
    assert peer["accuracy_validation"] == peer["accuracy_test"] == 1.0
    assert peer["disk_bytes"] == 5
    assert ours["memory_peak_running"] > 1e8
    assert found["configuration"] == configuration
    assert "| Olive | 0.0 (0.0 to 0.0) |" in capsys.readouterr().out


def test_a_study_gives_ours_and_the_seconds(arguments: list[str], tmp_path: Path):
    result = {"recommended": {"configuration": {"tokens": 0.5}, "bundle": "recommended"}, "seconds": 61.4}
    (tmp_path / "result.json").write_text(json.dumps(result))
    options = peers._options([*arguments, "--study", str(tmp_path)])
    assert options.ours == tmp_path / "recommended"
    assert options.configuration == {"tokens": 0.5}
    assert (options.seconds, options.seconds_ours) == (61, 61.4)


def test_ours_has_to_be_given(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        peers.main(arguments)
    assert "give --study, or --ours and --configuration" in capsys.readouterr().err


def test_what_a_peer_loses_is_judged_by_the_goal():
    plain = peers.Entrant("plain", [], {}, 1, [[2.0], [4.0]], [1.0], {"validation": [0, 0, 1, 1], "test": [0]})
    other = peers.Entrant("other", [], {}, 1, [[1.0], [1.0]], [1.0], {"validation": [0, 0, 1, 0], "test": [1]})
    labels = {"validation": [0, 0, 1, 1], "test": [0]}
    row = peers._row(other, plain, labels, 24.9)
    assert row["speedup"] == 3.0
    assert row["points_lost_validation"] == 25.0
    assert not row["keeps_the_goal"]
    assert peers._row(other, plain, labels, 25)["keeps_the_goal"]


def test_batches_are_padded_to_their_own_longest_row(tmp_path: Path):
    file = tmp_path / "rows.json"
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    data = {"rows": [[5, 6], [7], [8, 9, 10]], "labels": [0, 1, 0], "batch": 2, "pad": 3, "inputs": inputs}
    file.write_text(json.dumps(data))
    (first, labels), (second, _) = peers_driver.batches(file)
    assert first["input_ids"].tolist() == [[5, 6], [7, 3]]
    assert first["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert labels.tolist() == [0, 1]
    assert second["input_ids"].tolist() == [[8, 9, 10]]


def test_the_workflow_asks_for_the_lowest_latency_within_the_goal(tmp_path: Path):
    task = {"model": "m", "classes": 2, "heads": 12, "width": 384, "drop": 0.01, "trials": 5}
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "model_config.json").write_text("{}")
    made = peers_driver.workflow(tmp_path, 60, 2)
    latency, accuracy = (metric["sub_types"][0] for metric in made["evaluators"]["goal"]["metrics"])
    assert latency["priority"] < accuracy["priority"]
    assert accuracy["goal"] == {"type": "max-degradation", "value": 0.01}
    assert made["search_strategy"]["max_time"] == 60
