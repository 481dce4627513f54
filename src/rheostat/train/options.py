"""Settings of a run that the Trainer's arguments take over, checked against the device and what is installed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from transformers import TrainingArguments

from rheostat.core.errors import SettingError
from rheostat.core.extras import require
from rheostat.train.settings import FinetuneSettings

__all__ = ["check_device", "check_tracker", "more_arguments", "steps_in"]


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
