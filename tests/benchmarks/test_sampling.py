import json

from benchmarks import sampling


def test_sampling_writes_json(tmp_path, capsys):
    out = tmp_path / "sampling.json"
    small = ["--pairs", "2", "--size", "128", "--products", "2000", "--threads", "1", "--interval", "0.002"]
    sampling.main([*small, "--out", str(out)])
    found = json.loads(out.read_text())
    assert {"commit", "machine", "lost", "own_cost", "slow_down", "control", "conditions"} <= found.keys()
    assert found["child_threads"] == 1
    assert 0 < found["ticks_taken"] <= found["ticks_wanted"]
    assert found["slow_down_95"][0] <= found["slow_down"] <= found["slow_down_95"][1]
    assert [len(seconds) for seconds in found["seconds"].values()] == [2, 2, 2, 2]
    assert "wanted below 0.05" in capsys.readouterr().out
