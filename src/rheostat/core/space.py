"""Search spaces: the knobs, dials and choices of a deployment that a search may combine, and the values it tries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from rheostat.core.errors import SettingError
from rheostat.core.knob import Value
from rheostat.core.names import suggest

__all__ = ["Axis", "Conflict", "Exclusion", "Space", "Stage"]

Stage = Literal["architecture", "finetuning", "inference", "deployment"]
"""When a choice is made: before there are weights, while they learn, when they run, or where and how they are run."""

Conditions = tuple[tuple[str, tuple[Value, ...]], ...]
"""Names of axes, each with the values that it must have."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One knob, dial or choice of a deployment, with the finitely many values that a search tries.

    Attributes:
        name: What configurations call it.
        stage: When it is chosen.
        values: The values; in their natural order where it is ``ordered``.
        default: What is taken where nothing is asked for: the plain model.
        what: What it sets, for people.
        ordered: Whether neighbouring values are similar, as with numbers.
        when: It means something only where each of these axes, which come before it, has one of these values.

    Raises:
        SettingError: If there is no value, one comes twice, or the default is none of them.
    """

    name: str
    stage: Stage
    values: tuple[Value, ...]
    default: Value
    what: str = ""
    ordered: bool = True
    when: Conditions = ()

    def __post_init__(self) -> None:
        if len(set(self.values)) != len(self.values) or not self.values:
            raise SettingError(f"The axis '{self.name}' has values, each once.", given=list(self.values))
        if self.default not in self.values:
            raise SettingError(
                f"The default of the axis '{self.name}' is one of its values.",
                given=repr(self.default),
                mend=f"It tries {', '.join(map(str, self.values))}.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {name: getattr(self, name) for name in ("name", "stage", "default", "what", "ordered")}
        return {**plain, "values": list(self.values), "when": _plain(self.when)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Axis:
        """Return what `to_json` made data of.

        Raises:
            SettingError: If it is not that.
        """
        try:
            return cls(**{**data, "values": tuple(data["values"]), "when": _conditions(data.get("when", ()))})
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError("An axis has a name, a stage, values and a default.", given=dict(data)) from error


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that do not go together.

    Attributes:
        parts: Excluded is what has, of each of these axes, one of these values.
        reason: Why, for people.
    """

    parts: Conditions
    reason: str

    def holds(self, configuration: Mapping[str, Value]) -> bool:
        """Whether it excludes a configuration."""
        return _meets(self.parts, configuration)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"parts": _plain(self.parts), "reason": self.reason}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Conflict:
        """Return what `to_json` made data of.

        Raises:
            SettingError: If it is not that.
        """
        try:
            return cls(_conditions(data["parts"]), data["reason"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError("A conflict has parts and a reason.", given=dict(data)) from error


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is not in a space at all.

    Attributes:
        name: The axis.
        value: The value; None for the whole axis.
        reason: Why, for people.
    """

    name: str
    value: Value | None
    reason: str


@dataclass(frozen=True)
class Space:
    """Everything that a search may propose.

    A configuration maps names of axes to values. In its canonical form it names the axes that mean something, in the
    order of the space; two configurations are the same exactly where their canonical forms are.

    Attributes:
        axes: The axes; whatever one depends on comes before it.
        conflicts: Values that do not go together.
        exclusions: What was left out when the space was made, and why.

    Raises:
        SettingError: If two axes have one name, or one depends on what does not come before it.

    Example:
        >>> tokens = Axis("tokens", "inference", (0.5, 1.0), 1.0)
        >>> scorer = Axis("scorer", "inference", ("attention", "norm"), "attention", when=(("tokens", (0.5,)),))
        >>> space = Space((tokens, scorer))
        >>> space.canonical({"tokens": 1.0, "scorer": "norm"}), space.size
        ({'tokens': 1.0}, 3)
    """

    axes: tuple[Axis, ...]
    conflicts: tuple[Conflict, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for axis in self.axes:
            if axis.name in seen:
                raise SettingError("An axis has a name of its own.", given=repr(axis.name))
            for name, _ in axis.when:
                if name not in seen:
                    raise SettingError(
                        "An axis depends on axes that come before it.", given=f"'{axis.name}' depends on '{name}'"
                    )
            seen.add(axis.name)

    @cached_property
    def size(self) -> int:
        """How many different configurations there are."""
        return sum(1 for _ in self.configurations())

    @property
    def default(self) -> dict[str, Value]:
        """The plain configuration, canonical."""
        return self.canonical({})

    def axis(self, name: str) -> Axis:
        """Return an axis by name.

        Raises:
            SettingError: If there is none; with the nearest known one.
        """
        for axis in self.axes:
            if axis.name == name:
                return axis
        names = [axis.name for axis in self.axes]
        raise SettingError("A configuration names axes of the space.", given=repr(name), mend=suggest(name, names))

    def canonical(self, configuration: Mapping[str, Any]) -> dict[str, Value]:
        """Return the canonical form: missing axes at their default, those that mean nothing left out.

        Raises:
            SettingError: If it names an unknown axis, or a value that the axis does not have.
        """
        for name, value in configuration.items():
            axis = self.axis(name)
            if value not in axis.values:
                raise SettingError(
                    f"The axis '{name}' has one of its values.",
                    given=repr(value),
                    mend=suggest(str(value), map(str, axis.values)),
                )
        found: dict[str, Value] = {}
        for axis in self.axes:
            if _meets(axis.when, found):
                # 1 and 1.0 are the same value: the axis says how it is written.
                value = configuration.get(axis.name, axis.default)
                found[axis.name] = axis.values[axis.values.index(value)]
        return found

    def conflict(self, configuration: Mapping[str, Value]) -> Conflict | None:
        """Return the first conflict that excludes a configuration; None where it may run."""
        return next((conflict for conflict in self.conflicts if conflict.holds(configuration)), None)

    def configurations(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration that may run, canonical, the last axis changing fastest."""
        return (one for one in self._grown({}, self.axes) if self.conflict(one) is None)

    def key(self, configuration: Mapping[str, Any]) -> str:
        """Return a text that is the same exactly for the same configurations.

        Example:
            >>> Space((Axis("tokens", "inference", (0.5, 1.0), 1.0),)).key({"tokens": 1})
            '{"tokens": 1.0}'
        """
        return json.dumps(self.canonical(configuration))

    def part(self, configuration: Mapping[str, Value], stages: Sequence[Stage]) -> dict[str, Value]:
        """Return what a configuration says of some stages."""
        wanted = {axis.name for axis in self.axes if axis.stage in stages}
        return {name: value for name, value in configuration.items() if name in wanted}

    def _grown(self, chosen: dict[str, Value], axes: Sequence[Axis]) -> Iterator[dict[str, Value]]:
        if not axes:
            yield chosen
        elif _meets(axes[0].when, chosen):
            for value in axes[0].values:
                yield from self._grown({**chosen, axes[0].name: value}, axes[1:])
        else:
            yield from self._grown(chosen, axes[1:])


def _meets(conditions: Conditions, configuration: Mapping[str, Value]) -> bool:
    return all(name in configuration and configuration[name] in values for name, values in conditions)


def _plain(conditions: Conditions) -> list[list[Any]]:
    return [[name, list(values)] for name, values in conditions]


def _conditions(data: Sequence[Any]) -> Conditions:
    return tuple((name, tuple(values)) for name, values in data)
