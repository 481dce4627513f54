from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.core.errors import RheostatError, SettingError
from rheostat.measure.bench.plan import Model, configurations, identify, plain_of
from rheostat.testing import tiny_model
from tests.measure.conftest import make_classifier


def test_a_grid_starts_with_the_plain_model_and_has_nothing_twice() -> None:
    found = configurations({"floor": 3}, {"tokens": [0.5, 1, 1.0], "scorer": ["attention", "mean"]})
    assert found[0] == {"floor": 3, "tokens": 0.5, "scorer": "attention"}
    assert len(found) == 4
    assert configurations({}, {"tokens": [0.5, 1]})[0] == {"tokens": 1.0}


def test_depth_is_plain_at_the_number_of_blocks(tmp_path: Path) -> None:
    assert plain_of({"depth": 2.0, "tokens": 0.5}) == {"tokens": 1.0}
    tiny_model("distilbert").save_pretrained(tmp_path)
    blocks = identify(str(tmp_path)).blocks
    assert blocks == 4
    assert plain_of({"depth": 2.0, "tokens": 0.5}, blocks) == {"depth": 4.0, "tokens": 1.0}


def test_without_a_grid_there_is_one() -> None:
    assert configurations({"tokens": 0.5}) == [{"tokens": 0.5}]


@pytest.mark.parametrize(
    ("grid", "words"), [({"tokns": [1.0]}, "tokens"), ({"tokens": [0.0]}, r"\(0, 1\]"), ({"tokens": ["a"]}, "number")]
)
def test_a_grid_with_a_mistake_is_refused(grid: dict[str, list[object]], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        configurations({}, grid)


def test_a_folder_is_known_by_its_weights(tmp_path: Path) -> None:
    model = make_classifier()
    model.save_pretrained(tmp_path / "a")
    first = identify(str(tmp_path / "a"))
    assert first.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert first.disk == (tmp_path / "a" / "model.safetensors").stat().st_size
    assert first.trained
    with_other = make_classifier()
    next(with_other.parameters()).data[0, 0] += 1.0
    with_other.save_pretrained(tmp_path / "b")
    assert identify(str(tmp_path / "b")).facts["sha256"] != first.facts["sha256"]
    assert identify(str(tmp_path / "a")).facts == first.facts


def test_a_model_that_is_too_large_is_refused_with_by_how_much() -> None:
    model = Model("big", {}, parameters=2**30, disk=None, trained=True)
    shortage = model.shortage(3 * 2**30)
    assert shortage is not None
    assert "4.00 GiB as float32, 1.00 GiB more than the 3.00 GiB allowed" in shortage
    assert model.shortage(4 * 2**30) is None
    assert model.shortage(None) is None


def test_a_missing_model_is_named() -> None:
    with pytest.raises(RheostatError, match="no-such-folder"):
        identify("./no-such-folder")


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    make_classifier().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x00\x01")
    with pytest.raises(RheostatError, match="model.safetensors"):
        identify(str(tmp_path))
