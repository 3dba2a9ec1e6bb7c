"""SIMULATED nodes, many in one process: the ends of links that an agent would have, speaking its protocol, with a rank each that runs nothing.

Everything that comes over the links is real: connections, keys, messages, heartbeats. A simulated rank writes one line into its log and says that it is done,
or, where the function's name has `hold` in it, waits until it is stopped. The supervisor on the other side is a real one, and so is whoever uses it.

    python tests/support/simulated_nodes.py FOLDER COMMAND NODE...     the job's program, as in hosts.py
    python tests/support/simulated_nodes.py nodes FOLDER NODE...       the nodes, as many in a process as PER_PROCESS says
"""
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is a program too

from support.hosts import hosts


from lepton_bench.processes.identity import ProcessId, set_parent_death_signal
from lepton_bench.resources.devices import Device
from lepton_bench.store.runs import log_path
from lepton_bench.processes.channel import readable
from lepton_bench.agents.command_placement import CommandPlacement
from lepton_bench.supervisor.job import run_supervisor_in_job
from lepton_bench.processes.remote_channel import Link, read_keys
from lepton_bench.agents.node_program import required_versions
from lepton_bench.supervisor.supervisor import Supervisor

PER_PROCESS = 55
LINE = "hello from a simulated rank"
DEVICE = asdict(Device(id="sim-0", kind="simulated", index=0, name="simulated"))


class SimulatedNode:
    "One link, and a rank behind it."

    def __init__(self, name: str, folder: Path) -> None:
        where = json.loads((folder/"link.json").read_bytes())
        self.link = Link(where["hosts"], where["port"], read_keys(folder/"keys.json"), f"{name}/{os.getpid()}/{time.time_ns()}", timeout=60.)
        self.generation, self.rank, self.running = 0, -1, False
        self.link.send({"op": "hello", "node": name, "host": name, "versions": required_versions(), "executable": sys.executable, "devices": [DEVICE],
                        "cores": 2,
                        "same_folder": True, "pid": os.getpid(), "defaults": {}})

    def say(self, op: str, payload: bytes = b"", **fields: object) -> None:
        self.link.send({"op": op, "generation": self.generation, "rank": self.rank, **fields}, payload)

    def take(self) -> None:
        for header, payload in self.link.ready(): getattr(self, f"on_{header['op']}", self.on_other)(header, payload)

    def on_other(self, header: dict, payload: bytes) -> None: pass
    def on_beat(self, header: dict, payload: bytes) -> None: self.link.send({"op": "beat"})
    def on_end(self, header: dict, payload: bytes) -> None: self.link.close()

    def on_start(self, header: dict, payload: bytes) -> None:
        self.generation, self.rank = header["generation"], header["ranks"][0]["rank"]
        self.say("processes", processes={self.rank: ProcessId.me().to_dict()})
        self.say("ready", group=False)

    def on_group(self, header: dict, payload: bytes) -> None: self.say("ready", group=True)

    def on_run(self, header: dict, payload: bytes) -> None:
        with open(log_path(Path(header["directory"]), self.rank), "a") as log: log.write(f"{LINE}\n")
        self.running = b"hold" in payload
        if not self.running: self.ended("done")

    def ended(self, status: str, **more: object) -> None:
        self.say("ended", dirty=False, modules={}, status=status, **more)
        if status == "done": self.say("clean", dirty=False)

    def on_interrupt(self, header: dict, payload: bytes) -> None:
        if self.running: self.ended("stopped", error={"type": "KeyboardInterrupt", "message": "", "traceback": "", "time": time.time(), "code": 1})
        self.running = False

    def on_kill(self, header: dict, payload: bytes) -> None: self.say("exited", status=-9, oom=False)
    def on_drain(self, header: dict, payload: bytes) -> None: self.say("drained", final=header["final"], number=header["number"])


def serve(names: Sequence[str], folder: Path) -> None:
    nodes = [SimulatedNode(name, folder) for name in names]
    by_link = {node.link: node for node in nodes}
    while by_link:
        for link in readable(by_link, 5.): by_link[link].take()
        by_link = {link: node for link, node in by_link.items() if not link.closed}


def serve_many(folder: Path, names: Sequence[str]) -> None:
    "In processes of this one, forked when everything is imported."
    children, parent = [], os.getpid()
    for start in range(0, len(names), PER_PROCESS):
        if pid := os.fork(): children.append(pid); continue
        set_parent_death_signal(signal.SIGKILL, parent)
        serve(names[start:start + PER_PROCESS], folder)
        os._exit(0)
    for pid in children: os.waitpid(pid, 0)


def main(folder: str, command: str, *names: str) -> None:
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],)*2)

    def start(nodes: Sequence[str]) -> list[str]: return [sys.executable, __file__, "nodes", folder, *nodes]
    run_supervisor_in_job(Path(folder), names, CommandPlacement(start, Path(folder), together=True), terminated, note_starts)


def note_starts(supervisor: Supervisor) -> None:
    "Write down how long each generation of ranks took to stand."
    rank_group, begun = supervisor.rank_group, time.monotonic()
    start, on_ready = rank_group.start, rank_group.on_ready

    def started(*arguments: bool) -> None:
        nonlocal begun
        start(*arguments)
        if rank_group.phase == "starting": begun = time.monotonic()

    def ready(header: dict) -> None:
        before = rank_group.phase
        on_ready(header)
        if before != "ready" == rank_group.phase:
            with open(supervisor.folder/"starts", "a") as file: file.write(f"{rank_group.generation} {time.monotonic() - begun}\n")
    rank_group.start, rank_group.on_ready = started, ready


@contextmanager
def simulated_nodes(count: int, timeout: float = 120.) -> Iterator:
    "An allocation of so many simulated nodes, and what it consists of."
    with hosts([f"s{n:04}" for n in range(count)], count, program=__file__, timeout=timeout) as found: yield found


if __name__ == "__main__":
    if sys.argv[1] == "nodes": serve_many(Path(sys.argv[2]), sys.argv[3:])
    else: main(*sys.argv[1:])
