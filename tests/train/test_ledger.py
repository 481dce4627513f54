"""Losses are kept by region of the dial, and go on after a checkpoint."""

import json

import pytest
from transformers import TrainerControl, TrainerState

from rheostat.train.ledger import LossLedger, region


@pytest.mark.parametrize(
    ("rate", "name"),
    [(0.01, "0-0.1"), (0.0999, "0-0.1"), (0.1, "0.1-0.3"), (0.3, "0.3-0.6"), (0.6, "0.6-1"), (1.0, "0.6-1")],
)
def test_a_rate_is_in_one_region(rate: float, name: str) -> None:
    assert region(rate) == name


def step(ledger: LossLedger, *entries: tuple[float, float, float]) -> None:
    ledger.on_step_begin(None, TrainerState(), TrainerControl())
    for entry in entries:
        ledger.add(*entry)
    ledger.on_step_end(None, TrainerState(), TrainerControl())


def test_a_step_of_several_batches_is_one_loss() -> None:
    ledger = LossLedger()
    step(ledger, (0.5, 4.0, 0.25), (0.5, 2.0, 0.75))
    step(ledger, (0.9, 1.0, 1.0))
    assert ledger.take() == {"loss": 1.75, "loss_at_0.3-0.6": 2.5, "loss_at_0.6-1": 1.0}
    assert "loss" not in ledger.take()
    assert ledger.by_region() == {"0.3-0.6": {"loss": 2.5, "steps": 1}, "0.6-1": {"loss": 1.0, "steps": 1}}


def test_settings_of_one_step_are_told_apart() -> None:
    ledger = LossLedger()
    step(ledger, (1.0, 1.0, 1.0), (0.05, 3.0, 1.0))
    assert ledger.take() == {"loss": 2.0, "loss_at_0-0.1": 3.0, "loss_at_0.6-1": 1.0}


def test_the_running_mean_forgets() -> None:
    ledger = LossLedger()
    for loss in [10.0] * 100 + [2.0] * 100:
        step(ledger, (1.0, loss, 1.0))
    assert ledger.by_region()["0.6-1"]["loss"] == pytest.approx(2.0, abs=0.1)
    assert ledger.take()["loss"] == pytest.approx(6.0)


def test_what_was_entered_goes_on_after_a_checkpoint() -> None:
    whole, first, second = LossLedger(), LossLedger(), LossLedger()
    losses = [0.1 * n + 1 / 3 for n in range(7)]
    for at, loss in enumerate(losses):
        step(whole, (0.2, loss, 1.0))
        step(first if at < 4 else second, (0.2, loss, 1.0))
        if at == 3:
            kept = json.loads(json.dumps({"LossLedger": first.state()}))
            second.on_train_begin(None, TrainerState(global_step=4, stateful_callbacks=kept), TrainerControl())
    assert whole.take() == second.take()


def test_a_new_run_starts_afresh() -> None:
    ledger = LossLedger()
    step(ledger, (0.2, 1.0, 1.0))
    ledger.on_train_begin(None, TrainerState(), TrainerControl())
    assert ledger.take() == {}
