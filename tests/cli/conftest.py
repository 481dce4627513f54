from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rheostat.cli import app, heavy
from rheostat.core.dial import Dial
from rheostat.core.errors import BundleError
from rheostat.core.profile import Point, Profile

TOKENS = Dial("tokens", "keep rate", 0.0, 1.0, 1.0, "request", open_low=True)


@dataclass(frozen=True)
class FakePrediction:
    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = False
    depth: int | None = None


@dataclass(frozen=True)
class FakeDecoded:
    text: str
    tokens: int
    mean_depth: float | None = None
    acceptance: float | None = None


class FakeTokenizer:
    all_special_tokens = ("[CLS]", "[SEP]")

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return ["[CLS]", "good", "film", "[SEP]"][: len(ids)]


class FakeHandle:
    dials = (TOKENS,)

    def survivors(self) -> list[list[list[int]]]:
        return [[[0, 1, 3]], [[0, 3]]]


@dataclass
class FakeBundle:
    task: str = "classification"
    profile: Profile | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    handle = FakeHandle()
    tokenizer = FakeTokenizer()
    noisy: bool = False

    @property
    def info(self) -> Any:
        return SimpleNamespace(training=self.training, notes=("A note.",))

    def settings(self, speed: float | None = None, **dials: float) -> dict[str, float]:
        if speed is None:
            return dials
        if self.profile is None:
            raise BundleError("The bundle was not measured.", mend="Run: rheostat calibrate")
        return self.profile.settings_for(speed)

    def predict(self, texts: list[str], pairs: Any = None, **options: Any) -> list[FakePrediction]:
        if self.noisy:
            sys.stdout.write("a library prints to stdout")
        self.calls.append({"texts": list(texts), "pairs": pairs, **options})
        depth = 3 if options.get("exits") else None
        return [FakePrediction("spam", 0.9, {"ham": 0.1, "spam": 0.9}, depth=depth) for _ in texts]

    def decode(self, prompt: str, **options: Any) -> FakeDecoded:
        self.calls.append({"prompt": prompt, **options})
        if options["draft_depth"] is None:
            return FakeDecoded(" Ishmael.", 3, mean_depth=2.5)
        return FakeDecoded(" Ishmael.", 3, acceptance=0.75)

    def generate(self, prompt: str, streamer: Any = None, **options: Any) -> str:
        self.calls.append({"prompt": prompt, **options})
        if streamer is not None:
            streamer(" Ishmael.")
        return " Ishmael."


@pytest.fixture
def profile() -> Profile:
    points = [(1.0, 1.0, 0.9), (0.5, 2.0, 0.89), (0.1, 4.0, 0.7)]
    return Profile(
        {"cpu": "Test CPU", "cores": 2},
        {"type": "bert"},
        {"split": "validation"},
        tuple(Point({"tokens": t}, s, s, s, 0.1 / s, s, {"accuracy": a}) for t, s, a in points),
        {"linear": {"accuracy": 0.8}},
    )


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> FakeBundle:
    """A bundle that every command finds, in place of a real one."""
    fake = FakeBundle()
    monkeypatch.setattr(heavy, "load_bundle", lambda folder: fake)
    monkeypatch.setattr(heavy, "encoded_text", lambda bundle, text: [1, 2, 3, 4])
    monkeypatch.setattr(heavy, "run_once", lambda bundle, ids, settings: fake.calls.append({"ids": ids, **settings}))
    return fake


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs the command line in this process."""
    return lambda *arguments, **options: CliRunner().invoke(app, [str(part) for part in arguments], **options)


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., Any]:
    """Runs a command with --json, checks that stdout is one JSON document, and returns it."""

    def read(*arguments: object, code: int = 0) -> Any:
        result = run(*arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    return read
