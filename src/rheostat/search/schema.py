"""The JSON schema of scenario files, for editors: pydantic's, and what it cannot know."""

from __future__ import annotations

from typing import Any

from rheostat.core.metrics import METRICS
from rheostat.search.catalogue import catalogue

__all__ = ["completed"]


def completed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return pydantic's schema of a scenario with the known axes and metrics, and the short ways to write a part."""
    parts = dict(schema["properties"])
    value = {"type": ["string", "number", "boolean"]}
    values = {"anyOf": [value, {"type": "array", "items": value}]}
    axes = {name: {"description": source.what, **values} for name, source in catalogue().items()}
    parts["space"] = {**parts["space"], "properties": axes, "additionalProperties": values}
    parts["objectives"] = {**parts["objectives"], "items": {"type": "string", "examples": list(METRICS)}}
    for name in ("data", "workload"):
        described = parts[name].pop("description")
        parts[name] = {"description": described, "anyOf": [{"type": "string"}, parts[name]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "rheostat scenario",
        "description": str(schema["description"]).partition("\n")[0],
        "properties": parts,
    }
