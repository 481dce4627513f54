from __future__ import annotations

import json

import pytest

from rheostat.core.errors import RheostatError
from rheostat.core.extras import require


def test_an_installed_module_is_returned():
    assert require("json", extra="train") is json


def test_a_missing_package_comes_with_the_command_that_installs_it():
    with pytest.raises(RheostatError) as caught:
        require("no_such_package.inner", extra="report")
    assert str(caught.value) == (
        "This needs the package 'no_such_package', which is not installed. Run: pip install 'rheostat[report]'"
    )
