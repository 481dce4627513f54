"""What is measured: a model under a configuration, loaded in the measured process."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rheostat.bundle import load
from rheostat.bundle.store import MANIFEST
from rheostat.core.text import Task
from rheostat.core.workload import Workload, task_of_workload
from rheostat.measure.probes import synchroniser
from rheostat.models.sources import length_limit, load_model
from rheostat.techniques import Handle
from rheostat.techniques.configuration import configure

__all__ = ["Subject", "load_subject", "nominal_bits"]

_LONGEST = 512
_BITS = {"fp32": 32.0, "bf16": 16.0, "fp16": 16.0, "int8": 8.0, "int8-weight": 8.0, "int4": 4.0}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model wearing the techniques of a configuration, its dials turned.

    Attributes:
        model: In evaluation mode, on its device.
        tokenizer: Its tokenizer.
        handle: What it wears.
        max_length: Tokens of a text at most.
        task: What its head is for.
        label_names: The classes of a bundle; None where they are not known.
        load_time: Seconds from the start of loading to here.
    """

    model: Any
    tokenizer: Any
    handle: Handle
    max_length: int
    task: Task
    label_names: tuple[str, ...] | None
    load_time: float

    def wait(self) -> None:
        """Wait until the device has done its work."""
        wait = synchroniser(self.model.device)
        if wait is not None:
            wait()


def load_subject(
    source: str, configuration: Mapping[str, Any], workload: Workload, classes: int | None, device: str
) -> Subject:
    """Load a model or bundle and put a configuration on; the plain model's weights are freed where they are replaced.

    Args:
        source: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        configuration: Knobs and dials; a bundle's own technique settings hold where it names none.
        workload: What will be run.
        classes: How many classes the data has, for a model that has no classifier yet; None for what it has.
        device: Where to run.
    """
    start = time.perf_counter()
    names: tuple[str, ...] | None = None
    own: dict[str, Any] = {}
    limit: int | None = None
    if (Path(source) / MANIFEST).is_file():
        bundle = load(source, verify=False, device=device)
        bundle.handle.detach()
        own = {name: value for name, value in bundle.handle.technique.to_json().items() if name != "name"}
        model, tokenizer, task = bundle.model, bundle.tokenizer, bundle.task
        names, limit = bundle.label_names, bundle.max_length
    else:
        wanted = task_of_workload(workload.name)
        labels = None if classes is None or wanted != "classification" else [f"class {at}" for at in range(classes)]
        loaded = load_model(source, wanted, label_names=labels)
        model, tokenizer = loaded.model.to(device), loaded.tokenizer  # type: ignore[arg-type]
        task = wanted or ("causal-lm" if hasattr(model, "lm_head") else "classification")
    handle = configure(model, {**own, **configuration}, keep_originals=False)
    _settle(model)
    longest = workload.max_length or limit or min(length_limit(model, tokenizer) or _LONGEST, _LONGEST)
    with torch.inference_mode():
        ready = Subject(model, tokenizer, handle, longest, task, names, 0.0)  # type: ignore[arg-type]
        ready.wait()
    return Subject(model, tokenizer, handle, longest, ready.task, names, time.perf_counter() - start)


def _settle(model: Any) -> None:
    """Let what is resident be the model: all of its weights, and nothing that was needed for loading alone."""
    # Weights are parts of a mapped file, read when they are first used; one that is left holds the whole file.
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.detach().clone()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    # Only glibc has it.
    if trim is not None:
        trim(0)


def nominal_bits(subject: Subject) -> float:
    """Return the bits of a weight by the name of its precision; what stays as it is, embeddings say, is not counted."""
    plain = float(torch.finfo(subject.model.dtype).bits)
    named = [_BITS[technique.precision] for technique in subject.handle.techniques if hasattr(technique, "precision")]
    return min([plain, *named])
