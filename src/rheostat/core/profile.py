"""A bundle's profile on one machine: dial settings, their measured speed-up, and their quality."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rheostat.core.errors import BundleError, SettingError
from rheostat.core.machine import machine_text

__all__ = ["Point", "Profile", "isotonic", "machine_difference", "same_machine"]

_VERSION: Final = 1
_NEUTRAL: Final = {"tokens": 1.0}
_CONTINUOUS: Final = "tokens"
_POSITIVE: Final = ("speedup", "speedup_low", "speedup_high", "seconds", "macs_ratio")
_TABLES: Final = ("quality", "quality_interval")
# What a speed depends on; memory, Python and Transformers versions hardly move it.
_SPEED_FACTS: Final = (
    "device",
    "device_name",
    "cpu",
    "architecture",
    "cores",
    "torch_threads",
    "threads",
    "torch",
)
_MEND: Final = "Calibrate the bundle again to write a fresh profile."


@dataclass(frozen=True, slots=True)
class Point:
    """One measured dial setting.

    Attributes:
        settings: Dial name to value, for instance ``{"tokens": 0.5}``.
        speedup: Median of plain seconds / seconds over pairs run side by side; 1 is the plain model.
        speedup_low: Lower end of its 95 % interval.
        speedup_high: Upper end of its 95 % interval.
        seconds: Median wall-clock seconds of the work that was timed.
        macs_ratio: Counted multiply-accumulates of the plain model / those of this setting.
        quality: Metric name to value, for instance ``{"accuracy": 0.96}``.
        quality_interval: Metric name to its 95 % interval, where there is one.
    """

    settings: Mapping[str, float]
    speedup: float
    speedup_low: float
    speedup_high: float
    seconds: float
    macs_ratio: float
    quality: Mapping[str, float] = field(default_factory=dict)
    quality_interval: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def tokens(self) -> float:
        """The keep rate of this point, in (0, 1]; 1.0 where the token dial is not set."""
        return self.settings.get("tokens", 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the point as plain data, its dials beside its measurements; see `from_json`."""
        numbers = {name: getattr(self, name) for name in _POSITIVE}
        intervals = {name: list(ends) for name, ends in self.quality_interval.items()}
        return {**self.settings, **numbers, "quality": dict(self.quality), "quality_interval": intervals}

    @classmethod
    def from_json(cls, data: object) -> Point:
        """Read a point back; every key that is no measurement is a dial.

        Raises:
            BundleError: If a number is missing, not finite, or not positive where it must be.
        """
        table = _table(data, "A point of a profile")
        settings = {name: _number(table, name) for name in table if name not in (*_POSITIVE, *_TABLES)}
        if not settings:
            raise BundleError("A point of a profile names at least one dial.", given=sorted(table), mend=_MEND)
        quality = _table(table.get("quality", {}), "The quality of a point")
        intervals = _table(table.get("quality_interval", {}), "The quality intervals of a point")
        return cls(
            settings,
            speedup=_positive(table, "speedup"),
            speedup_low=_positive(table, "speedup_low"),
            speedup_high=_positive(table, "speedup_high"),
            seconds=_positive(table, "seconds"),
            macs_ratio=_positive(table, "macs_ratio"),
            quality={name: _number(quality, name) for name in quality},
            quality_interval={name: _interval(ends, name) for name, ends in intervals.items()},
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """Dial settings, measured speed-up and quality of one bundle on one machine.

    Attributes:
        device: Facts of the machine, as `rheostat.core.machine.machine_facts` gives them.
        model: What was measured: model type, size, where it came from.
        data: The data that quality and speed were measured on.
        points: The measured settings, the neutral one among them.
        baselines: What simple models reach on the same data, for instance ``{"majority": {"accuracy":
            0.5}}``.
        neutral: The setting that is the plain model; its speed-up is 1 by definition.
    """

    device: Mapping[str, Any]
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    points: tuple[Point, ...]
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    neutral: Mapping[str, float] = field(default_factory=lambda: dict(_NEUTRAL))

    def __post_init__(self) -> None:
        if any(set(point.settings) != set(self.neutral) for point in self.points):
            found = sorted({name for point in self.points for name in point.settings})
            raise BundleError(f"Every point of a profile sets {sorted(self.neutral)}.", given=found, mend=_MEND)
        if not any(self._distance(point) == 0.0 for point in self.points):
            given = [dict(point.settings) for point in self.points]
            raise BundleError(f"A profile has the neutral point {dict(self.neutral)}.", given=given, mend=_MEND)

    @property
    def range(self) -> tuple[float, float]:
        """The reachable speeds ``(1.0, highest)``, as multiples of the plain model's speed."""
        return 1.0, max(line[-1].speed for line in self._lines())

    def settings_for(self, speed: float) -> dict[str, float]:
        """Return the dial settings that reach a speed on the machine of this profile, at the best quality.

        Points that differ in ``tokens`` alone are a line. On each line the measured speed-ups are made monotone over
        the dial (isotonic regression, equal weights, at least 1), and what lies between two points is interpolated
        linearly, quality too. Of the lines that reach the speed, the one with the best quality there is taken; where
        several settings are equally fast or equally good, the one nearest to the plain model is chosen; where no line
        reaches it, though faster ones are there, the slowest of these.

        Args:
            speed: The wanted speed as a multiple of the plain model's, within `range`.

        Returns:
            Dial name to value; exactly the neutral setting at speed 1.

        Raises:
            SettingError: If the speed is out of range.

        Example:
            >>> profile.settings_for(2.0)  # doctest: +SKIP
            {'tokens': 0.71, 'depth': 6.0}
        """
        number = not isinstance(speed, bool) and isinstance(speed, int | float)
        if number and speed == 1.0:
            return dict(self.neutral)
        if not number or not 1.0 <= speed <= self.range[1]:
            raise self._out_of_range(speed)
        lines = self._lines()
        found = [line.at(speed) for line in lines if line[0].speed <= speed <= line[-1].speed]
        if not found:
            return dict(min((line[0] for line in lines if line[0].speed > speed), key=lambda knot: knot.speed).settings)
        # Of equals max takes the first, and lines come from the plain model outwards.
        return dict(max(found, key=lambda knot: knot.quality).settings)

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain data, ready for ``profile.json``."""
        return {
            "version": _VERSION,
            "device": dict(self.device),
            "model": dict(self.model),
            "data": dict(self.data),
            "neutral": dict(self.neutral),
            "points": [point.to_json() for point in self.points],
            "baselines": {name: dict(metrics) for name, metrics in self.baselines.items()},
        }

    def to_text(self) -> str:
        """Return the profile as the text of ``profile.json``."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, data: object) -> Profile:
        """Read a profile back.

        Args:
            data: Plain data as `to_json` returns it, or its JSON text.

        Raises:
            BundleError: If it is no JSON, of another version, or lacks something.
        """
        table = _table(_parsed(data) if isinstance(data, str | bytes) else data, "A profile")
        if table.get("version") != _VERSION:
            raise BundleError(f"A profile has version {_VERSION}.", given=table.get("version"), mend=_MEND)
        points = table.get("points")
        if not isinstance(points, list):
            raise BundleError("A profile has a list of points.", given=type(points).__name__, mend=_MEND)
        baselines = _table(table.get("baselines", {}), "The baselines of a profile")
        neutral = _table(table.get("neutral", _NEUTRAL), "The neutral setting of a profile")
        return cls(
            device=_table(table.get("device", {}), "The device of a profile"),
            model=_table(table.get("model", {}), "The model of a profile"),
            data=_table(table.get("data", {}), "The data of a profile"),
            points=tuple(Point.from_json(point) for point in points),
            baselines={name: _metrics(metrics, name) for name, metrics in baselines.items()},
            neutral={name: _number(neutral, name) for name in neutral},
        )

    def _distance(self, point: Point) -> float:
        """Return how far a point is from neutral: the sum over dials, in units of the widest move."""
        total = 0.0
        for name, neutral in self.neutral.items():
            span = max(abs(other.settings[name] - neutral) for other in self.points)
            total += abs(point.settings[name] - neutral) / span if span else 0.0
        return total

    def _place(self, point: Point) -> tuple[float, list[float]]:
        """Return what orders the points; values that differ by a rounding alone can be equally far from neutral."""
        return self._distance(point), [-value for _, value in sorted(point.settings.items())]

    def _lines(self) -> list[_Line]:
        """The lines, the plain model's first, then by their distance from it; each from its slowest point on."""
        lines: dict[tuple[tuple[str, float], ...], list[Point]] = {}
        for point in sorted(self.points, key=self._place):
            others = tuple(sorted((name, value) for name, value in point.settings.items() if name != _CONTINUOUS))
            lines.setdefault(others, []).append(point)
        return [self._line(points) for points in lines.values()]

    def _line(self, points: list[Point]) -> _Line:
        plain = self._distance(points[0]) == 0.0
        path = points[1:] if plain else points
        # Clipping an isotonic fit gives the best fit that is also bounded: neutral stays at exactly 1.
        speeds = [max(1.0, value) for value in isotonic([point.speedup for point in path])]
        start = [_Knot(1.0, self.neutral, _goodness(points[0]))] if plain else []
        knots = [_Knot(speed, p.settings, _goodness(p)) for speed, p in zip(speeds, path, strict=True)]
        return _Line([*start, *knots])

    def _out_of_range(self, speed: object) -> SettingError:
        low, high = self.range
        ends = f"[{low:g}, {math.floor(high * 100) / 100:g}]"
        return SettingError(
            f"The speed lies in {ends} for this bundle on {machine_text(self.device)}.",
            given=speed,
            mend="Choose a speed in that range, or calibrate the bundle on the machine it will run on.",
        )


@dataclass(frozen=True, slots=True)
class _Knot:
    """A point of a line: its speed, made monotone, its settings, and how good it is (greater is better)."""

    speed: float
    settings: Mapping[str, float]
    quality: float


class _Line(list[_Knot]):
    """Knots that differ in one dial; their speeds never fall."""

    def at(self, speed: float) -> _Knot:
        """Return what lies at a speed between the ends."""
        upper = next(number for number, knot in enumerate(self) if knot.speed >= speed)
        high = self[upper]
        if high.speed == speed:
            return high
        low = self[upper - 1]
        share = (speed - low.speed) / (high.speed - low.speed)
        settings = {name: start + share * (high.settings[name] - start) for name, start in low.settings.items()}
        return _Knot(speed, settings, low.quality + share * (high.quality - low.quality))


def _goodness(point: Point) -> float:
    """Return a point's quality, greater is better: accuracy, or else minus the first of loss and perplexity."""
    for name, sign in (("accuracy", 1.0), ("loss", -1.0), ("perplexity", -1.0)):
        if name in point.quality:
            return sign * point.quality[name]
    return 0.0


def isotonic(values: Sequence[float]) -> list[float]:
    """Return the non-decreasing sequence nearest to ``values`` in least squares (pool adjacent violators).

    Example:
        >>> isotonic([1.0, 3.0, 2.0, 4.0])
        [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return [mean for mean, size in blocks for _ in range(size)]


def same_machine(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Say whether speeds measured on machine ``a`` can be expected on machine ``b`` (two `machine_facts`)."""
    return not machine_difference(a, b)


def machine_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Say what differs between two machines as far as speed goes; empty where nothing does.

    Facts that only one of the two knows are left out.

    Example:
        >>> machine_difference({"cpu": "A", "cores": 2}, {"cpu": "A", "cores": 8})
        'cores: 2 there, 8 here'
    """
    shared = [name for name in _SPEED_FACTS if name in a and name in b]
    if "torch_threads" in shared and "threads" in shared:
        # What torch really uses counts; the environment variables are only one way to set it.
        shared.remove("threads")
    differing = [name for name in shared if a[name] != b[name]]
    return "; ".join(f"{name.replace('_', ' ')}: {_shown(a[name])} there, {_shown(b[name])} here" for name in differing)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "default"
    return str(value)


def _parsed(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BundleError("A profile is a JSON file.", given=str(error), mend=_MEND) from error


def _table(data: object, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise BundleError(f"{what} is a JSON object.", given=type(data).__name__, mend=_MEND)
    return data


def _number(table: Mapping[str, Any], name: str) -> float:
    value = table.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BundleError(f"The entry '{name}' of a profile is a finite number.", given=repr(value), mend=_MEND)
    return float(value)


def _positive(table: Mapping[str, Any], name: str) -> float:
    value = _number(table, name)
    if value <= 0.0:
        raise BundleError(f"The entry '{name}' of a profile is above 0.", given=value, mend=_MEND)
    return value


def _metrics(data: object, name: str) -> dict[str, float]:
    table = _table(data, f"The baseline '{name}' of a profile")
    return {metric: _number(table, metric) for metric in table}


def _interval(ends: object, name: str) -> tuple[float, float]:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise BundleError(f"The interval of '{name}' has two ends.", given=repr(ends), mend=_MEND)
    table = {"low": ends[0], "high": ends[1]}
    return _number(table, "low"), _number(table, "high")
