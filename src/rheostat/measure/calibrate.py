"""Calibration: what each setting of a bundle's dials costs and gains on this machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rheostat.core.errors import BundleError, RheostatError, SettingError
from rheostat.core.files import sha256_of, write_atomically
from rheostat.core.profile import Point, Profile
from rheostat.core.text import Split, TextData
from rheostat.measure.baselines import baselines
from rheostat.measure.encoding import device_of
from rheostat.measure.probes import machine, synchroniser
from rheostat.measure.timing import PairedTiming, paired
from rheostat.measure.workload import Classification, Prompts, Workload, sample
from rheostat.models.families import locate
from rheostat.techniques import Words

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["GRID", "PARTIAL", "CalibrationSettings", "Progress", "calibrate"]

GRID: Final = (1.0, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
"""Keep rates that are measured unless others are asked for: the lowest reaches the floor in every block."""

PARTIAL: Final = "profile.partial.json"
_PROFILE: Final = "profile.json"
_LONGEST_PROMPT: Final = 512
_GRIDS: Final = ("grid", "depths", "cascades", "words")
"""What decides which settings are measured, and not how."""


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How a bundle is calibrated.

    Attributes:
        grid: Settings of the dial ``tokens``, each in (0, 1]; neutral is measured first, whether named or
            not.
        depths: Settings of the dial ``depth``, each below the number of blocks: the grid is measured at each of them,
            too, and the profile holds both dials. Empty for the token dial alone.
        cascades: Settings of the dial ``cascade``, each in (0, 1]: the grid below neutral is measured at each of them,
            too, at every depth. For classifiers; empty for none.
        words: Setting of the dial ``words``, in [0, 4]: but for the plain model everything is measured at it. For
            classifiers whose bundle has the dial.
        pairs: Alternating pairs of runs for each setting, at least 1; from 9 on the interval leaves outliers
            out.
        batch_size: Rows of a batch, at least 1.
        split: The split that texts are taken from. Choose nothing on the test split.
        timing_texts: Texts that are timed, at least 1.
        quality_texts: Texts (windows, for a language model) that quality is judged on; None for all (64
            windows).
        prompt_tokens: Tokens of a language model's prompt; None for what it can read, at most 512.
        continuation_tokens: Tokens after the prompt that its quality is judged on, at least 1.
        seed: Which texts are chosen.
    """

    grid: tuple[float, ...] = GRID
    depths: tuple[int, ...] = ()
    cascades: tuple[float, ...] = ()
    words: float = 0.0
    pairs: int = 9
    batch_size: int = 8
    split: str = "validation"
    timing_texts: int = 16
    quality_texts: int | None = None
    prompt_tokens: int | None = None
    continuation_tokens: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        strange = [rate for rate in self.grid if not 0.0 < rate <= 1.0]
        if strange:
            raise SettingError(
                "The grid holds keep rates in (0, 1].", given=strange, mend="For instance (1.0, 0.8, 0.5)."
            )
        if any(isinstance(depth, bool) or not isinstance(depth, int) or depth < 1 for depth in self.depths):
            raise SettingError("The depths are whole numbers from 1.", given=list(self.depths))
        strange = [value for value in self.cascades if not 0.0 < value <= 1.0]
        if strange:
            raise SettingError("The cascades to measure are probabilities in (0, 1].", given=strange)
        for dial in Words.dials:
            dial.check(self.words)
        counts = (
            "pairs",
            "batch_size",
            "timing_texts",
            "quality_texts",
            "prompt_tokens",
            "continuation_tokens",
        )
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name} is at least 1.", given=value)

    @property
    def rates(self) -> tuple[float, ...]:
        """The grid from neutral downwards, each rate once."""
        return tuple(sorted({1.0, *self.grid}, reverse=True))

    def settings(self, blocks: int) -> tuple[dict[str, float], ...]:
        """Return every setting of the dials, the neutral one first.

        Raises:
            SettingError: If a depth is not below the number of blocks.
        """
        if self.depths and max(self.depths) >= blocks:
            raise SettingError(
                f"The depths to measure are below the model's {blocks} blocks.",
                given=list(self.depths),
                mend="All blocks are measured in any case.",
            )
        deepest_first: Sequence[dict[str, float]] = [{}]
        if self.depths:
            deepest_first = [{"depth": float(depth)} for depth in sorted({blocks, *self.depths}, reverse=True)]
        once = {"cascade": 0.0} if self.cascades else {}
        found = [{"tokens": rate, **depth, **once} for depth in deepest_first for rate in self.rates]
        # Where nothing is dropped, nothing is read again.
        cut = [rate for rate in self.rates if rate < 1.0]
        for cascade in sorted(set(self.cascades)):
            found += [{"tokens": rate, **depth, "cascade": cascade} for depth in deepest_first for rate in cut]
        if self.words:
            found = [{**found[0], "words": 0.0}, *({**one, "words": self.words} for one in found)]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a calibration is.

    Attributes:
        done: Settings measured.
        total: Settings in all.
        point: The latest measurement; None before the first.
        seconds_left: Estimate from the settings measured so far; None before the first.
    """

    done: int
    total: int
    point: Point | None
    seconds_left: float | None


def calibrate(
    bundle: Bundle,
    data: TextData,
    settings: CalibrationSettings | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
    resume: bool = True,
) -> Profile:
    """Measure speed, counted work and quality at every setting of the grid, and write the bundle's profile.

    Every setting is timed in turn with the neutral model on the same batches, the order swapped from pair to
    pair. After each setting ``profile.partial.json`` is written, from which an interrupted calibration goes
    on; at the end ``profile.json`` replaces it.

    Args:
        bundle: What to measure; its dials are as before afterwards.
        data: Texts of the bundle's task; their labels are in the order of the bundle's.
        settings: How to measure.
        progress: Called before the first and after every setting.
        resume: Whether to go on from an interrupted calibration with the same settings, data and machine.

    Returns:
        The profile, which is also in the bundle's folder.

    Raises:
        SettingError: If the data is for another task, names other classes, or lacks the split.
        DataError: If its texts are too short for the prompts asked for.
    """
    chosen = settings or CalibrationSettings()
    _check_fit(bundle, data)
    _check_dials(bundle, chosen)
    rows = sample(data.split(chosen.split), None if data.task == "causal-lm" else chosen.quality_texts, chosen.seed)
    bundle.model.train(False)
    facts = machine(device_of(bundle.model))
    wanted = chosen.settings(len(locate(bundle.model).blocks))
    journal = _Journal(Path(bundle.folder), _fingerprint(bundle, chosen, rows, facts))
    found = journal.read() if resume else []
    workload = _workload(bundle, rows, chosen)
    _measure(workload, (wanted, chosen.pairs), found, journal, progress or (lambda _: None))
    profile = Profile(
        device=facts,
        model=_describe_model(bundle),
        data={**_describe_data(chosen, rows), **workload.describe()},
        points=tuple(next(point for point in found if point.settings == settings) for settings in wanted),
        baselines=_baselines(data, chosen.split, rows),
        neutral=wanted[0],
    )
    journal.finish(profile)
    return profile


def _measure(
    workload: Workload,
    wanted: tuple[Sequence[dict[str, float]], int],
    found: list[Point],
    journal: _Journal,
    progress: Callable[[Progress], None],
) -> None:
    """Add the points that are missing; ``wanted`` is the settings and the pairs for each."""
    settings, pairs = wanted
    missing = [one for one in settings if not any(point.settings == one for point in found)]
    total, start = len(settings), time.monotonic()
    progress(Progress(total - len(missing), total, None, None))
    for done, one in enumerate(missing, start=1):
        found.append(_point(workload, one, pairs))
        journal.write(found)
        left = (time.monotonic() - start) / done * (len(missing) - done)
        progress(Progress(total - len(missing) + done, total, found[-1], left))


def _point(workload: Workload, settings: dict[str, float], pairs: int) -> Point:
    handle = workload.bundle.handle
    neutral = handle.neutral()
    asked = {**neutral, **settings}
    wait = synchroniser(device_of(workload.bundle.model))
    timing = paired(lambda: workload.run(neutral), lambda: workload.run(asked), pairs, synchronise=wait)
    quality = workload.quality(asked)
    speedup, low, high = _speedup(timing, plain=asked == neutral)
    ratio = workload.macs_ratio(asked)
    return Point(settings, speedup, low, high, timing.seconds, ratio, quality.values, quality.intervals)


def _speedup(timing: PairedTiming, *, plain: bool) -> tuple[float, float, float]:
    """Return the speed-up and its interval; neutral's is 1 by definition, its interval shows the noise."""
    low, high = timing.speedup_interval
    return (1.0, min(low, 1.0), max(high, 1.0)) if plain else (timing.speedup, low, high)


def _workload(bundle: Bundle, rows: Split, settings: CalibrationSettings) -> Workload:
    if bundle.task == "classification":
        return Classification(
            bundle, rows, timed=settings.timing_texts, batch_size=settings.batch_size, seed=settings.seed
        )
    readable = min(bundle.max_length - settings.continuation_tokens, _LONGEST_PROMPT)
    prompt = settings.prompt_tokens or readable
    judged = max(settings.quality_texts or 64, settings.timing_texts)
    return Prompts(
        bundle,
        rows,
        lengths=(prompt, settings.continuation_tokens),
        count=(judged, settings.timing_texts),
        batch_size=settings.batch_size,
    )


def _check_fit(bundle: Bundle, data: TextData) -> None:
    if data.task != bundle.task:
        raise SettingError(f"The data is for the bundle's task, {bundle.task}.", given=data.task)
    theirs, ours = data.label_names, bundle.label_names
    if data.task == "classification" and ours is not None and tuple(theirs or ()) != tuple(ours):
        raise SettingError(
            f"The data has the bundle's classes, in the bundle's order: {', '.join(ours)}.",
            given=", ".join(theirs or ()),
            mend="Use data with the labels that the bundle was trained on.",
        )


def _check_dials(bundle: Bundle, settings: CalibrationSettings) -> None:
    if settings.cascades and "cascade" not in bundle.handle.neutral():
        raise SettingError(
            "Cascades are measured where the bundle has the dial: a classifier's, without a configuration of its own.",
            given=f"{list(settings.cascades)} for {bundle.handle!r}",
            mend="Leave the cascades out.",
        )
    if settings.words and "words" not in bundle.handle.neutral():
        raise SettingError(
            "Words are measured where the bundle has the dial: a classifier's that was trained with a table of them.",
            given=f"{settings.words:g} for {bundle.handle!r}",
            mend="Leave words out, or fine-tune again.",
        )


def _baselines(data: TextData, split: str, rows: Split) -> dict[str, dict[str, float]]:
    """Return the baselines on the very rows that the bundle is judged on, where they can be had."""
    if data.task != "classification" or "train" not in data.splits or split == "train":
        return {}
    try:
        return baselines(TextData({"train": data.split("train"), split: rows}, data.task, data.label_names), on=split)
    except RheostatError:
        # Without scikit-learn, say: a calibration of minutes is not thrown away for that.
        return {}


def _describe_model(bundle: Bundle) -> dict[str, Any]:
    config: Any = bundle.model.config
    return {
        "type": config.model_type,
        "parameters": sum(parameter.numel() for parameter in bundle.model.parameters()),
        "blocks": config.num_hidden_layers,
        "dtype": str(next(bundle.model.parameters()).dtype).removeprefix("torch."),
        "task": bundle.task,
        "max_length": bundle.max_length,
        "technique": bundle.handle.technique.to_json(),
    }


def _describe_data(settings: CalibrationSettings, rows: Split) -> dict[str, Any]:
    return {
        "split": settings.split,
        "sha256": _digest_of(rows),
        "pairs": settings.pairs,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
    }


def _digest_of(rows: Split) -> str:
    return hashlib.sha256(json.dumps([rows.texts, rows.pairs, rows.labels]).encode()).hexdigest()


def _fingerprint(
    bundle: Bundle, settings: CalibrationSettings, rows: Split, facts: Mapping[str, Any]
) -> dict[str, Any]:
    manifest = Path(bundle.folder) / "bundle.json"
    # Another grid may go on from the points of this one; everything else must be the same.
    how = {name: value for name, value in asdict(settings).items() if name not in _GRIDS}
    return {
        "settings": how,
        "rows": _digest_of(rows),
        "machine": dict(facts),
        "model": _describe_model(bundle),
        "bundle": sha256_of(manifest) if manifest.is_file() else None,
    }


class _Journal:
    """The points measured so far, on disk."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, Any]) -> None:
        self._folder, self._fingerprint = folder, json.loads(json.dumps(fingerprint))

    def read(self) -> list[Point]:
        """Return the points of an interrupted calibration like this one."""
        try:
            found = json.loads((self._folder / PARTIAL).read_bytes())
            points = [Point.from_json(point) for point in found["points"]]
        except (OSError, ValueError, KeyError, TypeError, BundleError):
            return []
        return points if found.get("fingerprint") == self._fingerprint else []

    def write(self, points: Sequence[Point]) -> None:
        content = {"fingerprint": self._fingerprint, "points": [point.to_json() for point in points]}
        write_atomically(self._folder / PARTIAL, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def finish(self, profile: Profile) -> None:
        """Write the profile, and only then forget the way there."""
        write_atomically(self._folder / _PROFILE, profile.to_text())
        (self._folder / PARTIAL).unlink(missing_ok=True)
