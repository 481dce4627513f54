"""The one place where NVIDIA's management library is opened."""

from __future__ import annotations

from typing import Any

from rheostat.core.errors import MeasurementError
from rheostat.core.extras import require

__all__ = ["open_nvml"]


def open_nvml() -> Any:
    """Return the NVML bindings (``pynvml``, of the package nvidia-ml-py), ready to be asked.

    Opening counts: the library stays open until the process ends, so nobody closes it under somebody else's feet.

    Raises:
        RheostatError: If nvidia-ml-py is not installed.
        MeasurementError: If there is no NVIDIA driver.
    """
    bindings = require("pynvml", extra="energy")
    try:
        bindings.nvmlInit()
    except bindings.NVMLError as error:
        raise MeasurementError("NVML needs an NVIDIA driver.", given=error) from error
    return bindings
