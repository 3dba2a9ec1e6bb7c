"""Pages that talk nonsense, ask for everything, or send without end: they may be hung up on, the server and all other pages go on."""
import contextlib
import json
import os
import random
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.isolation import Isolation
from support.jupyter_process import JupyterProcess, PageProcess
from websocket import ABNF, WebSocket, WebSocketException, create_connection

from lepton_bench.server.page_connection import MOST_TOPICS
from lepton_bench.store.runs import RunWriter, new_record

MESSAGES = int(os.environ.get("LEPTON_BENCH_FUZZ", 30)) * 100
ID = "20260101-000000-0000"
ENDED = (WebSocketException, OSError)


@pytest.fixture(scope="module")
def server() -> Iterator[JupyterProcess]:
    place = Isolation.new()
    with JupyterProcess(place, env={"LEPTON_BENCH_SIMULATED": "2"}) as found:
        run = RunWriter(place.root/"home"/"runs"/ID, new_record(ID, "train", status="done")).create()
        (run.directory/"logs"/"rank-0.log").write_text("a line\n" * 100_000)
        yield found
        assert found.process.poll() is None and not found.problems()
    left = place.shut_down()
    place.remove()
    assert not left, left


class Witness:
    "Another page, that wants to go on seeing what there is."
    def __init__(self, server: JupyterProcess) -> None:
        self.runs, self.page, self.number = server.log.parent/"home"/"runs", server.page("runs"), 0

    def sees(self) -> None:
        "A new run arrives."
        self.number += 1
        id = f"20260102-{secrets.token_hex(4)}"
        RunWriter(self.runs/id, new_record(id, "new", status="done")).create()
        self.page.until(lambda: id in self.page.tables.get("runs", {}), timeout=60)


@pytest.fixture
def witness(server: JupyterProcess) -> Iterator[Witness]:
    found = Witness(server)
    found.sees()
    before = server.resident, files(server)
    yield found
    found.sees()
    assert server.process.poll() is None and not server.problems()
    assert server.resident < before[0] + (150 << 20), "what was sent is not kept"
    assert settles(lambda: files(server) < before[1] + 10), "connections are closed"
    found.page.close()


def files(server: JupyterProcess) -> int: return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def settles(true: Callable[[], bool], timeout: float = 60.) -> bool:
    "Whether something becomes true."
    end = time.monotonic() + timeout
    while not true() and time.monotonic() < end: time.sleep(.1)
    return true()


def connect(server: JupyterProcess) -> WebSocket:
    address = f"ws://127.0.0.1:{server.port}{server.base_url}lepton-bench/ws"
    return create_connection(address, timeout=30, header=[f"Authorization: token {server.token}"], skip_utf8_validation=True)


def deep(depth: int, inner: str = "1") -> str: return "[" * depth + inner + "]" * depth


def read_until(page: WebSocket, wanted: bytes) -> int:  # how many messages came before
    "Read on until a message has these words."
    count = 0
    while wanted not in (found if isinstance(found := page.recv(), bytes) else found.encode()): count += 1
    return count


PONG = b'{"op":"pong"}'
ODD: list[Any] = [None, True, -1, 0, 1 << 53, 10**300, 1e308, float("nan"), float("-inf"), "", "x", "\ud800", "\0", "é" * 150, "../..", "a/b/c/d",
                  "runs", [], [[]], {}, {"a": [None]}, ID, f"run/{ID}", f"logs/{ID}/0", f"logs/{ID}/x", "logs/../0", "logs//", "run/", "x" * 5000, [1e999],
                  {"version": 10**20, "epoch": []}]
KEYS = ["op", "topic", "since", "id", "run", "system", "names", "want", "x", "\ud800"]
OPS = ["subscribe", "unsubscribe", "series", "ping"]
WANTS = [{"width": -1}, {"width": 1e300, "range": ["a", None]}, {"smooth": "much"}, {"ranks": {}}, {"x": "time", "range": [1e308, -1e308]},
         {"width": float("nan")}]
TEXTS = ["", "null", "[]", "7", '"text"', "{", '{"op"', "\0", "\ufeff{}", "9" * 5000, deep(5000),
         '{"op": ' + deep(900) + "}",
         '{"op": "subscribe", "topic": "runs", "since": {"version": 1' + "0" * 5000 + "}}", '{"op": "subscribe", "topic": ' + deep(900) + "}",
         '{"op": "series", "id": ' + deep(900, "NaN") + ', "run": "x"}', '{"op": "series", "id": 1, "names": ["\\ud800"]}',
         '{"op": "series", "id": 1, "run": ' + deep(900) + ', "names": [' + deep(900) + '], "want": ' + deep(900) + "}"]


def nonsense(draw: random.Random) -> str | bytes:
    "A message that makes little sense, or none."
    kind = draw.randrange(8)
    if kind == 0: return draw.randbytes(draw.randrange(300))
    if kind == 1: return draw.choice(TEXTS)
    if kind == 2: return (text := draw.choice(TEXTS))[:draw.randrange(len(text) + 1)]
    if kind == 3: return json.dumps({"op": "series", "run": draw.choice([ID, *ODD]), "want": draw.choice(WANTS), "names": draw.choice(ODD), "id": 1})
    if kind == 4: return "x" * draw.randrange(100_000)
    message = {draw.choice(KEYS): draw.choice(ODD) for _ in range(draw.randrange(6))}
    if kind > 5: message |= {"op": draw.choice(OPS), "topic": draw.choice(ODD)}
    return json.dumps(message)


@pytest.mark.slow
def test_thousands_of_messages_that_make_no_sense(server: JupyterProcess, witness: Witness) -> None:
    draw, sent = random.Random(7), 0
    while sent < MESSAGES:
        page, reads = connect(server), draw.random() < .5
        with contextlib.suppress(*ENDED):  # it may be closed on us
            for _ in range(150):
                sent, message = sent + 1, nonsense(draw)
                page.send(message, ABNF.OPCODE_BINARY if isinstance(message, bytes) else ABNF.OPCODE_TEXT)
                if reads and draw.random() < .3:
                    page.settimeout(.01)
                    with contextlib.suppress(*ENDED): page.recv()
                    page.settimeout(30)
            page.send('{"op": "ping"}')
            read_until(page, PONG)  # all of it was dealt with, and the connection is as good as before
        with contextlib.suppress(*ENDED): page.close(timeout=1)
        if sent % 600 < 150: witness.sees()


def test_a_good_page_goes_on_after_nonsense(server: JupyterProcess, witness: Witness) -> None:
    "No message of these costs a page its connection."
    for text in [*TEXTS, *(json.dumps({"op": op, "topic": odd, "since": odd, "id": odd, "run": odd, "want": odd, "names": odd}) for op in OPS for odd in ODD)]:
        with PageProcess(server) as page:
            page.socket.send(text)
            page.send(op="ping")
            read_until(page.socket, PONG)
            page.send(op="series", id="after", run=ID, want={})
            read_until(page.socket, b'"after"')


def frame(size: int, opcode: int = 1, final: bool = True) -> bytes:
    "The head of a frame."
    return bytes([opcode | (0x80 if final else 0), 0x80 | 127]) + struct.pack(">Q", size) + bytes(4)


def test_frames_that_are_too_long_or_none(server: JupyterProcess, witness: Witness) -> None:
    for size in (10_000_000, 100_000_000):  # sent in full
        page = connect(server)
        with contextlib.suppress(*ENDED):
            page.send("[" + "{}," * (size // 3) + "{}]")
            while page.recv(): pass
        with contextlib.suppress(*ENDED): page.close(timeout=1)
    raw = [frame(1 << 40), frame((1 << 63) - 1), frame(1 << 40, 2), frame(200, 9), frame(200, 8), frame(10, 3), frame(1 << 20, 1, False), bytes(10)]
    for data in [*raw, *(secrets.token_bytes(40) for _ in range(40))]:
        page = connect(server)
        with contextlib.suppress(*ENDED):
            page.sock.sendall(data)
            page.sock.sendall(bytes(100_000))
        page.sock.close()
    page = connect(server)
    with contextlib.suppress(*ENDED):  # a message that never ends, in small parts
        page.sock.sendall(frame(60_000, 1, False) + b"x" * 60_000)
        for _ in range(2000): page.sock.sendall(frame(60_000, 0, False) + b"x" * 60_000)
        raise AssertionError("120 MB were taken for one message")
    page.sock.close()
    for _ in range(20):  # pages that hang up in the middle of the handshake
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(b"GET " + server.base_url.encode() + b"lepton-bench/ws HTTP/1.1\r\nUpgrade: websocket\r\n" + secrets.token_bytes(50))
    witness.sees()


def test_a_page_that_subscribes_to_everything(server: JupyterProcess, witness: Witness) -> None:
    with PageProcess(server) as page:
        for k in range(3 * MOST_TOPICS): page.send(op="subscribe", topic=f"run/{k}")
        page.send(op="ping")
        refused = 0
        while (text := page.socket.recv()) != '{"op":"pong"}': refused += b"more than" in text.encode()
        assert refused == 2 * MOST_TOPICS
        witness.sees()
    with PageProcess(server) as page:
        for k in range(3 * MOST_TOPICS): page.send(op="subscribe", topic=f"logs/{ID}/{k}")
        for _ in range(3000):
            page.send(op="subscribe", topic="runs")
            page.send(op="unsubscribe", topic="runs")
        witness.sees()
        page.send(op="ping")
        read_until(page.socket, PONG)


def test_a_page_that_asks_and_does_not_read(server: JupyterProcess, witness: Witness) -> None:
    "Its questions wait at its end of the line, not in the server."
    page = connect(server)
    page.settimeout(2)
    with contextlib.suppress(*ENDED):
        for _ in range(100_000): page.send(json.dumps({"op": "series", "id": "x" * 1000, "run": ID, "want": {}}))
        raise AssertionError("100 MB of questions were taken")
    page.sock.close()
    page = connect(server)
    page.settimeout(2)
    with contextlib.suppress(*ENDED):
        for _ in range(300_000): page.send(json.dumps({"op": "subscribe", "topic": f"logs/{ID}/0"}))
    witness.sees()
    page.sock.close()
