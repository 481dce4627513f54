"""Rows leave a classifier at their own depth, with the answer of that depth."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule, calibrated_rule
from rheostat.models.families import Family, families, locate
from rheostat.techniques import attach
from rheostat.techniques.row_exits import classify_with_exits, exit_scores, similarity
from rheostat.testing import tiny_model

LENGTHS = (23, 9, 17, 5, 14, 20, 11, 7)
DEPTHS = [1, 2, 3]


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else str(value)


def batch(rows: Any = range(8), side: str = "right") -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 97, (8, 23), generator=torch.Generator().manual_seed(2))
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, slice(23 - length, 23) if side == "left" else slice(0, length)] = 1
    chosen = list(rows)
    ids, mask = (ids * mask)[chosen], mask[chosen]
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def subject(model_type: str = "bert") -> tuple[Any, Any]:
    model = tiny_model(model_type, AutoModelForSequenceClassification, num_labels=3)
    # Its plain attention gives NaN in float64.
    model = model if model_type == "gemma2" else model.double()
    return model, attach(model, "tokens", "depth")


def inputs_of(model_type: str, side: str = "right") -> dict[str, torch.Tensor]:
    inputs = batch(side=side)
    if model_type == "distilbert":
        del inputs["position_ids"]
    return inputs


def middling(handle: Any, criterion: Any, inputs: dict[str, torch.Tensor]) -> ExitRule:
    """A rule under which some rows leave at every depth."""
    scores = exit_scores(handle, DEPTHS, criterion, **inputs).tolist()
    return calibrated_rule(scores, DEPTHS, blocks=4, target=2.4, criterion=criterion)


@pytest.mark.parametrize("criterion", ["confidence", "similarity"])
@pytest.mark.parametrize("tokens", [1.0, 0.5])
@pytest.mark.parametrize("family", families(), ids=label)
def test_each_row_has_the_answer_of_its_depth(family: Family, tokens: float, criterion: Any) -> None:
    model, handle = subject(family.model_type)
    # An encoder is classified by its first column, which no text is padded at.
    for side in ("right", "left") if family.kind == "decoder" else ("right",):
        inputs = inputs_of(family.model_type, side)
        with handle.at(tokens=tokens):
            exited = classify_with_exits(handle, middling(handle, criterion, inputs), **inputs)
            assert len(set(exited.depths.tolist())) >= 3
            for depth in range(1, 5):
                with torch.no_grad(), handle.at(depth=depth):
                    expected = model(**inputs).logits
                rows = exited.depths == depth
                torch.testing.assert_close(exited.logits[rows], expected[rows], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("criterion", ["confidence", "similarity"])
def test_a_row_does_not_depend_on_its_neighbours(criterion: Any) -> None:
    _, handle = subject("modernbert")
    for tokens in (1.0, 0.5):
        with handle.at(tokens=tokens):
            rule = middling(handle, criterion, batch())
            # Thresholds are scores of rows themselves, where rounding decides: they are moved off.
            rule = ExitRule({depth: value - 1e-6 for depth, value in rule.thresholds.items()}, criterion)
            together = classify_with_exits(handle, rule, **batch())
            for row in range(8):
                alone = classify_with_exits(handle, rule, **batch([row]))
                assert alone.depths[0] == together.depths[row]
                torch.testing.assert_close(alone.logits[0], together.logits[row], atol=1e-6, rtol=1e-6)


def test_decisions_follow_from_recorded_states_and_answers() -> None:
    model, handle = subject()
    inputs, offline = batch(), {"confidence": [], "similarity": []}
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
        for depth in DEPTHS:
            with handle.at(depth=depth):
                offline["confidence"].append(model(**inputs).logits.softmax(-1).amax(-1))
            real = [inputs["attention_mask"][row].bool() for row in range(8)]
            before, after = states[depth - 1], states[depth]
            offline["similarity"].append(
                torch.stack(
                    [
                        functional.cosine_similarity(before[row, at].flatten(), after[row, at].flatten(), dim=0)
                        for row, at in enumerate(real)
                    ]
                )
            )
    for criterion, scores in offline.items():
        rule = middling(handle, criterion, inputs)
        rule = ExitRule({depth: value - 1e-6 for depth, value in rule.thresholds.items()}, criterion)  # type: ignore[arg-type]
        found = classify_with_exits(handle, rule, **inputs).depths.tolist()
        assert found == [rule.depth(row, blocks=4) for row in torch.stack(scores, 1).tolist()]


@pytest.mark.parametrize("criterion", ["confidence", "similarity"])
def test_above_one_nobody_leaves_and_the_model_is_the_whole_one(criterion: Any) -> None:
    model, handle = subject()
    exited = classify_with_exits(handle, ExitRule(dict.fromkeys(DEPTHS, 1.01), criterion), **batch())
    assert exited.depths.tolist() == [4] * 8
    with torch.no_grad():
        assert torch.equal(exited.logits, model(**batch()).logits)
    first = classify_with_exits(handle, ExitRule(dict.fromkeys(DEPTHS, -1.0), criterion), **batch())
    assert first.mean_depth == 1.0


def test_blocks_run_for_the_rows_that_stay_only_and_for_the_columns_they_need() -> None:
    model, handle = subject()
    shapes: list[tuple[int, ...]] = []
    rule = middling(handle, "confidence", batch())
    for block in locate(model).blocks:
        block.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape[:2])))
    depths = classify_with_exits(handle, rule, **batch()).depths
    expected = []
    for block in range(4):
        there = [row for row in range(8) if depths[row] > block]
        expected.append((len(there), max(LENGTHS[row] for row in there)))
    assert shapes == expected
    assert len(set(shapes)) > 2


def test_protected_positions_go_with_their_rows() -> None:
    _, handle = subject()
    protect = torch.zeros((8, 23), dtype=torch.bool)
    protect[:, 2:8] = True
    with handle.at(tokens=0.3, protect=protect):
        exited = classify_with_exits(handle, middling(handle, "confidence", batch()), **batch())
        row = int(exited.depths.argmax())
        with handle.at(protect=protect[row : row + 1]):
            alone = classify_with_exits(handle, ExitRule({1: 2.0}), **batch([row]))
    torch.testing.assert_close(alone.logits[0], exited.logits[row], atol=1e-6, rtol=1e-6)


def test_similarity_is_one_where_nothing_changes() -> None:
    states = torch.randn(2, 5, 8)
    torch.testing.assert_close(similarity(states, states * 3, None), torch.ones(2))
    torch.testing.assert_close(similarity(states, -states, torch.ones(2, 5)), -torch.ones(2))


def test_what_does_not_classify_rows_is_refused() -> None:
    handle = attach(tiny_model("bert", AutoModelForTokenClassification), "depth")
    with pytest.raises(SettingError, match="Rows leave a model that classifies them"):
        classify_with_exits(handle, ExitRule({1: 0.5}), **batch())
    with pytest.raises(SettingError, match=r"A depth lies in \[1, 4\]"):
        classify_with_exits(handle, ExitRule({5: 0.5}), **batch())
