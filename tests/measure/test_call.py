from __future__ import annotations

import subprocess
import sys

import pytest

import rheostat
import rheostat.measure.timing
from rheostat.core.errors import SettingError


def test_the_layer_can_be_called_whatever_was_imported_before() -> None:
    with pytest.raises(SettingError, match="A workload is one of"):
        rheostat.measure("nowhere", "cook")


def test_it_is_still_a_package() -> None:
    assert rheostat.measure.timing.__name__ == "rheostat.measure.timing"


def test_a_fresh_interpreter_finds_it() -> None:
    program = "import rheostat; assert callable(rheostat.measure); import sys; assert 'torch' not in sys.modules"
    paths = ":".join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": paths})
