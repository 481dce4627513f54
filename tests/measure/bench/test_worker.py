"""The measured process's work, done in this one."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rheostat.core.workload import Workload
from rheostat.measure.bench.worker import Workbench, obeyed
from rheostat.models.salience import set_salience, write_salience
from rheostat.models.sources import load_model
from rheostat.testing import tiny_model
from tests.saved import make_data, make_tokenizer, save_tiny


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    classifier = tmp_path_factory.mktemp("classifier")
    tiny_model("bert", AutoModelForSequenceClassification).save_pretrained(classifier)
    make_tokenizer("classification").save_pretrained(classifier)
    return {"classify": classifier, "generate": save_tiny(tmp_path_factory.mktemp("writer"), "causal-lm")}


def bench_of(folder: Path, workload: Workload, configuration: dict[str, Any], rows: Path | None = None) -> Workbench:
    bench = Workbench()
    path = None if rows is None else str(rows)
    order = {"source": str(folder), "configuration": configuration, "workload": workload.to_json(), "device": "cpu"}
    told = bench.load({**order, "timed": path, "judged": path, "classes": 2})
    assert told["load_time"] > 0
    return bench


def saved_rows(folder: Path, task: str) -> Path:
    file = folder / f"{task}.json"
    words = 12 if task == "classification" else 90
    file.write_text(json.dumps(asdict(make_data(task, words=words).split("validation"))))
    return file


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_classify(folders: dict[str, Path], tmp_path: Path, tokens: float) -> None:
    rows = saved_rows(tmp_path, "classification")
    bench = bench_of(folders["classify"], Workload("classify", batch_size=4, requests=2), {"tokens": tokens}, rows)
    described = bench.describe({})
    assert described["rows"] == [4, 4]
    assert described["cache"] is None
    assert described["weights"] >= 4 * described["parameters"]
    warmed = bench.warm({"requests": 3, "seconds": 10, "settled": 0.5})
    assert warmed["first_call"] > 0
    turn = bench.turn({"passes": 2})
    assert [[set(one) for one in requests] for requests in turn["passes"]] == [[{"latency"}] * 2] * 2
    answers = bench.judge({})["answers"]
    assert len(answers["guesses"]) == 8


def test_pruning_takes_less_counted_work(folders: dict[str, Path]) -> None:
    work = Workload("classify", batch_size=2, prompt_tokens=40)
    plain, pruned = (bench_of(folders["classify"], work, {"tokens": tokens}) for tokens in (1.0, 0.3))
    assert pruned.describe({})["macs"][0] < 0.8 * plain.describe({})["macs"][0]


def test_what_does_not_enter_is_not_counted(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["classify"], tmp_path / "telling"))
    model = load_model(folder).model
    set_salience(model, torch.rand(model.config.vocab_size, generator=torch.Generator().manual_seed(0)))
    write_salience(folder, model)
    work = Workload("classify", batch_size=2, prompt_tokens=40)
    plain, early = (bench_of(folder, work, {"tokens": tokens, "entry": 1.0}) for tokens in (1.0, 0.3))
    # With the whole cut at the entry, all blocks read 12 of 40 tokens.
    assert early.describe({})["macs"][0] < 0.32 * plain.describe({})["macs"][0]


def test_generate_writes_just_so_many_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    work = Workload("generate", prompt_tokens=20, new_tokens=5, quality_rows=2)
    bench = bench_of(folders["generate"], work, {"tokens": 0.5}, saved_rows(tmp_path, "causal-lm"))
    assert bench.describe({})["tokens"] == [5]
    assert bench.describe({})["cache"] > 0
    (request,) = bench.work.requests
    assert request["input_ids"].shape == (1, 20)
    phases = bench.turn({"passes": 1})["passes"][0][0]
    assert 0 < phases["ttft"] < phases["latency"]
    assert phases["ttft"] + 4 * phases["tpot"] == pytest.approx(phases["latency"], rel=0.5)
    answers = bench.judge({})["answers"]
    assert [len(row) for row in answers["guesses"]] == [5, 5]


def test_counted_work_of_generation_is_that_of_its_forwards(folders: dict[str, Path]) -> None:
    # A prompt of 10 and 3 tokens after it, 2 of them read: forwards of 10, 1 and 1 tokens on growing caches.
    bench = bench_of(folders["generate"], Workload("generate", prompt_tokens=10, new_tokens=3), {"tokens": 1.0})
    prefill = bench_of(folders["generate"], Workload("prefill", prompt_tokens=10, requests=1), {"tokens": 1.0})
    cost = bench.work._cost
    linear = sum(block.attention + block.feed_forward for block in cost.blocks)
    pairs = sum(2 * block.heads * block.head_size for block in cost.blocks)
    (prompt,) = prefill.describe({})["macs"]
    assert bench.describe({})["macs"] == [prompt + 2 * (linear + cost.head) + pairs * (11 + 12)]


def test_train_steps_and_refuses_packed_weights(folders: dict[str, Path]) -> None:
    work = Workload("train", batch_size=2, prompt_tokens=12, requests=1)
    bench = bench_of(folders["classify"], work, {"tokens": 0.5})
    assert bench.turn({"passes": 1})["passes"][0][0]["latency"] > 0
    assert bench.describe({})["macs"][0] > 0
    order = {"source": str(folders["classify"]), "workload": work.to_json(), "device": "cpu", "classes": 2}
    told = obeyed(Workbench().load, {**order, "configuration": {"precision": "int8"}})
    assert told["error"]["status"] == "failed"
    assert "weights that can learn" in told["error"]["reason"]


def test_every_process_draws_the_same_head_and_tokens(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "classification")
    one, other = (bench_of(folder, Workload("classify", batch_size=2, prompt_tokens=9), {}) for _ in range(2))
    assert torch.equal(one.work.requests[0]["input_ids"], other.work.requests[0]["input_ids"])
    heads = [bench.work.subject.model.classifier.weight for bench in (one, other)]
    assert torch.equal(*heads)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError("x"), "out-of-memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out-of-memory",
        ),
        (RuntimeError("shapes differ"), "failed"),
        (KeyError("x"), "failed"),
    ],
)
def test_errors_become_results(error: Exception, status: str) -> None:
    def fail(order: dict[str, Any]) -> dict[str, Any]:
        raise error

    assert obeyed(fail, {})["error"]["status"] == status
