"""Scenarios: from YAML, from flags, and every mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rheostat.core.errors import DataError, SettingError
from rheostat.search.flags import scenario_from_flags
from rheostat.search.scenario import Scenario, read_scenario
from rheostat.search.writing import scenario_text

SCHEMA = Path(__file__).parents[2] / "docs" / "scenario.schema.json"
START = "model: m\ndata: d.csv\n"
WHOLE = """
model: package:tiny
data: {path: reviews.parquet, columns: {text: review}}
objectives: [accuracy, latency_p95]
limits:
  latency_p95: 15ms
  accuracy_drop: 1
  memory: 80%
budget: 45min
seed: 3
space: {tokens: [1, 0.5], precision: int8, cache: off, depth: on}
workload: {rows: 4, max_length: 128}
measure: {rounds: 5, validation_rows: 200}
train: {minutes: 3}
"""
FLAGS: dict[str, Any] = {
    "model": "package:tiny",
    "data": "reviews.parquet",
    "columns": {"text": "review"},
    "objectives": "accuracy,latency_p95",
    "latency_p95": "15ms",
    "limit": ["memory_peak_host<=80%", "accuracy>=baseline-1pt"],
    "budget": "45min",
    "seed": 3,
    "space": ["tokens=1,0.5 precision=int8", "cache=off"],
    "batch_size": 4,
    "max_length": 128,
    "rounds": 5,
    "validation_rows": 200,
    "train_minutes": 3,
    "task": None,
}


def read(folder: Path, text: str) -> Scenario:
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return read_scenario(file)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(SettingError) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_file_and_flags_that_say_the_same_are_equal(tmp_path: Path) -> None:
    from_file, from_flags = read(tmp_path, WHOLE), scenario_from_flags(FLAGS)

    assert from_file == from_flags
    assert from_file.settings_digest == from_flags.settings_digest
    assert from_file.space == {"cache": (), "precision": ("int8",), "tokens": (1, 0.5)}
    assert from_file.budget_seconds == 2700
    assert [objective.metric for objective in from_file.goals.objectives] == ["accuracy", "latency_p95"]
    assert from_file != scenario_from_flags({**FLAGS, "seed": 4})


def test_a_scenario_survives_json_and_yaml(tmp_path: Path) -> None:
    scenario = read(tmp_path, WHOLE)

    assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))) == scenario
    assert read(tmp_path, scenario_text(scenario)) == scenario


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
    st.sampled_from(["classification", "causal-lm"]),
    st.lists(st.sampled_from(["latency_p95 <= 15ms", "memory <= 80%", "energy <= 1J"])),
    st.integers(1, 10**6),
    st.dictionaries(st.sampled_from(["tokens", "threads"]), st.sampled_from([[], [1], "on"])),
    st.sampled_from([{}, {"rounds": 7, "time_limit": "90s"}]),
)
def test_every_written_scenario_is_read_back(
    tmp_path: Path, model: str, task: str, limits: list[str], budget: int, space: Any, measure: Any
) -> None:
    document = {"model": model, "data": f"{model}.csv", "task": task, "limits": limits}
    scenario = Scenario.from_json({**document, "budget": budget, "space": space, "measure": measure})

    assert read(tmp_path, scenario_text(scenario)) == scenario


def test_what_is_left_out_fits_the_task() -> None:
    classifier = Scenario.from_json({"model": "m", "data": "d"})
    writer = Scenario.from_json({"model": "m", "data": "d", "task": "causal-lm"})

    assert (classifier.workload.name, classifier.objectives[0]) == ("classify", "accuracy")
    assert (writer.workload.name, writer.objectives[0]) == ("generate", "perplexity")
    assert classifier.work().rows == 8
    assert classifier.work(batch=2).rows == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("buget: 3min", "keys that are known. Given: s.yaml, line 3, column 1: 'buget'. Did you mean 'budget'?"),
        ("measure:\n  round: 4", "s.yaml, line 4, column 3: 'round'. Did you mean 'rounds'?"),
        (
            "space:\n  tokenz: [1]",
            "axes that are known. Given: s.yaml, line 4, column 3: 'tokenz'. Did you mean 'tokens'?",
        ),
        ("space:\n  tokens: [1, 2]", "'tokens' lies in (0, 1]. Given: s.yaml, line 4, column 15: 2"),
        ("space: {precision: int9}", "line 3, column 9: 'int9'. Did you mean 'int8'?"),
        ("space: {recipe: [unform]}", "line 3, column 18: 'unform'. Did you mean 'uniform'?"),
        ("space: {adapter: [lroa]}", "line 3, column 19: 'lroa'. Did you mean 'lora'?"),
        ("space: {rank: [0]}", "line 3, column 16: 0"),
        ("space: {batch: [1.5]}", "whole numbers from 1. Given: s.yaml, line 3, column 17: 1.5"),
        ("space: {tokens: null}", "line 3, column 9"),
        ("space: 3", "A space is axes with their values. Given: s.yaml, line 3, column 1: 3"),
        ("limits:\n  latency_p96: 3ms", "line 4, column 3: 'latency_p96'. Did you mean 'latency_p9"),
        ("limits:\n- memory <= 1MB\n- nonsense", "line 5, column 3: 'nonsense'"),
        ("limits: {accuracy_drop: -1}", "line 3, column 10: accuracy_drop: -1. To ask for a gain"),
        ("limits: 3", "Limits are a list, or metrics"),
        ("limits:\n- latency_p95 <= 10ms\n- latency_p95 >= 20ms", "leave some value. Given: s.yaml, line 3, column 1"),
        ("objectives: [acuracy]", "line 3, column 14: 'acuracy'. Did you mean 'accuracy'?"),
        ("objectives: [accuracy, accuracy]", "each once"),
        ("strategy: nsga3", "'strategy' is one of its options. Given: s.yaml, line 3, column 1: 'nsga3'. Did you mean"),
        ("budget: soon", "A duration is a number of s, min or h. Given: s.yaml, line 3, column 1: 'soon'"),
        ("seed: -1", "'seed' is at least 0. Given: s.yaml, line 3, column 1: -1"),
        ("seed: 1.5", "'seed' is a whole number"),
        ("workload: classify\ntask: causal-lm", "The workload fits the task. Given: s.yaml, line 3, column 1"),
        ("measure: 3", "'measure' is keys with their values. Given: s.yaml, line 3, column 1: 3"),
        ("prices: {cpu: 1}", "A price table names its currency"),
        ("seed: 1\nseed: 2", "A key stands once. Given: s.yaml, line 4, column 1: 'seed', which is in line 3, too"),
        ("seed: [1", "A scenario is a YAML file. Given: s.yaml, line"),
        (
            "seed: -1\nworkers: 0",
            "'seed' is at least 0. Given: s.yaml, line 3, column 1: -1. There is one more problem.",
        ),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, START + text)


def test_columns_and_splits_are_checked(tmp_path: Path) -> None:
    columns = refused(tmp_path, "model: m\ndata: {path: d, columns: {txt: a}}")
    split = refused(tmp_path, "model: m\ndata: {path: d, split: test}")

    assert "line 2, column 27: 'txt'. Did you mean 'text'?" in columns
    assert "'data.split' is one of its options. Given: s.yaml, line 2, column 17: 'test'" in split


@pytest.mark.parametrize("text", ["", "- 1", "3", "model: m"])
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, text: str) -> None:
    assert "A scenario is keys" in refused(tmp_path, text) or "'data' is needed" in refused(tmp_path, text)


def test_a_document_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    assert "s.yaml" in refused(tmp_path, "model: m\ndata: &d [*d]")


def test_a_missing_file_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="YAML file that can be read"):
        read_scenario(tmp_path / "none.yaml")


def test_the_digest_changes_with_the_data_and_not_with_the_budget(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("text,label\na,b\n", encoding="utf-8")
    scenario = Scenario.from_json({"model": "m", "data": str(file)})
    before = scenario.digest

    assert Scenario.from_json({**scenario.to_json(), "budget": "3h", "workers": 2}).digest == before
    assert Scenario.from_json({**scenario.to_json(), "seed": 1}).digest != before
    file.write_text("text,label\na,c\n", encoding="utf-8")
    assert scenario.digest != before
    file.unlink()
    with pytest.raises(DataError, match="file or a folder"):
        _ = scenario.digest


def test_the_digest_knows_folders_of_data_and_of_models(tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    for folder in (data, model):
        folder.mkdir()
    (data / "part").write_text("1", encoding="utf-8")
    scenario = Scenario.from_json({"model": str(model), "data": str(data)})
    digests = [scenario.digest]
    for change in (data / "part", model / "bundle.json", model / "model.safetensors"):
        change.write_text("22", encoding="utf-8")
        digests.append(scenario.digest)

    assert len(set(digests)) == 4


def test_flags_change_a_file(tmp_path: Path) -> None:
    base = read(tmp_path, WHOLE)
    changed = scenario_from_flags({"latency_p95": "30ms", "space": ["threads=1"], "budget": "2h"}, base)

    assert changed.budget_seconds == 7200
    assert changed.space == {**base.space, "threads": (1,)}
    assert [limit.value for limit in changed.limits] == [0.01, 0.03, 0.8]
    assert scenario_from_flags({}, base) == base
    other = scenario_from_flags({"task": "causal-lm", "limit": ["perplexity <= 9"]}, base)
    assert (other.objectives[0], other.workload.name) == ("perplexity", "generate")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"latency_p59": "3ms"}, "flags are known. Given: 'latency_p59'. Did you mean 'latency_p"),
        ({"space": ["tokens"]}, "name and values, each name once. Given: 'tokens'"),
        ({"space": ["tokens=1", "tokens=0.5"]}, "each name once"),
        ({"space": ["tokens=1,2"]}, "lies in"),
        ({"accuracy_drop": "-1"}, "a number from 0"),
    ],
)
def test_unfit_flags_are_refused(flags: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        scenario_from_flags({"model": "m", "data": "d", **flags})


def test_a_scenario_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Scenario.from_json({"model": "m", "data": "d"}).seed = 1  # type: ignore[misc]


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == Scenario.schema()


def test_the_schema_takes_what_is_read(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Scenario.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    short = {"model": "m", "data": "d", "workload": "classify", "space": {"cache": False, "tokens": [1, 0.5]}}
    for document in (read(tmp_path, WHOLE).to_json(), yaml.safe_load(WHOLE), short):
        jsonschema.validate(document, schema)
        Scenario.from_json(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**short, "buget": 3}, schema)


if __name__ == "__main__":
    # To write it anew: python -m tests.search.test_scenario
    SCHEMA.write_text(json.dumps(Scenario.schema(), indent=2) + "\n", encoding="utf-8")
