"""Running models on workloads: quality, time, memory, energy. ``rheostat.measure(model, workload)`` measures one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rheostat.core.measurement import Measurement
    from rheostat.core.workload import Data, Method, Workload


class _Callable(ModuleType):
    """The layer's name is also the call that people know it by (docs/decisions/0006-measure.md)."""

    def __call__(
        self,
        model: str | Path,
        workload: Workload | str,
        configuration: Mapping[str, Any] | None = None,
        *,
        data: Data | None = None,
        method: Method | None = None,
    ) -> Measurement:
        """Measure one configuration of a model; see `rheostat.measure.bench.bench.measure`."""
        from rheostat.measure.bench.bench import measure

        return measure(model, workload, configuration, data=data, method=method)


sys.modules[__name__].__class__ = _Callable
