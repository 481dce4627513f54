"""A run ends when nothing gets better, or when its time is used up; and stays ended when it is resumed."""

import json
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState

from rheostat.train.endings import AlreadyEndedError, Patience, TimeBudget


class Clock:
    """Stands still but for the steps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(budget: TimeBudget, clock: Clock, seconds: Any, most: int, state: TrainerState | None = None) -> TrainerState:
    state = state or TrainerState()
    state.max_steps = most
    control = TrainerControl()
    budget.on_train_begin(None, state, control)
    while not control.should_training_stop and state.global_step < most:
        budget.on_step_begin(None, state, control)
        clock.now += seconds(state.global_step)
        state.global_step += 1
        budget.on_step_end(None, state, control)
        clock.now += 100.0  # what is between steps does not count
    return state


def test_steps_fill_the_time() -> None:
    clock = Clock()
    state = run(TimeBudget(1.0, 0.1, clock), clock, lambda step: 0.5, most=10_000)
    assert state.global_step == 120


def test_steps_of_unlike_length_fill_the_time() -> None:
    for seconds in (
        lambda step: 3.0 if step == 0 else 0.1,
        lambda step: 0.1 + step / 10_000,
        lambda step: 0.1 if step < 300 else 1.0,
    ):
        clock = Clock()
        run(budget := TimeBudget(1.0, 0.1, clock), clock, seconds, most=10_000)
        assert budget.memory["seconds"] == pytest.approx(60.0, abs=0.6)


def test_epochs_stay_the_most() -> None:
    clock = Clock()
    state = run(TimeBudget(1.0, 0.1, clock), clock, lambda step: 0.5, most=30)
    assert state.global_step == state.max_steps == 30


def test_the_learning_rate_follows_the_time_used() -> None:
    budget = TimeBudget(1.0, 0.1, Clock())
    shares = []
    for seconds in (0.0, 3.0, 6.0, 33.0, 60.0, 61.0):
        budget.memory["seconds"] = seconds
        shares.append(budget.share_of_rate(10, 1000))
    assert shares == pytest.approx([0.1, 0.5, 1.0, 0.5, 0.0, 0.0])
    budget.memory["seconds"] = 6.0
    assert budget.share_of_rate(55, 100) == pytest.approx(0.5)  # the epochs end first
    assert TimeBudget(1.0, 0.0, Clock()).share_of_rate(0, 10) == 1.0


def test_a_resumed_run_has_the_time_that_is_left_and_an_ended_one_none() -> None:
    clock = Clock()
    budget = TimeBudget(1.0, 0.1, clock)
    state = run(budget, clock, lambda step: 0.5, most=50)
    kept = json.loads(json.dumps({"TimeBudget": budget.state()}))
    assert kept["TimeBudget"]["attributes"]["memory"] == {"seconds": 25.0}
    with pytest.raises(AlreadyEndedError):
        run(
            TimeBudget(1.0, 0.1, clock),
            clock,
            lambda step: 0.5,
            50,
            TrainerState(global_step=50, stateful_callbacks=kept),
        )
    resumed = TrainerState(global_step=50, stateful_callbacks=kept)
    state = run(TimeBudget(1.0, 0.1, clock), clock, lambda step: 0.5, 10_000, resumed)
    assert state.global_step == 120


def looks(*accuracies: float) -> TrainerState:
    history = [
        {"epoch": at, "step": at, "validation": {"1": {"accuracy": value, "loss": 0.0}}}
        for at, value in enumerate(accuracies, start=1)
    ]
    return TrainerState(log_history=[{"loss": 1.0}, *history])


@pytest.mark.parametrize(
    ("accuracies", "lost"),
    [((), False), ((0.5,), False), ((0.5, 0.4), False), ((0.5, 0.4, 0.5), True), ((0.5, 0.4, 0.6, 0.5), False)],
)
def test_patience_is_lost_without_a_better_look(accuracies: tuple[float, ...], lost: bool) -> None:
    state, control = looks(*accuracies), TrainerControl()
    Patience(2, "classification").on_epoch_end(None, state, control)
    assert control.should_training_stop == control.should_save == lost
    if lost:
        with pytest.raises(AlreadyEndedError):
            Patience(2, "classification").on_train_begin(None, state, control)
