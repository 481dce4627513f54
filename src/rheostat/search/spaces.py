"""The space of a scenario: generated from registered techniques, recipes, adapters and what the machine offers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rheostat.core.dial import Dial
from rheostat.core.errors import SettingError
from rheostat.core.knob import Value
from rheostat.core.space import Axis, Conditions, Conflict, Exclusion, Space
from rheostat.core.workload import DEFAULTS
from rheostat.search.catalogue import AS_IT_IS, Source, catalogue, choices_of, grid_of, neutral_of
from rheostat.search.facts import ModelFacts
from rheostat.search.scenario import Scenario
from rheostat.techniques.contract import Conversion, Leaving, Restriction, Target
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.recipes import read_recipe

__all__ = ["make_space", "space_for"]

_BATCH: Final = DEFAULTS["classify"]["batch_size"]


def space_for(
    scenario: Scenario, facts: ModelFacts, machine: Mapping[str, Any], *, splits: Collection[str] | None = None
) -> Space:
    """Return the space of a scenario, with everything that was left out of it, and why.

    Args:
        scenario: What is asked for; its ``space`` narrows or switches off axes, or switches on those that are usually
            left alone.
        facts: The model, see `rheostat.search.facts.facts_of`.
        machine: Facts of the machine, see `rheostat.core.machine.machine_facts`: ``cores`` is read.
        splits: The splits of the data; None takes it to have train and validation.

    Raises:
        SettingError: If the scenario leaves an axis no value that the model and the machine can have; with line and
            column where it was read from a file.
    """
    return make_space(
        facts,
        {**machine, "device": scenario.measure.device},
        overrides=scenario.space,
        batch=scenario.work().rows,
        splits=splits,
        places=scenario.where,
    )


def make_space(
    facts: ModelFacts,
    machine: Mapping[str, Any],
    *,
    overrides: Mapping[str, tuple[Value, ...]] | None = None,
    batch: int = _BATCH,
    splits: Collection[str] | None = None,
    places: Any = None,
) -> Space:
    """Return the space of a model on a machine; see `space_for`.

    Args:
        facts: The model.
        machine: Facts of the machine; ``cores`` and ``device`` are read.
        overrides: Axis to its values; none switch it off.
        batch: Rows of a request by default.
        splits: The splits of the data; None takes it to have train and validation.
        places: Says where in a file ``("space", axis)`` stands.

    Raises:
        SettingError: If an axis is left no value.
    """
    made = _Making(facts, machine, dict(overrides or {}), batch, splits, places)
    return made.space()


@dataclass
class _Making:
    """A space in the making."""

    facts: ModelFacts
    machine: Mapping[str, Any]
    overrides: dict[str, tuple[Value, ...]]
    batch: int
    splits: Collection[str] | None
    places: Any
    axes: dict[str, Axis] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)

    @property
    def device(self) -> str:
        """The kind of device."""
        return str(self.machine.get("device", "cpu")).partition(":")[0]

    def space(self) -> Space:
        known = catalogue()
        restrictions = self._restrictions(known)
        lost = {(each.name, each.value): each.reason for each in restrictions if isinstance(each, Exclusion)}
        for source in known.values():
            self._add(source, lost)
        conflicts = [self._kept(each) for each in restrictions if isinstance(each, Conflict)]
        return Space(
            tuple(self.axes.values()), tuple(each for each in conflicts if each is not None), tuple(self.exclusions)
        )

    def _restrictions(self, known: Mapping[str, Source]) -> list[Restriction]:
        learnt = self.splits is None or "train" in self.splits
        words = self.facts.words if self.facts.trained else learnt
        target = Target(self.facts.family, self.facts.task, self.device, words)
        kinds = dict.fromkeys(source.technique for source in known.values() if source.technique is not None)
        found: list[Restriction] = [each for kind in kinds for each in kind.restrictions(target)]
        found += [Exclusion("adapter", kind, reason) for kind, reason in self.facts.unfit.items()]
        if self.facts.unready:
            found.append(Exclusion("recipe", AS_IT_IS, self.facts.unready))
        return found

    def _add(self, source: Source, lost: Mapping[tuple[str, Value | None], str]) -> None:
        name = source.name
        named = name in self.overrides
        reason = self._reason(source, lost)
        if reason is not None:
            self.exclusions.append(Exclusion(name, None, reason))
            return
        wanted = self._wanted(source)
        values = tuple(value for value in wanted if (name, value) not in lost)
        self.exclusions += [Exclusion(name, value, lost[name, value]) for value in wanted if (name, value) in lost]
        if name == "recipe" and not named:
            values = self._useful_recipes(values)
        if not values:
            raise SettingError(
                f"The axis '{name}' is left a value.",
                given=self._given(name, f"{', '.join(map(str, wanted))}: {lost[name, wanted[0]]}"),
                mend="Add another value, or leave the axis out.",
            )
        neutral = self._neutral(source, values)
        if not named and values == (neutral,):
            self.exclusions.append(Exclusion(name, None, self._alone(source, neutral)))
            return
        default = neutral
        if neutral not in values:
            default = values[0]
            text = f"left out by the scenario: where the axis counts, the baseline has {default} instead"
            self.exclusions.append(Exclusion(name, neutral, text))
        ordered = not isinstance(values[0], str)
        values = tuple(sorted(values)) if ordered else values
        self.axes[name] = Axis(name, source.stage, values, default, source.what, ordered, self._when(source))

    def _reason(self, source: Source, lost: Mapping[tuple[str, Value | None], str]) -> str | None:
        """Return why a whole axis is left out; None where it is not."""
        if self.overrides.get(source.name) == ():
            return "switched off in the scenario"
        if (source.name, None) in lost:
            return lost[source.name, None]
        if source.stage == "finetuning" and source.technique is None:
            return self._why_untrained() or self._why_unused(source)
        if source.name == "threads" and self.device != "cpu":
            return f"the model runs on {self.device}, where threads of the processor matter little"
        if source.name == "threads" and not self.machine.get("cores"):
            return "it is not known how many cores this machine has"
        return self._why_neutral(source)

    def _why_untrained(self) -> str | None:
        if self.facts.trained:
            return "the model is a trained bundle, which is not trained again"
        if self.splits is not None and "train" not in self.splits:
            return "the data has no train split"
        return None

    def _why_unused(self, source: Source) -> str | None:
        if source.adapters and not set(source.adapters) & set(self._values("adapter")):
            return "no adapter in the space uses it"
        recipes = self._values("recipe")
        return "nothing is trained" if source.name == "adapter" and recipes == (AS_IT_IS,) else None

    def _why_neutral(self, source: Source) -> str | None:
        """Return why a dial or knob of a technique stays at neutral."""
        if source.technique is None:
            return None
        if isinstance(source.part, Dial):
            return self._why_alone(source) or self._why_not_learnt(source)
        dials = [dial.name for dial in _ruling_dials(source)]
        if dials and not any(dial in self.axes for dial in dials):
            return f"it means nothing while {' and '.join(dials)} stay at neutral"
        return None

    def _why_alone(self, source: Source) -> str | None:
        needed = _acts_with(source)
        if not needed or needed in self.axes:
            return None
        return f"it means nothing while {needed} stays at neutral"

    def _why_not_learnt(self, source: Source) -> str | None:
        learnt, kind = _learnt_with(source), source.technique
        if kind is not None and issubclass(kind, Leaving) and kind().rule(kind().neutral(), self.facts.blocks) is None:
            return f"{self.facts.blocks} blocks leave no room for an exit"
        if not learnt or source.name in self.overrides:
            return None
        if self.facts.trained:
            trained = self.facts.recipe is not None and learnt in read_recipe(self.facts.recipe).trains
            return None if trained else _not_trained(source.name, f"the bundle was trained with {self.facts.recipe}")
        recipes = self._values("recipe")
        if not any(learnt in _trains(recipe) for recipe in recipes):
            said = (
                f"no recipe in the space trains {'it' if learnt == source.name else learnt}"
                if recipes
                else "the model is not trained"
            )
            return _not_trained(source.name, said)
        return None

    def _wanted(self, source: Source) -> tuple[Value, ...]:
        """Return the values that are tried before any is left out."""
        name = source.name
        if name in self.overrides:
            return tuple(self._checked(source, value) for value in self.overrides[name])
        if name == "threads":
            cores = int(self.machine["cores"])
            return tuple(sorted({*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores}))
        if name == "batch":
            return tuple(sorted({*source.preferred, self.batch}))
        if name == "blocks":
            return tuple(value for value in source.preferred if value == 1 or int(value) < self.facts.blocks)
        if source.preferred:
            return source.preferred
        return choices_of(source) or grid_of(source.part, self.facts.blocks)  # type: ignore[arg-type]

    def _checked(self, source: Source, value: Value) -> Value:
        """Return a value of the scenario that this model and machine can have at all."""
        cores = self.machine.get("cores")
        if source.name == "threads" and cores and int(value) > cores:
            given = self._given(source.name, f"{value} threads")
            raise SettingError(f"There are at most as many threads as cores, {cores}.", given=given)
        if source.name == "blocks" and int(value) > self.facts.blocks:
            given = self._given(source.name, f"{value} of {self.facts.blocks} blocks")
            raise SettingError("No more blocks are trained than there are.", given=given)
        if isinstance(source.part, Dial) and not source.part.is_bound:
            try:
                source.part.bound(self.facts.blocks).check(value)
            except SettingError as error:
                given = self._given(source.name, str(error.given))
                raise SettingError(error.rule, given=given, mend=error.mend) from error
        return source.check(value)

    def _useful_recipes(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Leave out recipes whose dials the space does not have."""
        kept = []
        for value in values:
            dials = _trains(value)
            off = [
                dial for dial in dials if self.overrides.get(dial) == () or (dial == "depth" and self.facts.blocks < 2)
            ]
            if dials and len(off) == len(dials):
                reason = f"it trains {' and '.join(dials)}, which the space does not have"
                self.exclusions.append(Exclusion("recipe", value, reason))
            else:
                kept.append(value)
        return tuple(kept)

    def _neutral(self, source: Source, values: tuple[Value, ...]) -> Value:
        if source.part is not None:
            return neutral_of(source.part, self.facts.blocks)
        if source.name == "recipe":
            return AS_IT_IS if AS_IT_IS in values else "plain"
        if source.name in ("batch", "threads"):
            return self.batch if source.name == "batch" else int(self.machine["cores"])
        if source.name == "adapter":
            return "full"
        usual: Value = getattr(Trainable.from_json({"kind": source.adapters[0]}), source.name)
        return usual

    def _alone(self, source: Source, neutral: Value) -> str:
        if source.preferred == (neutral,):
            return f"stays at {neutral} unless the scenario's space names it"
        return f"{neutral} is its only value here"

    def _when(self, source: Source) -> Conditions:
        """Return where an axis means something."""
        if source.technique is not None and isinstance(source.part, Dial):
            return (*self._when_trained(source), *self._when_acting(source))
        if source.technique is not None:
            dials = [self.axes[dial.name] for dial in _ruling_dials(source) if dial.name in self.axes]
            # With several dials, one of them off neutral is enough, which conditions cannot say.
            if len(dials) == 1:
                return ((dials[0].name, tuple(value for value in dials[0].values if value != dials[0].default)),)
        if source.name == "adapter":
            trained = tuple(value for value in self._values("recipe") if value != AS_IT_IS)
            return (("recipe", trained),) if AS_IT_IS in self._values("recipe") else ()
        if source.adapters:
            return (("adapter", tuple(kind for kind in self._values("adapter") if kind in source.adapters)),)
        return ()

    def _when_acting(self, source: Source) -> Conditions:
        needed = _acts_with(source)
        if not needed:
            return ()
        axis = self.axes[needed]
        return ((needed, tuple(value for value in axis.values if value != axis.default)),)

    def _when_trained(self, source: Source) -> Conditions:
        learnt = _learnt_with(source)
        trained = tuple(recipe for recipe in self._values("recipe") if learnt in _trains(recipe)) if learnt else ()
        return (("recipe", trained),) if trained else ()

    def _values(self, name: str) -> tuple[Value, ...]:
        return self.axes[name].values if name in self.axes else ()

    def _kept(self, conflict: Conflict) -> Conflict | None:
        """Return the part of a conflict that can happen in this space; None where none can."""
        parts = []
        for name, values in conflict.parts:
            left = tuple(value for value in values if value in self._values(name))
            if not left:
                return None
            parts.append((name, left))
        return Conflict(tuple(parts), conflict.reason)

    def _given(self, name: str, text: str) -> str:
        where = self.places("space", name) if self.places is not None else ""
        return f"{where}: {text}" if where else text


def _ruling_dials(source: Source) -> tuple[Dial, ...]:
    """Return the dials at whose neutral a knob changes nothing; a conversion's knobs are for themselves."""
    kind = source.technique
    return () if kind is None or issubclass(kind, Conversion) else kind.dials


def _learnt_with(source: Source) -> str:
    return "" if source.technique is None else source.technique.learnt_with


def _acts_with(source: Source) -> str:
    return "" if source.technique is None else source.technique.acts_with


def _trains(recipe: Value) -> tuple[str, ...]:
    return () if recipe == AS_IT_IS else read_recipe(str(recipe)).trains


def _not_trained(name: str, why: str) -> str:
    return f"few models are any good at it untrained, and {why}; name '{name}' in the scenario's space to try it"
