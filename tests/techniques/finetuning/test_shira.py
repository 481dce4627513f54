"""Sparse adapters as files, and switching them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

from rheostat.core.errors import BundleError, SettingError
from rheostat.models.sparse import Entries, read_entries
from rheostat.techniques.finetuning.shira import FILE, SparseAdapter, SparseSwitch
from rheostat.testing import tiny_model

NAMES = ("bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.1.output.dense.weight")


def make() -> Any:
    return tiny_model("bert", AutoModelForSequenceClassification)


def adapter(model: Any, seed: int = 0, *, head: bool = False) -> SparseAdapter:
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters())
    matrices = {}
    for name in NAMES:
        weight = parameters[name]
        indices = torch.randperm(weight.numel(), generator=generator)[:20].sort().values
        values = torch.randn(20, generator=generator)
        matrices[name] = Entries(indices, values, tuple(weight.shape), Entries.digest(read_entries(weight, indices)))
    bias = {"classifier.bias": torch.randn(2, generator=generator)} if head else {}
    return SparseAdapter(matrices, bias, {"mask": "random"})


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def expected(model: Any, given: dict[str, tuple[SparseAdapter, float]]) -> dict[str, torch.Tensor]:
    """A dense reference: W + alpha * S."""
    found = state(model)
    for each, strength in given.values():
        for name, entries in each.matrices.items():
            dense = torch.zeros(found[name].numel()).index_put((entries.indices,), entries.values)
            found[name] += strength * dense.view_as(found[name])
        found |= {name: tensor.clone() for name, tensor in each.whole.items()}
    return found


def close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=1e-6)


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def test_a_file_holds_values_indices_and_a_header(tmp_path: Path) -> None:
    model = make()
    one = adapter(model, head=True)
    one.save(tmp_path / FILE)
    again = SparseAdapter.load(tmp_path)
    assert again.about == {"mask": "random"}
    assert again.share == one.share == 40 / (32 * 32 + 32 * 48)
    for name in NAMES:
        assert torch.equal(again.matrices[name].indices, one.matrices[name].indices)
        assert torch.equal(again.matrices[name].values, one.matrices[name].values)
    assert torch.equal(again.whole["classifier.bias"], one.whole["classifier.bias"])
    with safe_open(tmp_path / FILE, framework="pt") as file:
        assert file.get_tensor(f"indices.{NAMES[0]}").dtype == torch.int32
        assert json.loads(file.metadata()["rheostat_shira"])["version"] == 1


@pytest.mark.parametrize("strength", [0.25, 1.0, 2.0])
def test_strength_scales_the_change_and_off_is_bit_identical(strength: float) -> None:
    model = make()
    before, one = state(model), adapter(model, head=True)
    wanted = expected(model, {"one": (one, strength)})
    switch = SparseSwitch(model)
    switch.add("one", one)
    assert same(before, state(model))
    switch.use(one=strength)
    close(wanted, state(model))
    assert switch.active == {"one": strength}
    switch.off()
    assert same(before, state(model))
    switch.use(one=0)
    assert switch.active == {}
    assert same(before, state(model))


def test_switching_between_several_leaves_nothing_behind() -> None:
    model = make()
    before = state(model)
    three = {name: adapter(model, seed) for seed, name in enumerate("abc")}
    alone = {name: expected(model, {name: (each, 1.0)}) for name, each in three.items()}
    switch = SparseSwitch(model)
    for name, each in three.items():
        switch.add(name, each)
    for name in "abcabcca":
        switch.use(**{name: 1.0})
        close(alone[name], state(model))
    switch.off()
    assert same(before, state(model))
    together = expected(model, {"a": (three["a"], 1.0), "b": (three["b"], 0.5), "c": (three["c"], 2.0)})
    switch.use(a=1.0, b=0.5, c=2.0)
    close(together, state(model))
    switch.off()
    assert same(before, state(model))


def test_masks_that_overlap_add_up_and_come_off() -> None:
    model = make()
    before, one = state(model), adapter(model)
    switch = SparseSwitch(model)
    switch.add("one", one)
    switch.add("other", SparseAdapter(one.matrices))
    wanted = expected(model, {"one": (one, 3.0)})
    switch.use(one=1.0, other=2.0)
    close(wanted, state(model))
    switch.off()
    assert same(before, state(model))


def test_an_adapter_can_be_added_and_removed_while_another_is_on() -> None:
    model = make()
    before, one, two = state(model), adapter(model), adapter(model, 1)
    overlapping = SparseAdapter(one.matrices)
    switch = SparseSwitch(model)
    switch.add("one", one)
    switch.use(one=1.0)
    on = state(model)
    switch.add("two", two)
    switch.add("overlapping", overlapping)
    assert same(on, state(model))
    switch.use(one=1.0, two=1.0)
    switch.remove("two")
    assert same(on, state(model))
    assert switch.names == ("one", "overlapping")
    switch.remove("one")
    assert same(before, state(model))


def test_at_goes_back_also_after_an_error() -> None:
    model = make()
    switch = SparseSwitch(model)
    switch.add("one", adapter(model))
    switch.add("two", adapter(model, 1))
    switch.use(one=0.5)
    before = state(model)

    def fail() -> None:
        with switch.at(two=1.0):
            assert switch.active == {"two": 1.0}
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert switch.active == {"one": 0.5}
    assert same(before, state(model))


def test_what_does_not_fit_is_refused() -> None:
    model = make()
    one = adapter(model, head=True)
    switch = SparseSwitch(model)
    switch.add("one", one)
    switch.add("two", adapter(model, 1, head=True))
    for strengths, text in [
        ({"on": 1.0}, "added before they are used. Given: 'on'. Did you mean 'one'"),
        ({"one": -1.0}, "a number from 0. Given: one=-1.0"),
        ({"one": float("inf")}, "a number from 0"),
        ({"one": True}, "a number from 0"),
        ({"one": 1.0, "two": 1.0}, "do not replace the same head. Given: one and two both replace classifier.bias"),
    ]:
        before = state(model)
        with pytest.raises(SettingError, match=text):
            switch.use(**strengths)
        assert same(before, state(model))
    with pytest.raises(SettingError, match="names of their own"):
        switch.add("one", one)
    three = tiny_model("bert", AutoModelForSequenceClassification, num_labels=3)
    with pytest.raises(SettingError, match=r"classifier.bias is \(2,\) in the adapter and \(3,\) in the model"):
        SparseSwitch(three).add("one", one)
    with pytest.raises(SettingError, match="and not there in the model"):
        SparseSwitch(tiny_model("llama", AutoModelForSequenceClassification)).add("one", one)
    with pytest.raises(SettingError, match="holds other numbers where the adapter changes it"):
        SparseSwitch(tiny_model("bert", AutoModelForSequenceClassification, seed=1)).add("one", one)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    one = adapter(make())
    path = tmp_path / FILE
    with pytest.raises(BundleError, match="a safetensors file that rheostat wrote"):
        SparseAdapter.load(tmp_path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(BundleError, match="a safetensors file that rheostat wrote"):
        SparseAdapter.load(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(BundleError, match="a safetensors file that rheostat wrote"):
        SparseAdapter.load(path)
    one.save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'\\"version\\": 1', b'\\"version\\": 2'))
    with pytest.raises(BundleError, match="version 1.*has version 2"):
        SparseAdapter.load(path)
    path.write_bytes(content[:-8])
    with pytest.raises(BundleError, match="rheostat wrote"):
        SparseAdapter.load(path)


@pytest.mark.parametrize("indices", [[0, 0], [1, 0], [-1, 0], [0, 6], [0]])
def test_indices_are_increasing_and_inside(indices: list[int]) -> None:
    with pytest.raises(BundleError, match="increasing indices inside the matrix"):
        Entries(torch.tensor(indices), torch.zeros(2), (2, 3), "")
