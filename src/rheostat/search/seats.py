"""Which processes are there: the one that measures now, and the one with the plain model beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rheostat.core.knob import Value
from rheostat.core.workload import Workload
from rheostat.measure.bench.process import WorkError
from rheostat.measure.bench.session import Texts
from rheostat.search.sitting import Reference, Setting, SettingMethod, Sitting
from rheostat.techniques.configuration import neutral_configuration

__all__ = ["Seats"]


class Seats:
    """At most two processes: the latest one, and one with the plain model, which may be the same.

    Args:
        workload: What is run.
        texts: What it reads.
        method: How.
        threads: Threads of the reference; None for torch's own choice.

    Attributes:
        dials: Dials that a model gets when it is loaded, by name.
        reason: Why there is no reference; empty where there is one.
    """

    def __init__(self, workload: Workload, texts: Texts, method: SettingMethod, threads: int | None) -> None:
        self._workload, self._texts, self._method, self._threads = workload, texts, method, threads
        self._now: Sitting | None = None
        self._reference: Reference | None = None
        self.dials: set[str] = set()
        self.reason = ""

    def is_loaded(
        self, knobs: Mapping[str, Value], source: str | None = None, dials: Mapping[str, float] | None = None
    ) -> bool:
        """Whether a process has these knobs, this source and these dials."""
        return self._fitting(knobs, source, dials or {}) is not None

    def sit_down(
        self, source: str, knobs: Mapping[str, Value], dials: Mapping[str, float], blocks: int | None
    ) -> Sitting:
        """Return a process with a model and its knobs set: the latest one if it fits, else a new one.

        Args:
            source: The model or bundle.
            knobs: The knobs.
            dials: Dials that will be turned; of other dials those are there, too, that were asked for before.
            blocks: Blocks of the model; None where they are not known.

        Raises:
            WorkError: If it cannot be loaded.
        """
        fitting = self._fitting(knobs, source, dials)
        if fitting is None or fitting is not self._now:
            self.leave()
            worn = self._worn(knobs, dials, blocks)
            self._now = fitting or self._loaded(source, worn)
        self._now.grant()
        return self._now

    def reference(self, sitting: Sitting, blocks: int | None) -> Reference | None:
        """Return what a process takes turns with; None, and a reason, where it cannot run.

        Args:
            sitting: The process; where its model is plain it is the reference itself.
            blocks: Blocks of the model.
        """
        plain = {**sitting.knobs, **neutral_configuration(sitting.knobs, blocks)}
        is_plain = plain == sitting.knobs
        there = self._reference
        if there is not None and there.sitting.alive and (there.sitting is sitting or not is_plain):
            there.sitting.grant()
            return there
        self._stand_up()
        setting = Setting({}, self._workload.rows, self._threads)
        other: Sitting | None = None
        try:
            other = sitting if is_plain else self._plain(sitting, plain)
            self._reference, self.reason = Reference(other, setting), ""
        except WorkError as failure:
            if other is sitting:
                raise
            if other is not None:
                other.close()
            self.reason = f"{failure.status}: {failure.reason}"
        return self._reference

    def leave(self) -> None:
        """End the latest process, unless it is the reference, too."""
        if self._now is not None and (self._reference is None or self._reference.sitting is not self._now):
            self._now.close()
        self._now = None

    def drop(self) -> None:
        """End the latest process, whatever it is: something went wrong in it."""
        if self._now is not None:
            self._now.close()
        self.leave()

    def close(self) -> None:
        """End both."""
        self._stand_up()
        if self._now is not None:
            self._now.close()
            self._now = None

    def _fitting(self, knobs: Mapping[str, Value], source: str | None, dials: Mapping[str, float]) -> Sitting | None:
        there = [self._now, None if self._reference is None else self._reference.sitting]
        for sitting in there:
            if sitting is None or not sitting.alive or source not in (None, sitting.source):
                continue
            worn = {name: value for name, value in sitting.knobs.items() if name not in self.dials}
            if worn == dict(knobs) and set(dials) <= set(sitting.knobs):
                return sitting
        return None

    def _loaded(self, source: str, knobs: Mapping[str, Any]) -> Sitting:
        sitting = Sitting(source, knobs, self._workload, self._texts, self._method)
        if any(one.get("remembered") is False for one in sitting.loaded["report"]):
            # It has timed libraries, which leaves its traces in memory; the next one finds what is remembered.
            sitting.close()
            sitting = Sitting(source, knobs, self._workload, self._texts, self._method)
        return sitting

    def _plain(self, sitting: Sitting, plain: Mapping[str, Any]) -> Sitting:
        return Sitting(sitting.source, plain, self._workload, self._texts, self._method)

    def _stand_up(self) -> None:
        """End the reference; the latest process stays."""
        if self._reference is not None and self._reference.sitting is not self._now:
            self._reference.sitting.close()
        self._reference = None

    def _worn(
        self, knobs: Mapping[str, Value], dials: Mapping[str, float], blocks: int | None
    ) -> dict[str, Value | float]:
        # Depth is neutral at the number of blocks; where nobody knows it, it is put on at what is asked for.
        return {**knobs, **dials, **neutral_configuration(self.dials | set(dials), blocks)}
