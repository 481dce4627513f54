"""The process that a search trains and measures in: one JSON line an order, as `rheostat.measure.bench.worker` does.

Run: python -m rheostat.search.worker. Orders: ``load``, ``prepare``, ``turn``, ``judge``, ``train``.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rheostat.core.text import Split
from rheostat.core.workload import Workload
from rheostat.measure.bench.judging import judge
from rheostat.measure.bench.process import resident_bytes
from rheostat.measure.bench.subject import Subject, load_subject, nominal_bits
from rheostat.measure.bench.worker import obeyed, volunteer
from rheostat.measure.bench.works import Work, make_work
from rheostat.measure.probes.probe import PeakResidentMemory
from rheostat.models.low_precision import weight_bytes

__all__ = ["SettingBench", "main", "train"]

_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Setting:
    """How the subject is turned for some work."""

    dials: dict[str, float]
    threads: int
    work: Work


class SettingBench:
    """One loaded subject, whose dials, batch and threads are turned between measurements."""

    def __init__(self) -> None:
        self._subject: Subject | None = None
        self._workload = Workload("classify")
        self._timed: Split | None = None
        self._threads = torch.get_num_threads()
        self._settings: dict[str, _Setting] = {}

    def load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Load the subject."""
        self._workload = Workload(**order["workload"])
        # A head that was never trained is drawn at random: the same one in every process.
        torch.manual_seed(self._workload.seed)
        self._timed = _split(order.get("timed"))
        before = resident_bytes(os.getpid())
        subject = load_subject(
            order["source"], order["configuration"], self._workload, order.get("classes"), order["device"]
        )
        self._subject = subject
        model: Any = subject.model
        return {
            "load_time": subject.load_time,
            "resident_before": before,
            "resident_after": resident_bytes(os.getpid()),
            "peak": _peak(),
            "threads": self._threads,
            "label_names": subject.label_names,
            "type": model.config.model_type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "techniques": [technique.to_json() for technique in subject.handle.techniques],
            "weights": weight_bytes(model),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "bits": nominal_bits(subject),
            "report": subject.handle.report(),
        }

    def prepare(self, order: dict[str, Any]) -> dict[str, Any]:
        """Turn to a setting under a name: count its work, warm up, and find its peak of memory."""
        workload = replace(self._workload, batch_size=order["batch"], requests=order["requests"])
        # The one before it lets go of its tensors first.
        self._settings.pop(order["name"], None)
        work = make_work(self.subject, workload, self._timed)
        setting = _Setting(order["dials"], order["threads"] or self._threads, work)
        self._settings[order["name"]] = setting
        self._turn_to(setting)
        macs = [work.macs(request) for request in work.requests]
        cache = work.cache(work.requests[0])
        # What earlier settings left to the allocator would count as this one's.
        _tidy()
        resident, reset = resident_bytes(os.getpid()), _reset_peak()
        times = [work.run(request)["latency"] for request in work.requests]
        return {
            "rows": [work.rows(request) for request in work.requests],
            "tokens": [work.tokens(request) for request in work.requests],
            "macs": macs,
            "cache": cache,
            "times": times,
            "resident": resident,
            "peak": _peak() if reset else None,
            "threads": setting.threads,
        }

    def turn(self, order: dict[str, Any]) -> dict[str, Any]:
        """Run the requests of a named setting, or their first row alone, some times, after one untimed row."""
        setting = self._settings[order["name"]]
        self._turn_to(setting)
        work = setting.work
        requests = [_first_row(work)] if order["short"] else work.requests
        touched = _touch(self.subject, work)
        used, faults = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        start = time.perf_counter()
        passes = [[work.run(request) for request in requests] for _ in range(order["passes"])]
        return {
            "passes": passes,
            "seconds": time.perf_counter() - start,
            "processor": time.process_time() - used,
            "touched": touched,
            "faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults,
        }

    def judge(self, order: dict[str, Any]) -> dict[str, Any]:
        """Answer rows at a setting of the dials."""
        self._dial(order["dials"])
        torch.set_num_threads(self._threads)
        workload = replace(self._workload, batch_size=order["batch"], quality_rows=order["count"])
        return {"answers": judge(self.subject, workload, _split(order["rows"]))}

    @property
    def subject(self) -> Subject:
        """The subject that was loaded."""
        if self._subject is None:
            raise RuntimeError("a subject is loaded before it is turned")
        return self._subject

    def _turn_to(self, setting: _Setting) -> None:
        if torch.get_num_threads() != setting.threads:
            torch.set_num_threads(setting.threads)
        self._dial(setting.dials)

    def _dial(self, dials: dict[str, float]) -> None:
        handle = self.subject.handle
        handle.set(**{**handle.neutral(), **dials})


def train(order: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune a model, or go on with it, and write the bundle."""
    from rheostat.search.learning import learn

    start = time.monotonic()
    learn(order)
    return {"seconds": time.monotonic() - start}


def main() -> None:
    """Obey until standard input ends, or the process that gives the orders."""
    # What libraries print must not disturb the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    volunteer()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    bench = SettingBench()
    orders: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "load": bench.load,
        "prepare": bench.prepare,
        "turn": bench.turn,
        "judge": bench.judge,
        "train": train,
    }
    for line in sys.stdin:
        order = json.loads(line)
        replies.write(json.dumps(obeyed(orders[order["order"]], order)) + "\n")
        replies.flush()


def _touch(subject: Subject, work: Work) -> tuple[int, int]:
    """Bring weights and code back into the caches, which another setting had meanwhile; return rows and tokens."""
    row = _first_row(work)
    with torch.inference_mode():
        subject.model(**row)
    subject.wait()
    return 1, int(row["attention_mask"].sum())


def _first_row(work: Work) -> dict[str, Any]:
    return {name: tensor[:1] for name, tensor in work.requests[0].items()}


def _tidy() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    # Only glibc has it.
    if trim is not None:
        trim(0)


def _peak() -> float | None:
    """Return the most resident bytes since the last reset; None where the system keeps no mark."""
    return PeakResidentMemory().read() if sys.platform == "linux" else None


def _reset_peak() -> bool:
    return sys.platform == "linux" and PeakResidentMemory().reset()


def _split(path: str | None) -> Split | None:
    return None if path is None else Split(**json.loads(Path(path).read_text(encoding="utf-8")))


def _end_with(parent: int) -> None:
    """End this process when its parent has: a training that nobody waits for must not disturb the one that goes on."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
