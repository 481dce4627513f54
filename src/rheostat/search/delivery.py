"""Bundles of configurations that a search measured: the trained weights, the configuration, and its evidence."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import BundleError
from rheostat.core.files import replace_folder
from rheostat.core.measurement import Measurement, write_measurements
from rheostat.core.metrics import Metric
from rheostat.core.quantities import configuration_words, quantity_text
from rheostat.core.result import Finding
from rheostat.core.space import Space

__all__ = ["deliver", "is_there"]

_MANIFEST: Final = "bundle.json"
_CARD: Final = "README.md"
_UNCONFIRMED = "It was not measured again after it was chosen: an earlier measurement says that it keeps the limits."


def deliver(
    source: Path,
    target: Path,
    space: Space,
    finding: Finding,
    measurements: Sequence[Measurement],
    *,
    linked: bool = True,
) -> Path:
    """Write the bundle of a configuration: whoever loads it runs that configuration.

    There is a whole bundle under that name at every moment, where the file system can do that.

    Args:
        source: The trained bundle that the configuration runs.
        target: The new bundle's folder; a bundle that is there is replaced.
        space: Tells which part of the configuration belongs to the model, and which to its deployment.
        finding: The configuration and what is known of it.
        measurements: Its measurements, for the record.
        linked: Whether files may be shared with ``source``, which saves their space on disk: neither is ever changed
            in place. A bundle that people get for themselves is a copy.

    Returns:
        ``target``.

    Raises:
        BundleError: If the source is no bundle, the target holds something else, or it cannot be written.
    """
    if target.exists() and not (target / _MANIFEST).exists() and (not target.is_dir() or any(target.iterdir())):
        raise BundleError(
            "A bundle is written to a new folder, an empty one, or over another bundle.",
            given=str(target),
            mend="Choose another folder.",
        )
    temporary: Path | None = None
    try:
        manifest = json.loads((source / _MANIFEST).read_bytes())
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new-"))
        _copy(source, temporary, linked=linked)
        _describe(temporary, manifest, space, finding)
        write_measurements(temporary, measurements)
        temporary.chmod(0o755)
        replace_folder(temporary, target)
    except (OSError, ValueError) as error:
        raise BundleError(
            "A bundle is written from a trained one, to a folder with free space; what was there before was kept.",
            given=f"{source} to {target} ({error})",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def is_there(target: Path, finding: Finding) -> bool:
    """Whether a folder holds the bundle of a configuration, with what is known of it now."""
    try:
        manifest = json.loads((target / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(manifest.get("optimised") == _optimised(finding))


def _copy(source: Path, target: Path, *, linked: bool) -> None:
    shutil.copytree(
        source,
        target,
        copy_function=_link if linked else shutil.copy2,
        # Checkpoints are for going on with the training.
        ignore=shutil.ignore_patterns(".*"),
        dirs_exist_ok=True,
    )
    # What is written below must not be written into the other's files.
    for name in (_MANIFEST, _CARD):
        (target / name).unlink(missing_ok=True)
    if (source / _CARD).exists():
        shutil.copyfile(source / _CARD, target / _CARD)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _describe(folder: Path, manifest: Mapping[str, Any], space: Space, finding: Finding) -> None:
    configuration = dict(finding.configuration)
    deployment = space.part(configuration, ("deployment",))
    parts = {"configuration": space.part(configuration, ("inference",)), "deployment": deployment}
    note = "" if finding.confirmed else _UNCONFIRMED
    notes = [*manifest.get("notes", []), *([note] if note else [])]
    content = {**manifest, **parts, "notes": notes, "optimised": _optimised(finding)}
    (folder / _MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / _CARD).open("a", encoding="utf-8") as card:
        card.write(_card(finding, deployment, note))


def _optimised(finding: Finding) -> dict[str, Any]:
    return {"trial": finding.number, "confirmed": finding.confirmed, "configuration": dict(finding.configuration)}


def _card(finding: Finding, deployment: Mapping[str, Any], note: str) -> str:
    rows = "".join(
        f"| {name} | {_said(name, metric)} |\n" for name, metric in finding.metrics.items() if metric.value is not None
    )
    run = f" Run it with {configuration_words(deployment)}." if deployment else ""
    return (
        "\n## Configuration\n\n"
        f"Chosen by `rheostat optimize` (trial {finding.number}) and in force when it is loaded: "
        f"`{configuration_words(finding.configuration)}`.{run} {note}\n\n"
        f"| metric | measured |\n|---|---|\n{rows}"
    )


def _said(name: str, metric: Metric) -> str:
    value = "" if metric.value is None else quantity_text(name, metric.value)
    if metric.low is not None and metric.high is not None:
        value += f" ({quantity_text(name, metric.low)} to {quantity_text(name, metric.high)})"
    return value + ("" if metric.provenance == "counter" else f", {metric.provenance}")
