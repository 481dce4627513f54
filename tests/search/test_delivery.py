from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.core.errors import BundleError
from rheostat.core.files import replace_folder
from rheostat.core.metrics import Metric
from rheostat.core.result import Finding
from rheostat.search.delivery import deliver, is_there
from tests.search.synthetic import SPACE, Synthetic

FINDING = Finding(4, SPACE.canonical({"tokens": 0.5, "threads": 1}), {"latency_p95": Metric(0.01, "s", 0.009, 0.011)})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Synthetic(tmp_path / "trained").bundle(SPACE.default)


def test_a_bundle_says_what_it_runs(tmp_path: Path, source: Path) -> None:
    made = deliver(source, tmp_path / "out", SPACE, FINDING, [])
    manifest = json.loads((made / "bundle.json").read_text())

    assert manifest["configuration"] == {"tokens": 0.5, "depth": 6, "precision": "fp32"}
    assert manifest["deployment"] == {"threads": 1}
    assert "10 ms (9 ms to 11 ms)" in (made / "README.md").read_text()
    assert is_there(made, FINDING)
    assert not is_there(made, replace(FINDING, number=5))
    assert not is_there(tmp_path / "nothing", FINDING)


def test_the_source_is_not_changed(tmp_path: Path, source: Path) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    deliver(source, tmp_path / "out", SPACE, FINDING, [])

    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_what_people_get_is_a_copy(tmp_path: Path, source: Path) -> None:
    shared = deliver(source, tmp_path / "shared", SPACE, FINDING, [])
    copied = deliver(source, tmp_path / "copied", SPACE, FINDING, [], linked=False)

    assert (shared / "model.safetensors").samefile(source / "model.safetensors")
    assert not (copied / "model.safetensors").samefile(source / "model.safetensors")


def test_something_else_is_not_replaced(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()

    with pytest.raises(BundleError, match="Choose another folder"):
        deliver(source, tmp_path / "out", SPACE, FINDING, [])


def test_a_source_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="what was there before was kept"):
        deliver(tmp_path / "nothing", tmp_path / "out", SPACE, FINDING, [])
    assert not list(tmp_path.iterdir())


def test_there_is_a_whole_folder_at_every_moment(tmp_path: Path) -> None:
    target, stop, missing = tmp_path / "target", threading.Event(), []

    def make(content: str) -> Path:
        made = tmp_path / f"new-{content}"
        made.mkdir()
        (made / "file").write_text(content)
        return made

    replace_folder(make("0"), target)

    def look() -> None:
        while not stop.is_set():
            if not (target / "file").exists():
                missing.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(1, 200):
        replace_folder(make(str(number)), target)
    stop.set()
    watcher.join()

    assert (target / "file").read_text() == "199"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert not missing


def test_without_an_exchange_the_old_one_steps_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rheostat.core.files._exchanged", lambda *paths: False)
    for content in ("old", "new"):
        made = tmp_path / content
        made.mkdir()
        (made / "file").write_text(content)
        replace_folder(made, tmp_path / "target")

    assert (tmp_path / "target" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
