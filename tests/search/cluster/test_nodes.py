import io
import socket
import sys
import tarfile
from pathlib import Path

import pytest

from rheostat.core.errors import RheostatError, SettingError
from rheostat.search.cluster import ClusterOptions
from rheostat.search.cluster.nodes import connect, digests, packed, unpack


def test_a_folder_travels(tmp_path: Path):
    source = tmp_path / "bundle"
    (source / "inner").mkdir(parents=True)
    (source / "bundle.json").write_text("{}")
    (source / "inner" / "weights").write_bytes(b"\x00\x01")
    unpack(packed(source), tmp_path / "copy")
    assert digests(tmp_path / "copy") == digests(source)
    assert set(digests(source)) == {"bundle.json", "inner/weights"}
    assert digests(tmp_path / "nothing") == {}


def test_an_archive_writes_nothing_outside_of_its_folder(tmp_path: Path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(content.getvalue(), tmp_path / "inside")
    assert not (tmp_path / "outside").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RheostatError, match=r"needs the package 'ray'.*pip install 'rheostat\[ray\]'"):
        connect(None)


@pytest.mark.parametrize("address", ["nowhere", ":6379", "localhost:"])
def test_an_address_has_a_host_and_a_port(address: str):
    pytest.importorskip("ray")
    with pytest.raises(RheostatError, match=r"cluster that measures is reached. Given: .*HOST:PORT.*ray start --head"):
        connect(address)


def test_a_cluster_that_is_not_there_is_told_at_once():
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RheostatError, match=rf"127.0.0.1:{port} .*refused.*ray start --head"):
        connect(f"127.0.0.1:{port}")


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"most_losses": 0}, {"patience": -1.0}])
def test_options_are_in_range(wrong: dict[str, float]):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        ClusterOptions(**wrong)
