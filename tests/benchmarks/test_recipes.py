"""The stages of the benchmark of recipes follow each other."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import cascade_speed, recipes
from benchmarks.far import far_split, likeness
from rheostat.core.metrics import Metric
from rheostat.core.text import Split, TextData
from tests.saved import save_tiny


def test_runs_are_judged_once_and_stand_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = [_words(tmp_path), "--recipes", "plain", "mixed", "--results", str(tmp_path)]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--work", str(tmp_path / "work"), "--minutes", "0.01"]
    shared += ["--depths", "1", "2"]
    recipes.main(["train", *shared, "--max-length", "16", "--precision", "fp32"])
    files = sorted((tmp_path / "recipes-words").iterdir())
    assert [one.name for one in files] == ["mixed-0.json", "plain-0.json"]
    mixed, plain = (json.loads(one.read_text())["accuracy"] for one in files)
    assert set(plain["fp32 all 0"]) == {"1", "0.5", "0.3"}
    assert set(plain["int8 all 0"]) == {"1", "0.6", "0.4", "0.3", "0.2", "0.1"}
    # What plain never saw in training: a cut before the first block.
    assert set(plain["fp32 all 0.8"]) == {"0.5", "0.3"}
    # Two blocks make two fifths of their cut before the first one.
    assert set(mixed["fp32 all 0.4"]) == {"1", "0.5", "0.3"}
    assert set(plain["int8 all 0.8"]) == {"0.6", "0.4", "0.3", "0.2", "0.1"}
    assert set(mixed["int8 all 0.4"]) == {"1", "0.6", "0.4", "0.3", "0.2", "0.1"}
    assert set(mixed) - set(plain) == {
        f"{precision} {depth} 0.4" for precision in ("fp32", "int8") for depth in ("all", 1)
    }
    capsys.readouterr()
    recipes.main(["train", *shared])
    assert not capsys.readouterr().out, "what is on file was made again"
    # As a bench writes them: numbers of dials are floats.
    measured = SimpleNamespace(
        configuration={"precision": "int8", "depth": 1.0, "entry": 0.4, "tokens": 0.2},
        metrics={"speedup": Metric(3.0, "1", 2.9, 3.1)},
        status="ok",
    )
    (tmp_path / "recipes-words-speed").mkdir()
    monkeypatch.setattr(recipes, "read_measurements", lambda folder: [measured])
    recipes.main(["table", *shared])
    said = capsys.readouterr().out
    assert "| precision | depth | entry | keep | measured speed-up | plain | mixed |" in said
    fast = f"{mixed['int8 1 0.4']['0.2']:.2%}"
    assert f"| int8 | 1 | 0.4 | 0.2 | 3.00x (2.90 to 3.10) |  | {fast} |" in said
    assert f"| 3x |  | {fast} (int8 1 0.4, 0.2) |" in said
    assert "| 4x |  |  |" in said
    assert "Steps: plain" in said


def test_cascades_are_counted_from_two_readings(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = [_words(tmp_path), "--recipes", "mixed", "--results", str(tmp_path)]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--work", str(tmp_path / "work"), "--minutes", "0.01"]
    shared += ["--depths", "1", "2", "--max-length", "16", "--precision", "fp32"]
    recipes.main(["train", *shared])
    recipes.main(["cascade", *shared])
    (file,) = (tmp_path / "recipes-words-cascade").iterdir()
    row = json.loads(file.read_text())
    assert row["fixed"] == {"precision": "int8", "entry": 0.4, "depth": 1}
    assert set(row["splits"]) == {"validation", "test"}
    first = row["splits"]["test"]["0.1"]
    assert first["0"]["again"] == 0.0
    shares = [first[f"{threshold:g}"]["again"] for threshold in recipes.THRESHOLDS]
    assert shares == sorted(shares)
    # The dial itself, at a threshold that everybody misses, answers as the whole text does.
    bundle = recipes.load(tmp_path / "work" / "words-mixed-0")
    data = recipes.load_data(tmp_path / "words.parquet", "classification", seed=0)
    worn = recipes.configured(bundle, {**row["fixed"], "cascade": 0.0}, data, 16)
    settings = {"tokens": 0.1, "depth": 1, "cascade": 1.0}
    twice = recipes.classification_quality(worn, data.split("test"), settings).values["accuracy"]
    assert twice == row["splits"]["test"]["1"]["0"]["accuracy"]
    options = [
        "--rows",
        "4",
        "--pairs",
        "1",
        "--depths",
        "1",
        "--keeps",
        "0.1",
        "--thresholds",
        "1",
        "--max-length",
        "16",
    ]
    own = ["--work", str(tmp_path / "work"), "--results", str(tmp_path)]
    cascade_speed.main([str(tmp_path / "words.parquet"), *own, *options])
    (timed,) = json.loads((tmp_path / "cascade-speed-words.json").read_text())["cascades"]
    assert timed["again"] == 1.0
    assert 0 < timed["reckoned"] < timed["once"][0]
    capsys.readouterr()
    recipes.main(["cascade", *shared])
    assert not capsys.readouterr().out, "what is on file was made again"
    measured = [
        SimpleNamespace(
            configuration={"precision": "int8", "depth": 1.0, "entry": entry, "tokens": keep},
            metrics={"speedup": Metric(gain, "1", gain, gain)},
            status="ok",
        )
        # Where nothing is dropped, what was timed with another entry serves as well.
        for entry, keep, gain in ((0.0, 1.0, 2.0), (0.4, 0.1, 20.0))
    ]
    (tmp_path / "recipes-words-speed").mkdir()
    monkeypatch.setattr(recipes, "read_measurements", lambda folder: measured)
    speeds = recipes._speeds(_arguments(tmp_path))
    reached = [at for at in first if 1.0 / (1.0 / 20.0 + first[at]["again"] / 2.0) >= 3.0]
    assert recipes._at_speed(row, "0.1", 3.0, speeds) == first[reached[-1]]["accuracy"]
    assert recipes._at_speed(row, "0.1", 21.0, speeds) is None
    recipes.main(["table", *shared])
    said = capsys.readouterr().out
    assert "| recipe | first reading keeps | every text whole | 3x | 4x |" in said
    assert "| mixed | 0.1 | " in said


def test_a_bundle_is_judged_as_it_was_trained_where_words_tell_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas

    rows = [
        {"text": f"w{row % 5} w{row % 3}", "label": row * 7 % 11 % 2, "split": split}
        for split in ("train", "validation", "test")
        for row in range(24)
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    shared = [str(tmp_path / "words.parquet"), "--recipes", "mixed", "--results", str(tmp_path), "--depths", "1", "2"]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--work", str(tmp_path / "work"), "--max-length", "16"]
    recipes.main(["train", *shared, "--minutes", "0.01", "--precision", "fp32"])
    row = json.loads((tmp_path / "recipes-words" / "mixed-0.json").read_text())
    assert set(row["accuracy"]) == {"fp32 all 0", "fp32 1 0", "int8 all 0", "int8 1 0"}
    assert recipes.reading(tmp_path / "work" / "words-mixed-0", "mixed", (1, 2), 0.0)["entry"] == 0.0
    asked = []
    monkeypatch.setattr(recipes, "bench", lambda sources, workload, wanted, **others: asked.append((sources, wanted)))
    recipes.main(["speed", *shared])
    # Plain is timed with a cut before the first block, too, on a copy that has a table of words.
    (folder,) = {source for (source,), _ in asked}
    assert recipes.salience_of(recipes.load(folder).model) is not None
    assert {(one["entry"], one.get("depth")) for _, wanted in asked for one in wanted} == {
        (0, None),
        (0, 1),
        (0.8, None),
    }


def test_words_are_heard_in_both_readings(tmp_path: Path) -> None:
    shared = [_words(tmp_path), "--recipes", "plain", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--minutes", "0.01", "--max-length", "16"]
    shared += ["--learning-rate", "1e-9"]
    recipes.main(["train", *shared, "--precision", "fp32"])
    recipes.main(["cascade", *shared, "--words", "4"])
    (file,) = (tmp_path / "recipes-words-cascade-words").iterdir()
    row = json.loads(file.read_text())
    assert row["fixed"] == {"precision": "int8", "entry": 0.8, "words": 4.0}
    # Here single words tell the label, and a model that learns at no rate to speak of does not.
    judged = json.loads((tmp_path / "recipes-words" / "plain-0.json").read_text())["accuracy"]
    assert judged["int8 all 0"]["1"] < 1.0
    assert row["splits"]["test"]["1"]["0"]["accuracy"] == 1.0
    assert row["splits"]["test"]["0.1"]["0.9"]["accuracy"] == 1.0


def _words(folder: Path) -> str:
    import pandas

    rows = [
        {"text": ("w1 w2 w3 w4 w5 w6 w7 w8 w1 w3", "w0 w0 w7 w8")[row % 2], "label": row % 2, "split": split}
        for split in ("train", "validation", "test")
        for row in range(16)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "words.parquet")
    return str(folder / "words.parquet")


def _arguments(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(results=folder, data=folder / "words.parquet")


def test_what_shares_names_with_the_judged_texts_is_not_learnt_from() -> None:
    films = ["Casablanca", "Vertigo", "Metropolis", "Rashomon", "Playtime", "Solaris", "Stalker", "Persona"]
    texts = [f"{film} is a good film, {film} by any count. The end." for film in films for _ in range(4)]
    texts += [f"Nothing to name here, number {row}." for row in range(8)]
    data = TextData({"train": Split(texts, labels=[0] * 40)}, "classification", ("a",))
    far = far_split(data, 6)
    judged, learnt = far.split("validation").texts, far.split("train").texts
    assert len(judged) == 6
    assert set(learnt) == {text for text in texts if text not in judged or "Nothing" in text} - set(judged)
    assert likeness([*judged, *learnt], range(6, 6 + len(learnt)), range(6)) == [0.0] * len(learnt)
    assert far_split(data, 6) == far
    assert "6 of 40 train texts are judged" in far.notes[-1]


def test_far_texts_are_judged_in_place_of_the_test_split(tmp_path: Path) -> None:
    import pandas

    rows = [{"text": f"w{row % 7} w{row % 2} w5", "label": row % 2, "split": "train"} for row in range(40)]
    rows += [{"text": "w1 w2", "label": row % 2, "split": "test"} for row in range(4)]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    shared = [str(tmp_path / "words.parquet"), "--recipes", "plain", "--results", str(tmp_path), "--far", "8"]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--work", str(tmp_path / "work"), "--minutes", "0.01"]
    recipes.main(["train", *shared, "--max-length", "16", "--precision", "fp32"])
    (row,) = (json.loads(one.read_text()) for one in (tmp_path / "recipes-words-far").iterdir())
    assert all(accuracy * 8 == int(accuracy * 8) for accuracy in row["accuracy"]["fp32 all 0"].values())
