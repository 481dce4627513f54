"""The benchmarks run; what they find is no matter of tests."""

import json

import pytest
import torch

from benchmarks import common, neutral_cost, speed
from rheostat.core.errors import DataError
from rheostat.measure.timing import PairedTiming

PROVENANCE = {"commit", "machine", "model", "parameters", "dtype", "text", "pairs", "rows"}


def test_neutral_cost_writes_a_table_and_json(tmp_path, capsys):
    out = tmp_path / "neutral.json"
    neutral_cost.main(["--tiny", "--pairs", "2", "--tokens", "40", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found.keys() >= PROVENANCE
    assert [row["what"] for row in found["rows"]] == ["handle at neutral", "control: plain twice"]
    assert all(row["cost_95"][0] <= row["cost"] <= row["cost_95"][1] for row in found["rows"])
    assert "| handle at neutral | 40 | 1 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("extra", [[], ["--cache"]])
def test_speed_writes_a_table_and_json(tmp_path, capsys, extra):
    out = tmp_path / "speed.json"
    sizes = ["--tokens", "40", "60", "--batch", "1", "2", "--keep", "0.9", "0.5"]
    speed.main(["--tiny", "--pairs", "2", *sizes, "--out", str(out), *extra])
    found = json.loads(out.read_text())
    assert found.keys() >= PROVENANCE
    assert found["cache"] is bool(extra)
    assert [(row["tokens"], row["batch"], row["keep"]) for row in found["rows"]] == [
        (tokens, batch, keep) for tokens in (40, 60) for batch in (1, 2) for keep in (0.9, 0.5)
    ]
    assert found["rows"][0]["macs_ratio"] < found["rows"][1]["macs_ratio"]
    assert "| 60 | 2 | 0.5 |" in capsys.readouterr().out


def test_twins_share_every_weight():
    model = common.tiny_model()
    other = neutral_cost.twin(model)
    assert other is not model
    assert other.model.layers[0] is not model.model.layers[0]
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    assert all(one is two for one, two in pairs)


def test_predicted_over_measured_by_hand():
    # 1 s whatever the length, 8 s for the length: a quarter of the work leaves 2 + 1 of 9 seconds.
    assert speed.shares(PairedTiming((9.0, 9.0), (3.0, 4.0)), fixed=1.0, ratio=4.0) == [1.0, 0.75]


def test_a_text_is_cut_into_rows_that_start_alike(tmp_path):
    class Tokenizer:
        bos_token_id = 7

        def __call__(self, text, **_):
            return {"input_ids": [ord(letter) for letter in text]}

    class Loaded:
        tokenizer = Tokenizer()

    path = tmp_path / "letters.txt"
    path.write_text("abcdef")
    options = neutral_cost._options(["--text", str(path)])
    rows = common.token_rows(options, Loaded(), 2, 4)
    assert torch.equal(rows, torch.tensor([[7, 97, 98, 99], [7, 100, 101, 102]]))
    with pytest.raises(DataError, match="has 8 tokens or more. Given: 6"):
        common.token_rows(options, Loaded(), 2, 5)


def test_the_usual_text_is_long_enough_for_any_benchmark():
    assert len(common.read_text(None)) > 40 * 4 * 1024
