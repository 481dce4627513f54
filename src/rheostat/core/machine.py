"""Facts about the machine that a measurement belongs to: standard library only, no torch import."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["machine_facts", "machine_text"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCH_NUM_THREADS")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def machine_facts() -> dict[str, Any]:
    """Return what a measured speed depends on, ready for JSON.

    Returns:
        ``cpu`` (model name), ``architecture``, ``system``, ``cores`` (usable by this process),
        ``memory_bytes`` (usable; None where unknown), ``python``, ``torch`` and ``transformers`` (versions;
        None where not installed) and ``threads`` (the environment variables that set thread counts, those
        that are set).
    """
    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": _usable_cores(),
        "memory_bytes": _usable_memory(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
        "threads": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
    }


def machine_text(facts: Mapping[str, Any]) -> str:
    """Describe machine facts in a few words.

    Example:
        >>> machine_text({"cpu": "AMD EPYC", "cores": 2, "architecture": "x86_64", "torch": "2.13.0"})
        'AMD EPYC, 2 cores, x86_64, torch 2.13.0'
    """
    cores = facts.get("cores")
    torch_version = facts.get("torch")
    parts = [
        facts.get("device_name"),
        facts.get("cpu"),
        f"{cores} core{'' if cores == 1 else 's'}" if cores else None,
        facts.get("architecture"),
        f"torch {torch_version}" if torch_version else None,
    ]
    return ", ".join(str(part) for part in parts if part) or "an unknown machine"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return _apple_cpu() or platform.processor() or "unknown CPU"


def _apple_cpu() -> str | None:
    if platform.system() != "Darwin":
        return None
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A container may be given half of the machine's time although it sees every core.
    quota = _first_line(_CONTROL_GROUP / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        cores = min(cores, max(1, math.ceil(int(quota[0]) / int(quota[1]))))
    return cores


def _usable_memory() -> int | None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _first_line(_CONTROL_GROUP / "memory.max")
    return min(memory, int(limit)) if limit.isdigit() else memory


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
