"""Malformed messages for a living supervisor and a living forkserver.   python tests/faults/fuzz_channel.py [messages] [seed]

Random bytes, torn frames, lengths beyond all measure, headers that are no objects or have fields of other types, deep nesting, pickles where none belong,
clients that say half a word and stay. Nothing may be executed, nobody may go down or grow, and a launch in between works as ever.
"""
import contextlib
import json
import os
import pickle
import random
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.isolation import Isolation  # noqa: E402

OPS = ("describe", "launch", "cell", "interrupt", "wait", "adopt", "stacks", "stop", "fork", "status", "ping", "__init__", "tick", "drained", "lost")
FIELDS = ("op", "number", "run", "cell", "ranks", "context", "context_data", "options", "kind", "name", "target", "args", "arguments", "parameters", "sources",
          "labels", "owner", "label", "resume", "kill", "env", "cwd", "sys_path", "fds", "pid", "ends_with", "body")


class Trap:
    "Leaves a file when it is unpickled."
    def __init__(self, path: str): self.path = path
    def __reduce__(self): return open, (self.path, "w")


def value(draw: random.Random, depth: int = 0):
    kind = draw.randrange(9 if depth < 3 else 6)
    if kind == 0: return draw.choice([None, True, False, -1, 0, 2**63, 1e308, draw.random()])
    if kind == 1: return draw.choice(["", "x", "../../etc/passwd", "\0", "function", "notebook", "lepton_bench.ranks.rank:rank_body", "a"*5000])
    if kind in (2, 3): return draw.randrange(-5, 100)
    if kind in (4, 5): return draw.choice(["{}", "[]", '{"env": {}, "cwd": "/", "sys_path": []}', "os:getpid"])
    if kind == 6: return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(FIELDS): value(draw, depth + 1) for _ in range(draw.randrange(5))}


def message(draw: random.Random, trap: bytes) -> bytes:
    "One malformed message."
    kind = draw.randrange(8)
    if kind == 0: return draw.randbytes(draw.randrange(1, 400))
    if kind == 1: return struct.pack("<IQ", draw.choice([0, 5, 2**31, 2**32 - 1]), draw.choice([0, 3, 2**40, 2**63])) + draw.randbytes(draw.randrange(40))
    if kind == 2: head = draw.choice([b"[]", b"3", b'"x"', b"null", b"{", b"[" * 100_000, b"\xff\xfe", trap])
    else:
        found = value(draw, 0) if kind == 3 else {draw.choice(FIELDS): value(draw) for _ in range(draw.randrange(8))} | {"op": draw.choice(OPS)}
        head = json.dumps(found).encode()
    payload = draw.choice([b"", trap, draw.randbytes(50)])
    whole = struct.pack("<IQ", len(head), len(payload)) + head + payload
    return whole[:draw.randrange(1, len(whole) + 1)] if kind == 7 else whole


def resident(pid: int) -> int: return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")  # bytes


def main(count: int, seed: int) -> dict:
    place, draw = Isolation.new(), random.Random(seed)
    os.environ.update({**place.variables(), "LEPTON_BENCH_SIMULATED": "2"})
    import lepton_bench as lb
    from lepton_bench.processes.forkserver import forkserver_path, forkservers
    mark, sent, began = place.root/"executed", 0, time.monotonic()
    trap = pickle.dumps(Trap(str(mark)))
    try:
        alloc = lb.allocate(2, name="fuzzed")
        server = forkservers()[0][1]
        before = {pid: resident(pid) for pid in (alloc.supervisor.pid, server.pid)}
        halves: list[socket.socket] = []
        while sent < count:
            alloc_socket = alloc.info["socket"]
            for _ in range(500):
                path = forkserver_path() if draw.random() < .1 else alloc_socket
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(2)
                    client.connect(str(path))
                    for _ in range(draw.randrange(1, 12)):
                        client.sendall(message(draw, trap))
                        sent += 1
                    client.shutdown(socket.SHUT_WR)
            if len(halves) < 20:
                halves.append(client := socket.socket(socket.AF_UNIX))
                client.connect(alloc_socket)
                client.sendall(struct.pack("<IQ", 100, 2**60) + b"{")  # says half a word, and stays
            assert alloc.alive and server.alive(), "somebody went down"
            assert alloc.launch(len, "ab").results(60) == [2, 2]
        grown = {pid: resident(pid) - size for pid, size in before.items()}
        assert max(grown.values()) < 100 << 20, f"grown by {grown} bytes"
        assert not mark.exists(), "a pickle of somebody's was executed"
        for client in halves: client.close()
        alloc.release()
        left = place.shut_down()
        assert not left, left
        return {"messages": sent, "seed": seed, "seconds": round(time.monotonic() - began), "grown, MiB": [round(g/2**20, 1) for g in grown.values()]}
    finally: place.remove()


if __name__ == "__main__": print(json.dumps(main(*(int(x) for x in sys.argv[1:]), *(100_000, 1)[len(sys.argv) - 1:])))
