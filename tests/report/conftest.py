from __future__ import annotations

import pytest

from rheostat.core.profile import Point, Profile


def point(tokens: float, speedup: float, accuracy: float, macs_ratio: float | None = None) -> Point:
    return Point(
        {"tokens": tokens},
        speedup,
        speedup * 0.95,
        speedup * 1.05,
        0.4 / speedup,
        macs_ratio or speedup,
        {"accuracy": accuracy},
        {"accuracy": (accuracy - 0.01, accuracy + 0.01)},
    )


@pytest.fixture(scope="session")
def profile() -> Profile:
    return Profile(
        device={"cpu": "Test CPU", "cores": 2, "memory_bytes": 2**33, "threads": {"OMP_NUM_THREADS": "2"}},
        model={"type": "bert", "parameters": 22_713_600},
        data={"split": "validation"},
        points=(
            point(1.0, 1.0, 0.90),
            point(0.7, 1.9, 0.895, 2.2),
            point(0.5, 2.7, 0.88, 3.0),
            point(0.1, 4.4, 0.80, 5.0),
        ),
        baselines={"majority": {"accuracy": 0.5}, "linear": {"accuracy": 0.85}},
    )
