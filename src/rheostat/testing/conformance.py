"""The promises that every technique keeps on every model family, as checks for the authors of either.

A check raises AssertionError with what was promised and what was seen. With pytest:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
    def test_my_technique(check):
        check.run(Subject(MyTechnique(), partial(tiny_model, "llama", AutoModelForCausalLM)))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from rheostat.techniques import Adding, Conversion, Leaving, Rereading, Technique, TokenPruning
from rheostat.testing import adding, conversions, leaving, promises, rereading
from rheostat.testing.looking import Subject
from rheostat.testing.reference import Score, column_sum

__all__ = [
    "ADDING_CHECKS",
    "CHECKS",
    "CONVERSION_CHECKS",
    "LEAVING_CHECKS",
    "REREADING_CHECKS",
    "Check",
    "Subject",
    "check_family",
    "check_technique",
    "checks_of",
]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise.

    Attributes:
        name: What it is called.
        look: Returns what breaks it, or None where it holds; its docstring is the promise.
    """

    name: str
    look: Callable[[Subject], str | None]

    @property
    def promise(self) -> str:
        """The promise, as one sentence."""
        return self.look.__doc__ or self.name

    def run(self, subject: Subject) -> None:
        """Look whether the promise holds.

        Raises:
            AssertionError: If it does not, or if looking raised an error.
        """
        try:
            seen = self.look(subject)
        except Exception as error:  # noqa: BLE001 - whatever the technique raises, the promise is broken
            self._fail(f"{type(error).__name__}: {error}", error)
        if seen is not None:
            self._fail(seen)

    def _fail(self, seen: str, cause: BaseException | None = None) -> NoReturn:
        raise AssertionError(f"{self.name}: {self.promise} Seen: {seen}.") from cause


def check_technique(technique: Technique, make_model: Callable[[], Any], *, score: Score | None = None) -> None:
    """Run every check that a technique of its kind has to pass; see `Subject` for the arguments.

    Raises:
        AssertionError: At the first broken promise.

    Example:
        >>> from functools import partial
        >>> from rheostat.testing import tiny_model
        >>> check_technique(TokenPruning(scorer="mean"), partial(tiny_model, "bert"))
    """
    for check in checks_of(technique):
        check.run(Subject(technique, make_model, score))


def checks_of(technique: Technique) -> tuple[Check, ...]:
    """Return the checks for a technique of this kind."""
    if isinstance(technique, Leaving):
        return LEAVING_CHECKS
    if isinstance(technique, Rereading):
        return REREADING_CHECKS
    if isinstance(technique, Adding):
        return ADDING_CHECKS
    return CONVERSION_CHECKS if isinstance(technique, Conversion) else CHECKS


def check_family(make_model: Callable[[], Any]) -> None:
    """Run every check on the token dial of a model of a new family; see `Subject` for ``make_model``.

    Raises:
        AssertionError: At the first broken promise.
    """
    check_technique(TokenPruning(), make_model, score=column_sum)


CHECKS: tuple[Check, ...] = (
    Check("dials", promises.look_at_dials),
    Check("json", promises.look_at_json),
    Check("neutral", promises.look_at_neutral),
    Check("extremes", promises.look_at_extremes),
    Check("cost", promises.look_at_cost),
    Check("rows", promises.look_at_rows),
    Check("reference", promises.look_at_reference),
    Check("layout", promises.look_at_nothing_dropped),
    Check("training", promises.look_at_training),
    Check("generation", promises.look_at_generation),
    Check("residue", promises.look_at_residue),
    Check("saving", promises.look_at_saving),
    Check("detaching", promises.look_at_detaching),
)
"""Every check of a technique that cuts, the quick ones first."""

LEAVING_CHECKS: tuple[Check, ...] = (
    Check("dials", promises.look_at_dials),
    Check("json", promises.look_at_json),
    Check("neutral", promises.look_at_neutral),
    Check("extremes", promises.look_at_extremes),
    Check("rows", leaving.look_at_leaving_rows),
    Check("depths", leaving.look_at_depths),
    Check("residue", promises.look_at_residue),
    Check("saving", promises.look_at_saving),
    Check("detaching", promises.look_at_detaching),
)
"""Every check of a technique that lets rows leave."""

REREADING_CHECKS: tuple[Check, ...] = (
    Check("dials", promises.look_at_dials),
    Check("json", promises.look_at_json),
    Check("neutral", promises.look_at_neutral),
    Check("extremes", promises.look_at_extremes),
    Check("rows", rereading.look_at_reread_rows),
    Check("readings", rereading.look_at_readings),
    Check("residue", promises.look_at_residue),
    Check("saving", promises.look_at_saving),
    Check("detaching", promises.look_at_detaching),
)
"""Every check of a technique that reads rows a second time."""

ADDING_CHECKS: tuple[Check, ...] = (
    Check("dials", promises.look_at_dials),
    Check("json", promises.look_at_json),
    Check("neutral", promises.look_at_neutral),
    Check("extremes", promises.look_at_extremes),
    Check("rows", adding.look_at_added_rows),
    Check("sums", adding.look_at_sums),
    Check("residue", promises.look_at_residue),
    Check("saving", promises.look_at_saving),
    Check("detaching", promises.look_at_detaching),
)
"""Every check of a technique that adds to logits."""

CONVERSION_CHECKS: tuple[Check, ...] = (
    Check("knobs", conversions.look_at_knobs),
    Check("json", promises.look_at_json),
    Check("neutral", conversions.look_at_neutral_knobs),
    Check("extremes", promises.look_at_extremes),
    Check("bound", conversions.look_at_bound),
    Check("rows", conversions.look_at_conversion_rows),
    Check("gradients", conversions.look_at_gradients),
    Check("generation", conversions.look_at_decoding),
    Check("company", conversions.look_at_company),
    Check("residue", promises.look_at_residue),
    Check("saving", conversions.look_at_reloading),
    Check("undoing", conversions.look_at_undoing),
    Check("detaching", promises.look_at_detaching),
)
"""Every check of a conversion."""
