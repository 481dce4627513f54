"""``models`` and ``techniques``: what there is."""

from __future__ import annotations

from typing import Any

from rheostat.cli import heavy
from rheostat.cli.command import Command, JsonOption
from rheostat.cli.output import Reply, table
from rheostat.core.dial import Dial
from rheostat.core.knob import Knob

__all__ = ["COMMANDS"]

_TASKS = {"encoder": ("classification",), "decoder": ("classification", "causal-lm")}


def _models(options: JsonOption) -> Reply:
    rows: list[dict[str, Any]] = [
        {
            "family": family.label,
            "model_type": family.model_type,
            "kind": family.kind,
            "tasks": list(_TASKS[family.kind]),
        }
        for family in heavy.families()
    ]
    cells = [(row["family"], row["model_type"], row["kind"], ", ".join(row["tasks"])) for row in rows]
    shown = table("Model families", ("family", "model type", "kind", "tasks"), cells)
    return Reply({"models": rows}, (shown,))


def _techniques(options: JsonOption) -> Reply:
    rows: list[dict[str, Any]] = [
        {
            "name": kind.name,
            "stage": kind.stage,
            "summary": kind.summary,
            "dials": [_dial(dial) for dial in kind.dials],
            "knobs": [_knob(knob) for knob in kind.knobs],
        }
        for kind in heavy.techniques()
    ]
    cells = [
        (row["name"], row["stage"], _dials_words(row["dials"]), _knobs_words(row["knobs"]), row["summary"])
        for row in rows
    ]
    heads = ("technique", "stage", "dials", "knobs", "what it does")
    return Reply({"techniques": rows}, (table("Techniques", heads, cells),))


def _dial(dial: Dial) -> dict[str, Any]:
    return {
        "name": dial.name,
        "unit": dial.unit,
        "range": dial.interval,
        "neutral": dial.neutral if dial.is_bound else None,
        "moves": dial.moves,
    }


def _dials_words(dials: list[dict[str, Any]]) -> str:
    return "\n".join(f"{dial['name']} in {dial['range']}, neutral {_neutral_words(dial)}" for dial in dials) or "none"


def _neutral_words(dial: dict[str, Any]) -> str:
    return "all of them" if dial["neutral"] is None else f"{dial['neutral']:g}"


def _knob(knob: Knob) -> dict[str, Any]:
    return {"name": knob.name, "what": knob.what, "domain": knob.domain, "neutral": knob.neutral}


def _knobs_words(knobs: list[dict[str, Any]]) -> str:
    return "\n".join(f"{knob['name']}: {knob['domain']}" for knob in knobs) or "none"


COMMANDS = (
    Command(
        name="models",
        run=_models,
        options=JsonOption,
        summary="List the model families that rheostat supports, and the tasks each can do.",
        examples=("rheostat models", "rheostat models --json"),
        panel="Look",
    ),
    Command(
        name="techniques",
        run=_techniques,
        options=JsonOption,
        summary="List the techniques with their dials and knobs: the values they take, and the plain model's.",
        examples=("rheostat techniques",),
        panel="Look",
    ),
)
