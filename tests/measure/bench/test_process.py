"""What the measured process does is played here by a few lines of Python."""

from __future__ import annotations

import sys
import time

import pytest

from rheostat.measure.bench.process import MeasuredProcess, WorkError, resident_bytes

ECHO = """
import sys, json, time
print("noise", file=sys.stderr)
for line in sys.stdin:
    order = json.loads(line)
    {work}
    told = {{"error": order["error"]}} if "error" in order else {{}}
    print(json.dumps({{"said": order.get("word"), **told}}), flush=True)
"""


def process(work: str = "pass", memory_limit: int | None = None) -> MeasuredProcess:
    return MeasuredProcess(memory_limit, command=[sys.executable, "-S", "-c", ECHO.format(work=work)])


def test_orders_are_answered_in_turn() -> None:
    with process() as one:
        assert [one.ask("say", 10, word=word)["said"] for word in ("a", "b" * 300_000)] == ["a", "b" * 300_000]
        assert one.alive
    assert not one.alive


def test_a_failure_is_told_and_the_process_goes_on() -> None:
    with process() as one:
        with pytest.raises(WorkError, match="no such model") as caught:
            one.ask("say", 10, error={"status": "failed", "reason": "no such model"})
        assert caught.value.status == "failed"
        assert one.ask("say", 10, word="on")["said"] == "on"


def test_a_process_that_takes_too_long_is_ended() -> None:
    with process("time.sleep(60)") as one:
        start = time.monotonic()
        with pytest.raises(WorkError, match="longer than") as caught:
            one.ask("say", 0.5)
        assert caught.value.status == "timed-out"
        assert time.monotonic() - start < 20
        assert not one.alive


def test_a_process_that_takes_too_much_memory_is_ended() -> None:
    with process("held = bytearray(b'x') * (300 << 20); time.sleep(60)", memory_limit=150 << 20) as one:
        with pytest.raises(WorkError, match=r"0\.15 GiB were allowed") as caught:
            one.ask("say", 60)
        assert caught.value.status == "out-of-memory"
        assert not one.alive


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [
        ("import os; os.kill(os.getpid(), 9)", "out-of-memory", "the system killed it"),
        ("raise SystemExit(3)", "failed", "code 3"),
        ("raise ValueError('too many cooks')", "failed", "too many cooks"),
    ],
)
def test_a_process_that_ends_by_itself_is_a_result(work: str, status: str, words: str) -> None:
    with process(work) as one:
        with pytest.raises(WorkError, match=words) as caught:
            one.ask("say", 10)
        assert caught.value.status == status
        with pytest.raises(WorkError):
            one.ask("say", 10)


def test_resident_memory_of_a_process_that_is_gone() -> None:
    assert resident_bytes(2**22 + 1) is None
