from collections.abc import Mapping

import pytest

from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.search.cluster.queue import Queue, Ticket
from rheostat.search.evaluator import Request


def recipe(configuration: Mapping[str, Value]) -> Mapping[str, Value]:
    return {"recipe": configuration["recipe"]}


def request(recipe: str, tokens: float = 1.0, fidelity: float = 1.0) -> Request:
    return Request({"recipe": recipe, "tokens": tokens}, fidelity)


def result(request: Request, status: str = "ok") -> Measurement:
    return Measurement({}, dict(request.configuration), {"fidelity": request.fidelity}, {}, status)


def asked(tickets: list[Ticket]) -> list[tuple[Value, Value]]:
    return [tuple(ticket.request.configuration.values()) for ticket in tickets]


def test_one_training_goes_to_one_worker_as_a_whole():
    queue = Queue(recipe)
    queue.add([request("a"), request("b"), request("a", 0.5)])
    assert asked(queue.take("one", 2)) == [("a", 1.0), ("a", 0.5)]
    assert asked(queue.take("two", 2)) == [("b", 1.0)]
    assert not queue.empty


def test_a_training_stays_with_its_worker():
    queue = Queue(recipe)
    queue.add([request("a")])
    (ticket,) = queue.take("one", 2)
    queue.finish("one", result(ticket.request))
    assert queue.empty
    queue.add([request("a", 0.5)])
    assert queue.take("two", 2) == []
    assert asked(queue.take("one", 2)) == [("a", 0.5)]


def test_part_of_a_training_is_another_training():
    queue = Queue(recipe)
    queue.add([request("a"), request("a", fidelity=0.25)])
    assert len(queue.take("one", 2)) == 1
    assert len(queue.take("two", 2)) == 1


def test_what_is_made_and_shared_is_run_by_all():
    queue = Queue(recipe, shared=True)
    queue.add([request("a", tokens) for tokens in (1.0, 0.9, 0.8, 0.7)])
    first = queue.take("one", 2)
    assert asked(first) == [("a", 1.0), ("a", 0.9)]
    assert queue.take("two", 2) == []
    queue.finish("one", result(first[0].request))
    assert asked(queue.take("two", 2)) == [("a", 0.8)]


def test_a_training_that_failed_is_not_made():
    queue = Queue(recipe, shared=True)
    queue.add([request("a"), request("a", 0.5)])
    (ticket,) = queue.take("one", 2)
    queue.finish("one", result(ticket.request, "out-of-memory"))
    assert queue.take("two", 2) == []
    assert asked(queue.take("one", 2)) == [("a", 0.5)]


def test_what_a_lost_worker_had_goes_to_another_one_by_one():
    queue = Queue(recipe)
    queue.add([request("a"), request("a", 0.5), request("b")])
    first, _ = queue.take("one", 2)
    queue.finish("one", result(first.request))
    assert queue.lose("one") == []
    assert asked(queue.take("two", 1)) == [("a", 0.5)]
    assert asked(queue.take("two", 1)) == [("b", 1.0)]


def test_only_what_loses_workers_is_given_up():
    queue = Queue(recipe, most_losses=2)
    queue.add([request("a"), request("a", 0.5)])
    queue.take("one", 1)
    assert queue.lose("one") == []
    assert asked(queue.take("two", 1)) == [("a", 1.0)]
    assert asked(queue.lose("two")) == [("a", 1.0)]
    (innocent,) = queue.take("three", 1)
    assert queue.finish("three", result(innocent.request))
    assert queue.empty


def test_a_lost_training_is_made_again_where_files_are_not_shared():
    queue = Queue(recipe)
    queue.add([request("a"), request("a", 0.5)])
    first, second = queue.take("one", 2)
    queue.finish("one", result(first.request))
    queue.lose("one")
    assert queue.owner(first.training) is None
    assert queue.take("two", 1) == [second]
    assert queue.owner(first.training) == "two"


def test_a_result_that_nobody_waits_for_is_told():
    queue = Queue(recipe)
    queue.add([request("a")])
    queue.take("one", 1)
    assert not queue.finish("one", result(request("a", 0.5)))
    assert not queue.finish("one", result(request("a", fidelity=0.5)))
    assert queue.finish("one", result(request("a", 1)))
    assert not queue.finish("one", result(request("a")))


def test_the_same_request_twice_is_measured_twice():
    queue = Queue(recipe)
    queue.add([request("a"), request("a")])
    assert len(queue.take("one", 1)) == 2
    assert queue.finish("one", result(request("a")))
    assert queue.finish("one", result(request("a")))
    assert queue.empty


@pytest.mark.parametrize("shared", [True, False])
def test_a_training_made_by_asking_for_its_bundle_has_an_owner(shared: bool):
    queue = Queue(recipe, shared=shared)
    queue.own(queue.key({"recipe": "a", "tokens": 0.5}), "one")
    queue.add([request("a")])
    assert bool(queue.take("two", 2)) is shared


def test_what_is_dropped_is_gone():
    queue = Queue(recipe)
    queue.add([request("a"), request("b")])
    queue.take("one", 1)
    assert len(queue.clear()) == 2
    assert queue.empty
    assert queue.leave("one") == []
