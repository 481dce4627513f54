"""How many floating-point operations a second this machine reaches, measured: the yardstick of utilisation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.files import write_atomically
from rheostat.measure.probes.conditions import ConditionsWatch
from rheostat.measure.probes.hardware import machine, matrix_product_rate
from rheostat.models.weights import cache_folder

__all__ = ["SIZES", "Peak", "machine_peak"]

SIZES: Final = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192), "mps": (1024, 2048, 4096)}
"""Rows of the square matrices tried, by device: the best of them counts."""

_REPEATS: Final = 7
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Peak:
    """The best rate of matrix products on a machine.

    Attributes:
        flops: Floating-point operations a second: the best median over the sizes.
        size: Rows of the matrices that reached it.
        dtype: Of the matrices, as torch spells it: ``float32``.
        device: ``cpu``, ``cuda:0`` ...
        threads: Threads of torch on the CPU.
        rates: Median rate by size.
        warning: What may have disturbed it; None where the machine was quiet.
    """

    flops: float
    size: int
    dtype: str
    device: str
    threads: int
    rates: dict[int, float]
    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Peak:
        """Return what `to_json` made data of.

        Raises:
            MeasurementError: If it is not that.
        """
        try:
            values = dict(data)
            if values.pop("version") != _VERSION:
                raise MeasurementError("A peak is of this version.", given=data["version"])
            return cls(**{**values, "rates": {int(size): float(rate) for size, rate in values["rates"].items()}})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MeasurementError("A peak has a rate, a size, a dtype and a device.", given=repr(data)) from error


def machine_peak(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    fresh: bool = False,
    sizes: Sequence[int] | None = None,
    cache_dir: Path | None = None,
) -> Peak:
    """Return this machine's peak, measured at the first call and kept in the user's cache after that.

    One is kept for each processor or GPU, dtype, number of threads and version of torch. A peak that was measured
    while the machine was busy is not kept.

    Args:
        device: Where to multiply.
        dtype: Of the matrices. Low precisions without matrix products of their own are no dtypes here: compare them
            with the peak of the precision they compute in.
        fresh: Measure again, whatever is kept.
        sizes: Rows of the square matrices to try; `SIZES` of the device where None.
        cache_dir: Where peaks are kept; the user's cache where None.

    Raises:
        MeasurementError: If there is no size, one is below 1, or torch has no matrix product of the dtype there.
        RheostatError: If the cache cannot be written.
    """
    where = torch.device(device)
    tried = tuple(SIZES[where.type] if sizes is None else sizes)
    file = cache_folder(cache_dir) / "peaks" / f"{_key(where, dtype, tried)}.json"
    if not fresh and (kept := _kept(file)) is not None:
        return kept
    found = _measure(where, dtype, tried)
    if found.warning is None:
        write_atomically(file, json.dumps(found.to_json(), indent=2) + "\n")
    return found


def _measure(device: torch.device, dtype: torch.dtype, sizes: Sequence[int]) -> Peak:
    if not sizes:
        raise MeasurementError("A peak is looked for at one size at least.", given=0)
    try:
        with ConditionsWatch() as watch:
            rates = {
                size: matrix_product_rate(size, repeats=_REPEATS, device=device, dtype=dtype) * 1e9 for size in sizes
            }
    except (RuntimeError, TypeError) as error:
        if isinstance(error, MeasurementError):
            raise
        raise MeasurementError("A peak needs a matrix product.", given=f"{dtype} on {device}: {error}") from error
    best = max(rates, key=lambda size: rates[size])
    return Peak(
        flops=rates[best],
        size=best,
        dtype=_name(dtype),
        device=str(device),
        threads=torch.get_num_threads(),
        rates=rates,
        warning=watch.conditions.warning,
    )


def _kept(file: Path) -> Peak | None:
    try:
        return Peak.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, MeasurementError):
        # None is kept yet, or what is kept is damaged or of another version: measuring mends both.
        return None


def _key(device: torch.device, dtype: torch.dtype, sizes: Sequence[int]) -> str:
    content = json.dumps([_VERSION, machine(device), str(device), _name(dtype), list(sizes)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
