"""The model card of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["model_card"]

_USE = {
    "classification": 'bundle.predict(["a text"], tokens=0.5)',
    "causal-lm": 'bundle.generate("a prompt", tokens=0.5)',
}

# Settings that the section on facts shows.
_ELSEWHERE = ("model", "task", "technique", "columns", "max_length")


def model_card(manifest: Mapping[str, Any], parameters: int) -> str:
    """Return the README of a bundle as Markdown.

    Args:
        manifest: The content of ``bundle.json``.
        parameters: How many parameters the model has.
    """
    facts = _facts(manifest, parameters)
    sections = [_front(manifest), _use(manifest), facts, _training(manifest["training"]), _notes(manifest)]
    return "\n".join(section for section in sections if section)


def _front(manifest: Mapping[str, Any]) -> str:
    pipeline = "text-classification" if manifest["task"] == "classification" else "text-generation"
    return f"""---
library_name: transformers
pipeline_tag: {pipeline}
tags: [rheostat, token-pruning]
---

# {pipeline.replace("-", " ").capitalize()} with a dial between quality and speed

One set of weights that runs at many speeds: in every block the least attended hidden states are dropped, and
the dial `tokens` says which share goes on (1.0 is the plain model). Without rheostat it loads as an ordinary
Transformers model.
"""


def _use(manifest: Mapping[str, Any]) -> str:
    return f"""## Use

```python
import rheostat

bundle = rheostat.load("this folder")
{_USE[manifest["task"]]}
```

After `rheostat calibrate` has measured this machine, `speed=2.0` can be given instead of `tokens`.
"""


def _facts(manifest: Mapping[str, Any], parameters: int) -> str:
    rows = {
        "weights from": manifest["origin"] or "not recorded",
        "parameters": f"{parameters:,}",
        "reads at most": f"{manifest['max_length']} tokens",
        "classes": ", ".join(manifest["label_names"] or ()),
        "technique": _plain(manifest["technique"]),
    }
    return "## Facts\n\n" + _table(rows)


def _training(training: Mapping[str, Any]) -> str:
    if not training:
        return ""
    flat = {**training.get("settings", {}), **training}
    shown = {name: value for name, value in flat.items() if name not in (*_ELSEWHERE, "settings", "validation")}
    rows = {name.replace("_", " "): _plain(value) for name, value in shown.items() if value is not None}
    return "## Training\n\n" + _table(rows) + _validation(training.get("validation", []))


def _validation(history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return ""
    lines = [
        f"| {entry['epoch']} | {rate} | {values['loss']:.4f} | {values['accuracy']:.4f} |\n"
        for entry in history
        for rate, values in entry.items()
        if rate not in ("epoch", "step")
    ]
    return "\n| epoch | tokens | validation loss | validation accuracy |\n|---|---|---|---|\n" + "".join(lines)


def _notes(manifest: Mapping[str, Any]) -> str:
    return "## Notes\n\n" + "".join(f"- {note}\n" for note in manifest["notes"]) if manifest["notes"] else ""


def _table(rows: Mapping[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |\n" for name, value in rows.items() if value]
    return "| | |\n|---|---|\n" + "".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
