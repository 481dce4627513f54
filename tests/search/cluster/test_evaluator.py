"""On a real cluster of two nodes on this machine; needs the package ray."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rheostat.bundle.store import BundleInfo, save_bundle
from rheostat.core.errors import RheostatError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.workload import Workload
from rheostat.models.sources import load_model
from rheostat.search.cluster import ClusterEvaluator, ClusterOptions
from rheostat.search.evaluator import Evaluator, Request
from rheostat.search.local import LocalEvaluator, LocalOptions
from rheostat.search.sitting import SettingMethod
from rheostat.search.trainings import GivenBundles
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny

pytestmark = pytest.mark.slow
RECIPES = ("plain", "adjustable", "lora")


class Synthetic:
    """Deterministic; notes in a folder which process trained what, and when it was."""

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder, self.seconds = folder, seconds

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        for request in sorted(requests, key=lambda one: str(one.configuration)):
            self.bundle(request.configuration)
            if request.configuration["tokens"] == 0.1:
                os.kill(os.getpid(), signal.SIGKILL)
            if request.configuration["tokens"] == 0.2:
                raise RheostatError("Nobody keeps a fifth.", given=0.2)
            time.sleep(self.seconds)
            found = {"length": [len(str(request.configuration))], "tokens": [request.configuration["tokens"]]}
            yield Measurement(
                {"name": "synthetic"},
                dict(request.configuration),
                {"fidelity": request.fidelity},
                {},
                "ok",
                samples=found,
                conditions={"pid": os.getpid()},
            )

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        return 7.0 * fidelity

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        bundle = self.folder / "trainings" / str(configuration["recipe"])
        if not bundle.is_dir():
            bundle.mkdir(parents=True)
            (bundle / "bundle.json").write_text("{}")
            (self.folder / f"trained-{bundle.name}-{os.getpid()}-{time.time_ns()}").touch()
        return bundle

    def close(self) -> None:
        (self.folder / f"closed-{os.getpid()}").touch()


def requests(tokens: Sequence[float] = (1.0, 0.8, 0.6, 0.5)) -> list[Request]:
    return [Request({"recipe": recipe, "tokens": share}) for share in tokens for recipe in RECIPES]


def plain(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """What must not depend on where it was measured."""
    found = [{**one.to_json(), "conditions": None} for one in measurements]
    return sorted(found, key=lambda one: str(one["configuration"]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    # Ray's workers find this package where the tests do.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield found
    finally:
        found.shutdown()
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def second(cluster: Any) -> Iterator[Any]:
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def evaluator(cluster: Any, folder: Path, make: Any = None, **options: Any) -> ClusterEvaluator:
    made = make or (lambda: Synthetic(folder))
    # A busy machine takes its time to start processes, which Ray makes the last in line.
    return ClusterEvaluator(made, folder, ClusterOptions(cluster.address, **{"patience": 240.0, **options}))


def trained(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[1] for path in folder.glob("trained-*"))


def test_a_cluster_measures_what_one_machine_does(cluster: Any, second: Any, tmp_path: Path):
    local: Evaluator = Synthetic(tmp_path / "local")
    expected = plain(list(local.evaluate(requests())))
    far = evaluator(cluster, tmp_path, lambda: Synthetic(tmp_path, 0.05))
    try:
        found = list(far.evaluate(requests()))
        assert far.workers == 2
        assert plain(found) == expected
        assert len({one.conditions["pid"] for one in found}) == 2
        assert trained(tmp_path) == sorted(RECIPES)
        assert far.price({"recipe": "plain", "tokens": 0.5}, 0.5) == 3.5
        assert far.bundle({"recipe": "full", "tokens": 0.5}) == tmp_path / "trainings" / "full"
    finally:
        far.close()
    assert len(list(tmp_path.glob("closed-*"))) == 2
    assert not list(tmp_path.glob(".seen-*"))


def test_what_a_lost_node_had_is_measured_by_the_other(cluster: Any, second: Any, tmp_path: Path):
    asked = requests([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    far = evaluator(cluster, tmp_path, lambda: Synthetic(tmp_path, 0.25))
    try:
        found = []
        for measurement in far.evaluate(asked):
            found.append(measurement)
            if len(found) == 4:
                assert len({one.conditions["pid"] for one in found}) == 2
                cluster.remove_node(second, allow_graceful=False)
        assert far.workers == 1
    finally:
        far.close()
    assert plain(found) == plain(list(Synthetic(tmp_path / "local").evaluate(asked)))


def test_what_ends_every_worker_fails_and_nothing_else_does(cluster: Any, tmp_path: Path):
    far = evaluator(cluster, tmp_path, most_losses=2)
    try:
        found = list(far.evaluate(requests([1.0, 0.1])))
    finally:
        far.close()
    failed = [one for one in found if one.status == "failed"]
    assert len(found) == 6
    assert [one.configuration["tokens"] for one in failed] == [0.1] * 3
    assert {one.reason for one in failed} == {"its worker was lost 2 times (a machine failed, or memory ran out)"}


def test_what_the_evaluator_raises_is_raised_here(cluster: Any, tmp_path: Path):
    far = evaluator(cluster, tmp_path)
    try:
        with pytest.raises(RheostatError, match=r"^Nobody keeps a fifth. Given: 0.2.$"):
            list(far.evaluate(requests([1.0, 0.2])))
        assert len(list(far.evaluate(requests([1.0])))) == 3
    finally:
        far.close()


def test_an_evaluator_that_cannot_be_made_is_told(cluster: Any, tmp_path: Path):
    def make() -> Evaluator:
        raise ModuleNotFoundError("No module named 'rheostat'")

    far = evaluator(cluster, tmp_path, make)
    try:
        with pytest.raises(RheostatError, match=r"each machine.*No module named 'rheostat'.*Install the same version"):
            list(far.evaluate(requests()))
    finally:
        far.close()


def test_who_stops_listening_leaves_nothing_behind(cluster: Any, tmp_path: Path):
    far = evaluator(cluster, tmp_path, lambda: Synthetic(tmp_path, 0.05))
    try:
        found = far.evaluate(requests())
        next(found)
        found.close()
        assert far.workers == 0
        assert len(list(far.evaluate(requests([0.9])))) == 3
    finally:
        far.close()


def test_a_bundle_of_another_machine_is_copied(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    here, there = tmp_path / "here", tmp_path / "there"
    far = evaluator(cluster, here, lambda: Synthetic(there))
    try:
        monkeypatch.setattr("rheostat.search.cluster.evaluator.digests", _blind_to(there))
        copy = far.bundle({"recipe": "plain", "tokens": 1.0})
        assert copy.is_relative_to(here)
        assert (copy / "bundle.json").read_text() == "{}"
        assert far.bundle({"recipe": "plain", "tokens": 0.5}) == copy
        assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    finally:
        far.close()


def _blind_to(folder: Path) -> Any:
    from rheostat.search.cluster.nodes import digests

    return lambda path: {} if path.is_relative_to(folder) else digests(path)


def test_machines_that_are_busy_are_waited_for_and_told(cluster: Any, tmp_path: Path):
    far = evaluator(cluster, tmp_path)
    try:
        with pytest.raises(RheostatError, match=r"processors are free.*none free within 1 seconds.*ray status"):
            evaluator(cluster, tmp_path, patience=1.0)
    finally:
        far.close()


def test_bundles_are_judged_there_as_here(cluster: Any, second: Any, tmp_path: Path):
    bundles = {name: tmp_path / name for name in ("plain", "uniform")}
    loaded = load_model(save_tiny(tmp_path / "model"), "classification", label_names=["a", "b"])
    info = BundleInfo("classification", 32, ("a", "b"), "tiny")
    for folder in bundles.values():
        save_bundle(folder, loaded.model, loaded.tokenizer, TokenPruning(floor=2), info)
    data = make_data()
    options = LocalOptions(Workload("classify", batch_size=4), SettingMethod(rounds=3, round_seconds=0.001), threads=1)
    asked = [Request({"recipe": name, "tokens": share}) for name in bundles for share in (1.0, 0.5)]

    def make() -> Evaluator:
        return LocalEvaluator(GivenBundles(bundles), data, tmp_path / "far", options)

    far = evaluator(cluster, tmp_path / "far", make)
    try:
        found = list(far.evaluate(asked))
        assert far.bundle(asked[0].configuration) == bundles["plain"].resolve()
    finally:
        far.close()
    with LocalEvaluator(GivenBundles(bundles), data, tmp_path / "near", options) as near:
        expected = list(near.evaluate(asked))
    assert [one.status for one in found] == ["ok"] * 4
    assert judged(found) == judged(expected)


def judged(measurements: Sequence[Measurement]) -> dict[str, Any]:
    return {str(one.configuration): (one.metrics["accuracy"].value, one.samples["right"]) for one in measurements}
