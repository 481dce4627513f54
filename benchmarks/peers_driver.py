"""The peer's side of `benchmarks.peers`: Microsoft Olive and ONNX Runtime, run by the Python they are installed in.

Run: PEER_PYTHON benchmarks/peers_driver.py search FOLDER SECONDS THREADS, or serve FOLDER. Neither is called by hand.

``search`` writes two workflows for ``olive run``: the first converts and fuses the model, the second looks for the
lowest latency at the asked accuracy, both within so many seconds; what was returned goes to ``found.json``. (In one
workflow, Olive 0.13.0 fails in every trial that shares a pass with an earlier one: "FootprintNode" object has no
field "model_config".) ``serve`` loads that with ONNX Runtime alone and obeys orders on
standard input, one JSON line each: ``load``, ``run``, ``judge``.

This file imports nothing of rheostat. Olive is used through its command and its documented workflow file; the data
reach it through the registry that it has for users' scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

METRICS = ("latency-p50", "accuracy-accuracy_score")


def conversion(folder: Path) -> dict[str, Any]:
    """Return the first workflow: the model as a fused ONNX graph."""
    task = json.loads((folder / "task.json").read_text())
    fused = {"model_type": "bert", "num_heads": task["heads"], "hidden_size": task["width"], "float16": False}
    return {
        "input_model": {
            "type": "HfModel",
            "model_path": task["model"],
            "task": "text-classification",
            # The attention that ONNX Runtime's fusions know.
            "load_kwargs": {"attn_implementation": "eager"},
        },
        "passes": {
            "conversion": [{"type": "OnnxConversion", "target_opset": 17, "use_dynamo_exporter": False}],
            "fusion": [{"type": "OrtTransformersOptimization", **fused}],
            # With the mask's infinities static quantization finds no scale.
            "mask": [{"type": "GraphSurgeries", "surgeries": [{"surgeon": "ReplaceAttentionMaskValue"}]}],
        },
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "converted"),
    }


def workflow(folder: Path, seconds: int, threads: int) -> dict[str, Any]:
    """Return the second: Olive's own passes for CPU, all of their settings that it searches, and the goal."""
    task = json.loads((folder / "task.json").read_text())
    settings = {"onnx": {"session_options": {"intra_op_num_threads": threads, "inter_op_num_threads": 1}}}
    goal = {"type": "max-degradation", "value": task["drop"]}
    accuracy = {
        "name": "accuracy_score",
        "priority": 2,
        "higher_is_better": True,
        "metric_config": {"task": "multiclass", "num_classes": task["classes"]},
        "goal": goal,
    }
    latency = {"name": "p50", "priority": 1, "metric_config": {"warmup_num": 5, "repeat_test_num": 20}}
    metrics = [("latency", "timed", latency), ("accuracy", "validation", accuracy)]
    return {
        "input_model": json.loads((folder / "converted" / "model_config.json").read_text()),
        "data_configs": [_data(folder, name) for name in ("validation", "calibration", "timed")],
        "evaluators": {
            "goal": {
                "metrics": [
                    {
                        "name": name,
                        "type": name,
                        "data_config": rows,
                        "sub_types": [kind],
                        "user_config": {"inference_settings": settings},
                    }
                    for name, rows, kind in metrics
                ]
            }
        },
        "passes": _passes(threads),
        "search_strategy": {
            "execution_order": "joint",
            # Its TPE takes the first pass of a group whatever it chose, and then finds the settings of another.
            "sampler": "random",
            "sampler_config": {"seed": 0, "max_samples": task["trials"]},
            "max_time": seconds,
        },
        "evaluator": "goal",
        "evaluate_input_model": True,
        "cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "output"),
        "log_severity_level": 1,
    }


def _passes(threads: int) -> dict[str, Any]:
    session = {"intra_thread_num_list": threads, "inter_thread_num_list": 1, "opt_level_list": 99}
    return {
        "quantization": [
            {"type": "OnnxPeepholeOptimizer"},  # stays at fp32
            # Without its own preparation most static trials fail.
            {"type": "OnnxDynamicQuantization", "quant_preprocess": True},
            {"type": "OnnxStaticQuantization", "quant_preprocess": True, "data_config": "calibration"},
            {"type": "OnnxBlockWiseRtnQuantization"},
        ],
        "session": [{"type": "OrtSessionParamsTuning", "data_config": "timed", **session}],
    }


def _data(folder: Path, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "DataContainer",
        "user_script": str(Path(__file__).resolve()),
        "load_dataset_config": {"type": "rows_of_peers", "params": {"file": str(folder / f"{name}.json")}},
        "post_process_data_config": {"type": "text_classification_post_process"},
        "dataloader_config": {"type": "no_auto_batch_dataloader"},
    }


def search(folder: Path, seconds: int, threads: int) -> None:
    """Let Olive search, and write what it returned."""
    start = time.monotonic()
    codes = [_olive(folder, "conversion", conversion(folder), threads)]
    converted = time.monotonic() - start
    if codes == [0] and (folder / "converted" / "model_config.json").is_file():
        left = max(1, int(seconds - converted))
        codes.append(_olive(folder, "search", workflow(folder, left, threads), threads))
    found = {"returncodes": codes, "seconds": time.monotonic() - start, "conversion_seconds": converted}
    (folder / "found.json").write_text(json.dumps({**found, **_outcome(folder)}, indent=2))


def _olive(folder: Path, name: str, config: dict[str, Any], threads: int) -> int:
    file = folder / f"{name}-workflow.json"
    file.write_text(json.dumps(config, indent=2))
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**plain, "OLIVE_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "olive", "run", "--config", str(file), "--disable_telemetry"]
    with (folder / f"{name}.log").open("w") as log:
        ran = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    return ran.returncode


def _outcome(folder: Path) -> dict[str, Any]:
    """Read what Olive left: its models with its own numbers for each, and the one that it returns."""
    footprint, model = folder / "output" / "footprint.json", folder / "output" / "model_config.json"
    nodes = json.loads(footprint.read_text()) if footprint.is_file() else {}
    nodes = nodes.get("nodes", nodes)
    return {
        "versions": _versions(),
        "trials": [_trial(nodes, node) for node in nodes.values() if node.get("metrics") and node["parent_model_id"]],
        "input": next((_values(node) for node in nodes.values() if not node["parent_model_id"]), None),
        "returned": json.loads(model.read_text()) if model.is_file() else None,
    }


def _trial(nodes: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    made: list[str] = []
    at = node
    while at and at["parent_model_id"]:
        made.insert(0, at["from_pass"])
        at = nodes.get(at["parent_model_id"])
    return {
        "passes": made,
        **_values(node),
        "meets_goals": node["metrics"].get("if_goals_met"),
        "front": bool(node.get("is_pareto_frontier")),
    }


def _values(node: dict[str, Any]) -> dict[str, Any]:
    values = (node.get("metrics") or {}).get("value") or {}
    return {name: values[name]["value"] for name in METRICS if name in values}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("olive-ai", "onnxruntime", "onnx", "torch", "transformers")}


def obey(kind: type[Any]) -> None:
    """Obey orders from standard input until it ends: load a ``kind``, run it on rows, judge rows."""
    server: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["order"] == "load":
                server = kind(order)
                reply: dict[str, Any] = {}
            else:
                reply = getattr(server, order["order"])(order["name"])
        except Exception as error:  # noqa: BLE001 - whoever gave the order is told
            reply = {"error": {"status": "failed", "reason": f"{type(error).__name__}: {error}"}}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


class Server:
    """What Olive returned, in ONNX Runtime."""

    def __init__(self, order: dict[str, Any]) -> None:
        import onnxruntime

        config = order["returned"]["config"]
        settings = config.get("inference_settings") or {}
        options = onnxruntime.SessionOptions()
        for name, value in {
            **(settings.get("session_options") or {}),
            "intra_op_num_threads": order["threads"],
        }.items():
            _set(options, name, value)
        path = Path(config["model_path"])
        file = path / (config.get("onnx_file_name") or "model.onnx") if path.is_dir() else path
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in self._session.get_inputs()]
        self._batches = {name: list(batches(Path(path))) for name, path in order["rows"].items()}

    def run(self, name: str) -> dict[str, Any]:
        """Return the seconds of each batch."""
        return {"seconds": [self._timed(batch)[0] for batch, _ in self._batches[name]]}

    def judge(self, name: str) -> dict[str, Any]:
        """Return the class found for each row."""
        return {"classes": [int(at) for batch, _ in self._batches[name] for at in self._timed(batch)[1].argmax(-1)]}

    def _timed(self, batch: dict[str, Any]) -> tuple[float, Any]:
        start = time.perf_counter()
        (logits, *_) = self._session.run(None, {name: batch[name] for name in self.names})
        return time.perf_counter() - start, logits


def _set(options: Any, name: str, value: Any) -> None:
    import onnxruntime

    if name == "extra_session_config":
        for key, entry in (value or {}).items():
            options.add_session_config_entry(key, str(entry))
    elif name == "execution_mode" and value is not None:
        options.execution_mode = onnxruntime.ExecutionMode.__members__.get(str(value), onnxruntime.ExecutionMode(value))
    elif name == "graph_optimization_level" and value is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(value)
    elif value is not None:
        setattr(options, name, value)


def batches(file: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield the batches of a file of token ids, each padded to its longest row, with its labels."""
    import numpy

    data = json.loads(file.read_text())
    for start in range(0, len(data["rows"]), data["batch"]):
        rows = data["rows"][start : start + data["batch"]]
        batch = {name: numpy.zeros((len(rows), max(map(len, rows))), dtype=numpy.int64) for name in data["inputs"]}
        batch["input_ids"] += data["pad"]
        for at, row in enumerate(rows):
            batch["input_ids"][at, : len(row)] = row
            batch["attention_mask"][at, : len(row)] = 1
        yield batch, numpy.array(data["labels"][start : start + data["batch"]])


def _register() -> None:
    """Tell Olive, which imports this file as a user's script, how the rows are read."""
    import torch
    from olive.data.registry import Registry

    @Registry.register_dataset("rows_of_peers")
    def _rows(file: str, **_: Any) -> Any:
        return [
            ({name: torch.from_numpy(ids) for name, ids in batch.items()}, torch.from_numpy(labels))
            for batch, labels in batches(Path(file))
        ]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        obey(Server)
    else:
        search(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
elif "olive" in sys.modules:
    _register()
