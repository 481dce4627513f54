"""What is trained: defaults, plain data, and contradictions."""

import json
from typing import Any, get_args

import pytest

from rheostat.core.errors import SettingError
from rheostat.train.adapters.trainable import Kind, Trainable


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("full", {}),
        ("frozen", {}),
        ("lora", {"rank": 8, "alpha": 16.0, "dropout": 0.05}),
        ("rslora", {"rank": 8, "alpha": 16.0, "dropout": 0.05}),
        ("dora", {"rank": 8, "alpha": 16.0, "dropout": 0.05}),
        ("qlora", {"rank": 8, "alpha": 16.0, "dropout": 0.05}),
        ("shira", {"share": 0.02, "mask": "snip"}),
        ("last-k", {"blocks": 1}),
    ],
)
def test_each_kind_has_its_own_settings_and_no_others(kind: Any, said: dict[str, Any]) -> None:
    assert Trainable(kind).to_json() == {"kind": kind, **said}


def test_every_kind_reads_and_writes_plain_data() -> None:
    for kind in get_args(Kind):
        made = Trainable(kind)
        assert Trainable.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert Trainable.from_json({}) == Trainable("full")


def test_alpha_follows_the_rank_unless_it_is_scaled_by_its_root() -> None:
    assert Trainable("lora", rank=32).alpha == 64
    assert Trainable("rslora", rank=32).alpha == 16
    assert Trainable("lora", rank=32, alpha=5).alpha == 5


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"kind": "loar"}, "kind is one of its options.*Did you mean 'lora'"),
        ({"rank": 8}, "'rank' belongs to lora, rslora, dora, qlora. Given: rank=8 with kind='full'"),
        ({"kind": "shira", "rank": 8}, "'rank' belongs to lora"),
        ({"kind": "lora", "share": 0.01}, "'share' belongs to shira.*choose kind='shira'"),
        ({"kind": "frozen", "blocks": 1}, "'blocks' belongs to last-k"),
        ({"kind": "last-k", "mask": "snip"}, "'mask' belongs to shira"),
        ({"kind": "shira", "alpha": 2.0}, "'alpha' belongs to lora"),
        ({"kind": "lora", "rank": 0}, "rank is a whole number from 1. Given: 0"),
        ({"kind": "lora", "rank": "8"}, "rank is a whole number from 1. Given: '8'"),
        ({"kind": "lora", "rank": True}, "rank is a whole number"),
        ({"kind": "lora", "alpha": 0}, "alpha is a number above 0"),
        ({"kind": "lora", "alpha": float("nan")}, "alpha is a number above 0"),
        ({"kind": "lora", "dropout": 1.0}, "dropout is a number from 0 and below 1"),
        ({"kind": "shira", "share": 0.021}, "share is a number above 0 and at most 0.02. Given: 0.021"),
        ({"kind": "shira", "share": 0}, "share is a number above 0"),
        ({"kind": "shira", "mask": "gradients"}, "mask is one of its options.*Did you mean 'gradient'"),
        ({"kind": "last-k", "blocks": 0}, "blocks is a whole number from 1"),
        ({"kind": "lora", "ranks": 8}, "settings that are known. Given: 'ranks'. Did you mean 'rank'"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError, match=text):
        Trainable.from_json(given)
