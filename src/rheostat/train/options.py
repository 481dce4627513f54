"""Settings of a run that the Trainer's arguments take over, checked against the device and what is installed."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from transformers import TrainingArguments

from rheostat.bundle import MANIFEST, read_manifest
from rheostat.core.errors import SettingError
from rheostat.core.extras import require
from rheostat.core.text import TextData
from rheostat.train.data import HELD_OUT
from rheostat.train.examples import fingerprint
from rheostat.train.settings import FinetuneSettings

__all__ = [
    "bf16_gain",
    "check_device",
    "check_tracker",
    "more_arguments",
    "setting_notes",
    "steps_in",
    "with_precision",
]

_PRODUCT: Final = (128, 384, 1536)
"""Rows, inputs and outputs of the matrix product that is timed."""
_REPEATS: Final = 3
_WORTH_IT: Final = 1.2
"""How many times as fast bf16 has to be: a step has parts that gain nothing by it."""


def with_precision(settings: FinetuneSettings) -> FinetuneSettings:
    """Return settings whose precision is no longer ``auto``, and one that the device can train in.

    Raises:
        SettingError: If it cannot train in the precision that is asked for.

    Example:
        >>> from pathlib import Path
        >>> settings = FinetuneSettings("model", "data.parquet", Path("bundle"), precision="auto")
        >>> with_precision(settings).precision in ("fp32", "bf16")
        True
    """
    if settings.precision != "auto":
        check_device(settings.precision)
        return settings
    if torch.cuda.is_available():
        return replace(settings, precision="bf16" if torch.cuda.is_bf16_supported() else "fp32")
    # Half precision is trained in on a CPU or a CUDA device, see `more_arguments`.
    on_cpu = not torch.backends.mps.is_available()
    return replace(settings, precision="bf16" if on_cpu and bf16_gain() >= _WORTH_IT else "fp32")


def setting_notes(settings: FinetuneSettings, data: TextData) -> list[str]:
    """Return what to say of settings that cost something: slower steps here, or a validation split that was learnt."""
    return [*_precision_notes(settings.precision), *_source_notes(settings, data)]


def _precision_notes(precision: str) -> list[str]:
    if precision != "bf16" or torch.cuda.is_available():
        return []
    gain = bf16_gain()
    if gain >= 1.0:
        return []
    slower = f"bf16 is slower than fp32 on this CPU: a matrix product takes {1 / gain:.2g} times as long."
    return [f"{slower} precision 'auto' would take fp32."]


def _source_notes(settings: FinetuneSettings, data: TextData) -> list[str]:
    source = Path(settings.model)
    if not (source / MANIFEST).is_file() or not any(HELD_OUT in note for note in data.notes):
        return []
    before = read_manifest(source).get("training", {}).get("settings", {})
    if before.get("seed") in (None, settings.seed) or before.get("train_data") == fingerprint(data.split("train")):
        return []
    given = f"{source} was trained with seed {before['seed']}, and seed {settings.seed} holds out other rows"
    return [f"{given}: if both learn from the same texts, it knows most of those that it is judged on."]


def bf16_gain() -> float:
    """Return how many times as fast as in float32 a matrix product is in bf16 on this CPU; the two take turns.

    Seen: 0.02 to 0.1 with AVX2, where bf16 is emulated.
    """
    rows, inputs, outputs = _PRODUCT
    pairs = {}
    for dtype in (torch.float32, torch.bfloat16):
        pairs[dtype] = torch.ones((rows, inputs), dtype=dtype), torch.ones((inputs, outputs), dtype=dtype)
    ratios = []
    for _ in range(_REPEATS + 1):
        taken = {dtype: _seconds(*pair) for dtype, pair in pairs.items()}
        ratios.append(taken[torch.float32] / taken[torch.bfloat16])
    # The first turn makes kernels.
    return median(ratios[1:])


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(left, right)
    return time.perf_counter() - started


def check_device(precision: str) -> None:
    """Refuse a precision that the device cannot train in.

    Raises:
        SettingError: If it cannot.
    """
    gpu = torch.cuda.is_available()
    if precision == "fp16" and not gpu:
        raise SettingError(
            "fp16 is trained in on a CUDA device: gradients are scaled there.",
            given="no CUDA device",
            mend="Use fp32, or bf16 where it is faster.",
        )
    if precision == "bf16" and gpu and not torch.cuda.is_bf16_supported():
        raise SettingError(
            "bf16 needs a CUDA device that computes in it.",
            given=torch.cuda.get_device_name(),
            mend="Use fp16 or fp32.",
        )


def check_tracker(track: str | None) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        RheostatError: If it is not; with the command that installs it.
    """
    if track is not None:
        require(track, extra="track")


def steps_in(settings: FinetuneSettings, rows: int, processes: int) -> int:
    """Return how many optimisation steps the epochs have."""
    batches = -(-rows // settings.batch_size)
    return -(-batches // (processes * settings.accumulate)) * settings.epochs


def more_arguments(settings: FinetuneSettings) -> dict[str, Any]:
    """Return arguments of the Trainer for accumulation, precision, tracking and saving memory."""
    arguments = {
        "gradient_accumulation_steps": settings.accumulate,
        "report_to": settings.track or "none",
        "run_name": settings.out.absolute().name,
        **_recompute(settings.gradient_checkpointing),
    }
    if settings.precision == "fp32":
        return arguments
    return {**arguments, settings.precision: True, "use_cpu": not torch.cuda.is_available()}


def _recompute(wanted: bool) -> dict[str, Any]:
    # Transformers renamed the argument within version 5, and warns of the old name.
    known = {spec.name for spec in fields(TrainingArguments)}
    new, old = "activation_checkpointing", "gradient_checkpointing"
    return {new if new in known else old: True} if wanted else {}
