"""What is run when something is measured, and how: plain settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Final, Literal, get_args

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest
from rheostat.core.text import Split, Task, TextData

__all__ = ["DEFAULTS", "Data", "Method", "Workload", "WorkloadName", "task_of_workload"]

WorkloadName = Literal["classify", "prefill", "generate", "train"]

DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "classify": {"batch_size": 8, "requests": 4},
    "prefill": {"batch_size": 1, "requests": 2},
    "generate": {"batch_size": 1, "requests": 1},
    "train": {"batch_size": 8, "requests": 2},
}
"""What a workload takes where nothing else is asked for."""

MOST_SITTINGS: Final = 10


@dataclass(frozen=True, slots=True)
class Workload:
    """What a model is asked to do, again and again.

    Attributes:
        name: ``classify`` (whole forwards of a classifier), ``prefill`` (a prompt up to the logits of the first token,
            cache kept), ``generate`` (a prompt and new tokens, greedily, a fixed number) or ``train`` (forward,
            backward and one step of AdamW).
        batch_size: Rows of a request; None for the workload's own default.
        requests: Different requests that are run in turn; None for the default.
        prompt_tokens: Tokens of a prompt, and of a text where no data is given.
        new_tokens: Tokens written by ``generate``, and tokens after a prompt that quality is judged on.
        max_length: Tokens of a text at most; None for what the model or bundle reads, at most 512.
        quality_rows: Rows (for language models windows) that quality is judged on; None for all rows, or 32 windows.
        seed: Which rows are chosen, and which random tokens where there is no data.

    Raises:
        SettingError: If the name is unknown or a number is below 1.
    """

    name: WorkloadName
    batch_size: int | None = None
    requests: int | None = None
    prompt_tokens: int = 512
    new_tokens: int = 64
    max_length: int | None = None
    quality_rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in get_args(WorkloadName):
            known = get_args(WorkloadName)
            raise SettingError(
                f"A workload is one of {', '.join(known)}.", given=repr(self.name), mend=suggest(self.name, known)
            )
        _at_least(self, ("batch_size", "requests", "prompt_tokens", "new_tokens", "max_length", "quality_rows"))

    @property
    def rows(self) -> int:
        """Rows of a request."""
        return self.batch_size or DEFAULTS[self.name]["batch_size"]

    @property
    def different(self) -> int:
        """Different requests that are run in turn."""
        return self.requests or DEFAULTS[self.name]["requests"]

    def to_json(self) -> dict[str, Any]:
        """Return what matters for the result, as plain data."""
        content = {**asdict(self), "batch_size": self.rows, "requests": self.different}
        unused = {"classify": ("new_tokens",), "train": ("new_tokens", "quality_rows")}.get(self.name, ())
        return {name: value for name, value in content.items() if name not in unused}


@dataclass(frozen=True, slots=True)
class Data:
    """Texts to measure on.

    Attributes:
        texts: The data.
        split: The split that requests are made of and quality is judged on. Choose nothing on the test split.
    """

    texts: TextData
    split: str = "validation"

    @property
    def rows(self) -> Split:
        """The rows of the split."""
        return self.texts.split(self.split)


@dataclass(frozen=True, slots=True)
class Method:
    """How a workload is measured.

    Attributes:
        rounds: How often the configuration and the plain model take turns; at least 3, and 8 for a verdict.
        sittings: The rounds are spread over so many sittings, each with processes of its own, 1 to 10: two processes
            that do the same, at two times, differ by more than the rounds of one of them.
        most_rounds: Go on beyond ``rounds`` until the ratio is known to 2 % (half the width of its 99 % interval), but
            to so many rounds at most; None stops at ``rounds``. The width decides, not where the ratio lies.
        round_seconds: Least time of a turn; shorter requests are repeated within it.
        iterations: Least number of timed requests in all.
        warmup_requests: Most requests before timing; warm-up ends before where times have settled.
        warmup_seconds: Most seconds of warm-up; three requests are made in any case.
        settled: Coefficient of variation of the last five requests below which times have settled.
        time_limit: Most seconds for one measurement, loading included.
        memory_limit: Most bytes of resident memory of the measured process; None for nine tenths of the machine's.
        threads: Threads of torch; None for its own choice.
        device: Where the model runs.

    Raises:
        SettingError: If a number is out of range.
    """

    rounds: int = 12
    sittings: int = 3
    most_rounds: int | None = None
    round_seconds: float = 0.5
    iterations: int = 10
    warmup_requests: int = 20
    warmup_seconds: float = 10.0
    settled: float = 0.05
    time_limit: float = 900.0
    memory_limit: int | None = None
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        _at_least(self, ("sittings", "iterations", "warmup_requests", "memory_limit", "threads"))
        if self.rounds < 3:
            raise SettingError("Measuring takes at least 3 rounds.", given=self.rounds, mend="Use 12, or more.")
        if not 1 <= self.sittings <= min(self.rounds, MOST_SITTINGS):
            raise SettingError(
                f"There are 1 to {MOST_SITTINGS} sittings, and no more than rounds.",
                given=f"{self.sittings} sittings, {self.rounds} rounds",
            )
        if self.most_rounds is not None and self.most_rounds < self.rounds:
            raise SettingError(
                "most_rounds is no fewer than rounds.",
                given=f"{self.most_rounds} of {self.rounds}",
                mend="Leave it out.",
            )
        for name in ("round_seconds", "warmup_seconds", "settled", "time_limit"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is above 0.", given=getattr(self, name))

    @property
    def rounds_of_sittings(self) -> list[range]:
        """The numbers of each sitting's rounds.

        Example:
            >>> Method(rounds=8, sittings=3).rounds_of_sittings
            [range(0, 3), range(3, 6), range(6, 8)]
        """
        ends = [-(-self.rounds * at // self.sittings) for at in range(self.sittings + 1)]
        return [range(start, end) for start, end in pairwise(ends)]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def task_of_workload(name: WorkloadName) -> Task | None:
    """Return the task a model needs a head for; None where it may be either."""
    return {"classify": "classification", "prefill": "causal-lm", "generate": "causal-lm"}.get(name)  # type: ignore[return-value]


def _at_least(settings: Any, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise SettingError(f"{name} is a whole number from 1.", given=repr(value))
