"""Limits, durations and amounts as people write them: ``latency_p95 <= 15ms``, ``accuracy >= baseline - 1pt``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from rheostat.core.errors import SettingError
from rheostat.core.goals import Limit
from rheostat.core.metrics import METRICS, metric_kind
from rheostat.core.names import suggest

__all__ = ["SHORT", "check_limits", "duration_text", "limit_of", "limit_text", "parse_duration", "parse_limit"]

SHORT: Final[Mapping[str, str]] = {"memory": "memory_peak_host", "energy": "energy_per_sample"}
"""Short names of metrics, as the command line has them."""

_UNITS: Final[Mapping[str, Mapping[str, str]]] = {
    "s": {"us": "1e-6", "ms": "1e-3", "s": "1", "min": "60", "h": "3600"},
    "B": {
        "B": "1",
        **{f"{letter}B": f"1e{power}" for letter, power in (("k", 3), ("K", 3), ("M", 6), ("G", 9), ("T", 12))},
        **{f"{letter}iB": str(1024**power) for letter, power in (("K", 1), ("M", 2), ("G", 3), ("T", 4))},
    },
    "J": {"uJ": "1e-6", "mJ": "1e-3", "J": "1", "kJ": "1e3", "mWh": "3.6", "Wh": "3600", "kWh": "3.6e6"},
    "W": {"mW": "1e-3", "W": "1", "kW": "1e3"},
    "1/s": {"/s": "1", "1/s": "1"},
    "USD": {"USD": "1", "$": "1"},
    "1": {"x": "1"},
}
_SAID: Final[Mapping[str, Sequence[str]]] = {
    "s": ("s", "ms", "us"),
    "B": ("GB", "MB", "kB", "B"),
    "J": ("J", "mJ", "uJ"),
    "W": ("W", "mW"),
}
"""Units of ten's powers, in which every number can be said exactly."""

_POINTS: Final = ("pt", "pts", "point", "points", "pp")
_NUMBER: Final = r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?"
_AMOUNT: Final = re.compile(rf"(?P<number>[+-]?{_NUMBER})\s*(?P<unit>[^\s0-9.+-][^\s]*|1/s)?")
_LIMIT: Final = re.compile(r"(?P<name>[^<>=≤≥]+?)\s*(?P<sign><=|>=|≤|≥)\s*(?P<asked>[^<>=≤≥]+)")
_BASELINE: Final = re.compile(r"baseline\s*(?:(?P<sign>[+-])\s*(?P<amount>.+))?")
_EXAMPLES: Final = "Write for instance 'latency_p95 <= 15ms', 'accuracy >= baseline - 1pt' or 'energy <= 80%'."
_SHARES: Final = ("accuracy", "f1", "calibration_error", "agreement", "compute_utilisation", "processor_utilisation")
"""Metrics in [0, 1], of which a percentage is a value of its own, and not a part of the baseline's."""


def parse_duration(text: object) -> float:
    """Return a duration in seconds.

    Args:
        text: A number with a unit, such as ``45min``, ``90s``, ``2h`` or ``1h30min``; or plain seconds.

    Raises:
        SettingError: If it is none, or not above 0.

    Example:
        >>> parse_duration("45min"), parse_duration("1h30min")
        (2700.0, 5400.0)
    """
    pieces = re.findall(rf"({_NUMBER})\s*([a-z]*)", str(text).strip())
    known = _UNITS["s"]
    whole = re.fullmatch(rf"(?:{_NUMBER}\s*[a-z]*\s*)+", str(text).strip()) is not None
    units = [unit or "s" for _, unit in pieces]
    bare = len(pieces) > 1 and not all(unit for _, unit in pieces)
    if isinstance(text, bool) or not whole or bare or any(unit not in known for unit in units):
        raise SettingError(
            "A duration is a number of s, min or h.", given=repr(text), mend="Write for instance 45min, 90s or 2h."
        )
    parts = [Decimal(number) * Decimal(known[unit]) for (number, _), unit in zip(pieces, units, strict=True)]
    seconds = float(sum(parts))
    if not 0 < seconds < 1e12:
        raise SettingError("A duration is above 0.", given=repr(text), mend="Write for instance 45min, 90s or 2h.")
    return seconds


def parse_limit(text: str) -> Limit:
    """Return the limit that a text states.

    On the left stands a metric, or a short name of `SHORT`; then ``<=`` or ``>=``; on the right:

    - a number with a unit: ``15ms``, ``500MB``, ``2J``, ``0.9``; without one it is in the metric's own;
    - a percentage: of the baseline (``80%``), but of a share such as accuracy the share itself (``90%`` is 0.9), where
      ``99% of baseline`` is what refers to the baseline;
    - ``baseline``, or a difference to it: ``baseline - 1pt`` (a point is 0.01), ``baseline + 5ms``, ``baseline - 20%``.

    Raises:
        SettingError: If it is none of these, or names a metric that nobody knows.

    Example:
        >>> parse_limit("latency_p95 <= 15ms")
        Limit(metric='latency_p95', bound='most', value=0.015, relative_to='nothing')
        >>> parse_limit("accuracy >= baseline - 1pt")
        Limit(metric='accuracy', bound='least', value=0.01, relative_to='difference')
    """
    found = _LIMIT.fullmatch(str(text).strip())
    if found is None:
        raise SettingError("A limit is a metric, <= or >=, and how much.", given=repr(text), mend=_EXAMPLES)
    return _made(found["name"].strip(), "most" if found["sign"] in ("<=", "≤") else "least", found["asked"].strip())


def limit_of(name: str, asked: object) -> Limit:
    """Return the limit of a metric in the direction that is worse: at most for a latency, at least for an accuracy.

    Args:
        name: A metric, a short name of `SHORT`, or a metric with ``_drop`` or ``_rise``: ``accuracy_drop`` is how much
            accuracy may lose against the baseline, in points; ``perplexity_rise`` how much perplexity may gain.
        asked: What stands on the right in `parse_limit`; may begin with ``<=`` or ``>=``.

    Raises:
        SettingError: If it is none of these.

    Example:
        >>> limit_of("memory", "500MB").value
        500000000.0
        >>> limit_of("accuracy_drop", 1) == parse_limit("accuracy >= baseline - 1pt")
        True
    """
    metric, _, change = name.rpartition("_")
    if change in ("drop", "rise") and name not in METRICS:
        return _change(metric, change, str(asked).strip())
    text = str(asked).strip()
    if text.startswith(("<", ">", "=", "≤", "≥")):
        return parse_limit(f"{name} {text}")
    better = metric_kind(_metric(name)).better
    return _made(name, "least" if better == "higher" else "most", text)


def duration_text(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it back exactly.

    Example:
        >>> duration_text(2700), duration_text(7200), duration_text(90.5)
        ('45min', '2h', '90.5s')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{_digits(_decimal(seconds))}s"


def limit_text(limit: Limit) -> str:
    """Return a limit as a text that `parse_limit` reads back exactly.

    Example:
        >>> limit_text(parse_limit("memory<=80%")), limit_text(parse_limit("accuracy>=baseline-1pt"))
        ('memory_peak_host <= 80% of baseline', 'accuracy >= baseline - 1pt')
        >>> limit_text(parse_limit("latency_p95 <= 0.015"))
        'latency_p95 <= 15 ms'
    """
    start = f"{limit.metric} {'<=' if limit.bound == 'most' else '>='}"
    if limit.relative_to == "nothing":
        return f"{start} {_said(limit.metric, limit.value)}"
    if limit.relative_to == "ratio":
        return f"{start} {_digits(_decimal(limit.value) * 100)}% of baseline"
    if limit.value == 0:
        return f"{start} baseline"
    sign = "+" if (limit.bound == "most") == (limit.value > 0) else "-"
    points = _is_share(limit.metric)
    size = f"{_digits(_decimal(abs(limit.value)) * 100)}pt" if points else _said(limit.metric, abs(limit.value))
    return f"{start} baseline {sign} {size}"


def _said(metric: str, value: float) -> str:
    """Return a value in the largest unit of which there is at least one."""
    unit, number = metric_kind(metric).unit, _decimal(value)
    if unit not in _SAID:
        return _digits(number) + ("" if unit == "1" else f" {unit}")
    sizes = [(name, Decimal(_UNITS[unit][name])) for name in _SAID[unit]]
    name, size = next(((name, size) for name, size in sizes if abs(number) >= size), sizes[-1])
    return f"{_digits(number / size)} {name}"


def _digits(number: Decimal) -> str:
    return f"{number.normalize():f}"


def check_limits(limits: Sequence[Limit]) -> None:
    """Refuse limits that no configuration can keep together, or at all.

    Raises:
        SettingError: Naming them.
    """
    for limit in limits:
        _check_possible(limit)
    for most in (limit for limit in limits if limit.bound == "most"):
        for least in (limit for limit in limits if limit.bound == "least" and limit.metric == most.metric):
            if most.relative_to == least.relative_to and _crossed(most, least):
                raise SettingError(
                    f"The limits of '{most.metric}' leave some value.",
                    given=f"{limit_text(most)}, and {limit_text(least)}",
                    mend="Leave one of them out, or turn one around.",
                )


def _crossed(most: Limit, least: Limit) -> bool:
    # A difference counts in the worse direction: below the baseline for "least", above it for "most".
    low = -least.value if least.relative_to == "difference" else least.value
    return low > most.value


def _check_possible(limit: Limit) -> None:
    share = limit.metric in _SHARES
    if limit.relative_to == "difference":
        impossible = share and abs(limit.value) > 1
    else:
        plain_share = share and limit.relative_to == "nothing"
        impossible = limit.value <= 0 if limit.bound == "most" else plain_share and limit.value > 1
        impossible = impossible or limit.value < 0
    if impossible:
        domain = "in [0, 1]" if share else "above 0"
        raise SettingError(
            "A limit is one that a configuration could keep.",
            given=limit_text(limit),
            mend=f"'{limit.metric}' lies {domain}.",
        )


def _metric(name: str) -> str:
    metric = SHORT.get(name, name)
    if "/" not in metric and metric not in METRICS:
        known = [*METRICS, *SHORT, "accuracy_drop", "f1_drop", "perplexity_rise"]
        raise SettingError("A metric has a known name.", given=repr(name), mend=suggest(name, known))
    metric_kind(metric)
    return metric


def _made(name: str, bound: Literal["most", "least"], asked: str) -> Limit:
    metric = _metric(name)
    against = _BASELINE.fullmatch(asked)
    if against is not None:
        return _against(metric, bound, against["sign"], against["amount"])
    of_baseline = re.fullmatch(r"(.+%)\s*(?:of\s+)?baseline", asked)
    text = asked if of_baseline is None else of_baseline[1].strip()
    if not text.endswith("%"):
        return Limit(metric, bound, _amount(metric, text))
    share = _percent(metric, text)
    if of_baseline is None and _is_share(metric):
        return Limit(metric, bound, share)
    return Limit(metric, bound, share, "ratio")


def _against(metric: str, bound: Literal["most", "least"], sign: str | None, amount: str | None) -> Limit:
    if amount is None:
        return Limit(metric, bound, 0.0, "difference")
    if amount.endswith("%") and not _is_share(metric):
        change = _percent(metric, amount)
        return Limit(metric, bound, float(Decimal(1) + _decimal(change if sign == "+" else -change)), "ratio")
    if amount.endswith("%"):
        raise SettingError(
            f"A change of '{metric}' is given in points.",
            given=f"baseline {sign} {amount}",
            mend=f"Write 'baseline {sign} {amount[:-1].strip()}pt', or '99% of baseline' for a part of it.",
        )
    value = _amount(metric, amount)
    if value < 0:
        raise SettingError("A difference to the baseline has one sign.", given=f"baseline {sign} {amount}")
    worse = (sign == "+") == (bound == "most")
    return Limit(metric, bound, value if worse or not value else -value, "difference")


def _change(metric: str, change: str, text: str) -> Limit:
    kind = metric_kind(_metric(metric))
    if kind.better != ("higher" if change == "drop" else "lower"):
        wanted = "rise" if change == "drop" else "drop"
        raise SettingError(
            "A limit is on the change for the worse.",
            given=f"'{metric}_{change}'",
            mend=f"Write {metric}_{wanted} instead, or a limit such as '{metric} <= 80%'.",
        )
    # A bare number is in points where the metric is a share: people say "one point of accuracy".
    share = _is_share(metric)
    value = _amount(metric, f"{text}pt" if share and re.fullmatch(rf"[+-]?{_NUMBER}", text) else text)
    if value < 0:
        raise SettingError(
            f"What '{metric}' may lose is a number from 0.",
            given=f"{metric}_{change}: {text}",
            mend=f"To ask for a gain, write '{metric} {'>=' if change == 'drop' else '<='} baseline "
            f"{'+' if change == 'drop' else '-'} ...'.",
        )
    return Limit(metric, "least" if change == "drop" else "most", value, "difference")


def _amount(metric: str, text: str) -> float:
    unit = metric_kind(metric).unit
    units = dict(_UNITS.get(unit, {}))
    if _is_share(metric):
        units |= dict.fromkeys(_POINTS, "0.01")
    found = _AMOUNT.fullmatch(text)
    if found is None:
        rule = f"The limit of '{metric}' is a number, with a unit or without."
        raise SettingError(rule, given=repr(text), mend=_EXAMPLES)
    if found["unit"] and found["unit"] not in units:
        mend = suggest(found["unit"], units) if units else "It has no unit."
        raise SettingError(f"The limit of '{metric}' is in a unit that fits it.", given=repr(text), mend=mend)
    return float(_number(found["number"]) * Decimal(units[found["unit"]] if found["unit"] else "1"))


def _percent(metric: str, text: str) -> float:
    try:
        return float(_number(text[:-1].strip()) / 100)
    except SettingError as error:
        raise SettingError(f"The limit of '{metric}' is a number.", given=repr(text), mend=_EXAMPLES) from error


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise SettingError("A limit is a number.", given=repr(text), mend=_EXAMPLES) from error
    if not number.is_finite():
        raise SettingError("A limit is a finite number.", given=repr(text), mend=_EXAMPLES)
    return number


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _is_share(metric: str) -> bool:
    return metric in _SHARES or ("/" in metric and metric_kind(metric).better == "higher")
