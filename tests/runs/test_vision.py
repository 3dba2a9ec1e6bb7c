"""Fashion-MNIST from each place it can come from: a folder, a server, a server that lies, the cache, and no network at all."""
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lepton_bench.data import vision
from lepton_bench.errors import BenchError, DamagedError

FILES = vision._split_files("test")


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    "The origin is a port of this host that nobody listens on."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        monkeypatch.setattr(vision, "ORIGIN", f"http://127.0.0.1:{s.getsockname()[1]}")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    "A real server of a folder: the folder, its address, and the paths that were asked for."
    folder, asked = tmp_path/"served", []
    (folder/"fashion_mnist").mkdir(parents=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None: super().__init__(*args, directory=str(folder), **kwargs)
        def log_message(self, format: str, *args) -> None: asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": .02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join(10)


def test_the_part_in_the_package(no_way_out, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", "")
    for split, count in (("train", 8000), ("test", 2000)):
        images, labels = vision.fashion_mnist(split, root=tmp_path/"cache")
        assert images.shape == (count, 1, 28, 28) and images.dtype == torch.uint8
        assert torch.bincount(labels).tolist() == [count//10]*10
    said = capsys.readouterr().out
    assert "cannot be used" in said and "8,000 of 8,000 train images from the part in this package" in said
    assert not list((tmp_path/"cache").rglob("*.gz")), "nothing half-fetched stays"


def test_more_than_there_is_says_so(no_way_out, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", "")
    assert len(vision.fashion_mnist("test", 5000, tmp_path)[0]) == 2000
    assert "(5,000 were asked for)" in capsys.readouterr().out


def test_the_part_is_a_part_of_the_real_set(data_mirror, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", str(data_mirror))
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = vision.fashion_mnist(split)
        real = {hashlib.sha256(i.numpy().tobytes() + bytes([c])).digest() for i, c in zip(images, labels.tolist(), strict=True)}
        part = vision._shipped()
        some = vision.read_idx(part/f"{name}-images-idx3-ubyte.gz")
        classes = vision.read_idx(part/f"{name}-labels-idx1-ubyte.gz")
        assert all(hashlib.sha256(i.tobytes() + bytes([c])).digest() in real for i, c in zip(some, classes, strict=True))


def test_a_mirror_that_is_a_folder(data_mirror, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", str(data_mirror))
    images, labels = vision.fashion_mnist("train", root=tmp_path)
    assert images.shape == (60_000, 1, 28, 28) and torch.bincount(labels).tolist() == [6000]*10
    assert f"60,000 of 60,000 train images from the mirror {data_mirror}" in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "a folder is read where it is"


def test_a_mirror_that_is_an_address_fills_the_cache(data_mirror, served, monkeypatch, tmp_path, capsys):
    folder, address, asked = served
    for name in FILES: (folder/"fashion_mnist"/name).symlink_to(data_mirror/"fashion_mnist"/name)
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", address)
    first, _ = vision.fashion_mnist("test", root=tmp_path/"cache")
    assert len(first) == 10_000 and len(asked) == 2
    assert sorted(p.name for p in (tmp_path/"cache").rglob("*")) == sorted(FILES)
    again, _ = vision.fashion_mnist("test", root=tmp_path/"cache")
    assert torch.equal(first, again) and len(asked) == 2, "the second time nobody is asked"
    assert "from the cache" in capsys.readouterr().out


def test_a_server_that_lies_is_not_believed(served, monkeypatch, tmp_path):
    folder, address, _ = served
    for name in FILES: (folder/"fashion_mnist"/name).write_bytes((vision._shipped()/name).read_bytes())
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", address)
    with pytest.raises(DamagedError, match="not the original"): vision.fashion_mnist("test", root=tmp_path/"cache")
    assert not list((tmp_path/"cache").rglob("*.gz"))


def test_a_server_without_the_files_is_passed_over(served, no_way_out, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", served[1])
    assert len(vision.fashion_mnist("test", root=tmp_path)[0]) == 2000
    assert "404" in capsys.readouterr().out


def test_a_damaged_cache_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", "")
    for name in FILES: (tmp_path/name).write_bytes(b"login page")
    with pytest.raises(DamagedError, match=f"{FILES[0]}.*Delete it"): vision.fashion_mnist("test", root=tmp_path)


def test_a_mirror_without_the_files_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("LEPTON_BENCH_MIRROR", str(tmp_path))
    with pytest.raises(BenchError, match="LEPTON_BENCH_MIRROR"): vision.fashion_mnist("test")


@pytest.mark.parametrize("content", [b"", b"not gzip", b"\x1f\x8b\x08"])
def test_a_file_that_is_something_else(content, tmp_path):
    (tmp_path/"x.gz").write_bytes(content)
    with pytest.raises(DamagedError, match="x.gz"): vision.read_idx(tmp_path/"x.gz")


@pytest.mark.parametrize("split, size", [("validation", None), ("train", 0), ("train", -5)])
def test_requests_that_make_no_sense(split, size):
    with pytest.raises(BenchError): vision.fashion_mnist(split, size)
