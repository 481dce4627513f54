"""The worker of a search, played by a few lines of Python that need no torch: numbers follow from the setting."""

import json
import os
import sys
import time
from pathlib import Path

TROUBLE = {"crash": 0.13, "kill": 0.14, "sleep": 0.15, "memory": 0.16, "refuse": 0.17}
"""Keep rates at which something goes wrong."""


def load(order):
    if order["configuration"].get("precision") == "int4":
        raise ValueError("no library for int4")
    return {
        "load_time": 0.5,
        "resident_before": 1e6,
        "resident_after": 2e6,
        "peak": 2.5e6,
        "threads": 2,
        "label_names": ["a", "b"],
        "type": "bert",
        "dtype": "float32",
        "techniques": [],
        "weights": 1e6,
        "parameters": 250000,
        "bits": 32.0,
        "report": [],
    }


def prepare(order):
    tokens = order["dials"].get("tokens", 1.0)
    if tokens == TROUBLE["crash"]:
        raise SystemExit(3)
    if tokens == TROUBLE["kill"]:
        os.kill(os.getpid(), 9)
    if tokens == TROUBLE["sleep"]:
        time.sleep(60)
    if tokens == TROUBLE["memory"]:
        raise MemoryError("too many rows")
    if tokens == TROUBLE["refuse"]:
        raise ValueError("not this one")
    settings[order["name"]] = order
    count, batch = order["requests"], order["batch"]
    return {
        "rows": [batch] * count,
        "tokens": [10 * batch] * count,
        "macs": [int(1000 * batch * tokens)] * count,
        "cache": None,
        "times": [seconds(order)] * count,
        "resident": 2e6,
        "peak": 2e6 + 1000 * batch,
        "threads": order["threads"] or 2,
    }


def turn(order):
    setting = settings[order["name"]]
    count = 1 if order["short"] else setting["requests"]
    latency = seconds({**setting, "batch": 1} if order["short"] else setting)
    passes = [[{"latency": latency} for _ in range(count)] for _ in range(order["passes"])]
    return {"passes": passes, "seconds": 0.01, "processor": 0.02, "touched": [1, 10], "faults": 0}


def judge(order):
    labels = json.loads(Path(order["rows"]).read_text(encoding="utf-8"))["labels"]
    # Pruned, it takes the first row for another class.
    wrong = 1 if order["dials"].get("tokens", 1.0) < 1 else 0
    guesses = [[1 - label] if at < wrong else [label] for at, label in enumerate(labels)]
    return {"answers": {"guesses": guesses, "confidences": [0.9] * len(labels), "losses": []}}


def train(order):
    if order["training"].get("recipe") == "sandwich":
        time.sleep(60)
    if order["training"].get("recipe") == "uniform":
        raise MemoryError("no room to learn")
    folder = Path(order["out"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.json").write_text(json.dumps({"training": order["more"], "axes": order["training"]}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification"]}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return {"seconds": 0.1}


def seconds(setting):
    return 0.001 * setting["batch"] * setting["dials"].get("tokens", 1.0) / (setting["threads"] or 2)


settings = {}
if __name__ == "__main__":
    for line in sys.stdin:
        order = json.loads(line)
        try:
            reply = globals()[order["order"]](order)
        except (ValueError, MemoryError) as error:
            status = "out-of-memory" if isinstance(error, MemoryError) else "failed"
            reply = {"error": {"status": status, "reason": str(error)}}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
