"""Allocations on nodes without a scheduler: the job's program, and an agent for each node by a command, as an engine would start them.

    python tests/support/hosts.py FOLDER COMMAND NODE...     COMMAND: JSON, words before the agent's own command, with {node} in them
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # it is a program too

import lepton_bench as lb
from lepton_bench.processes.identity import ProcessId, descendants, wait_gone
from lepton_bench.supervisor.allocations import Spec, allocations_directory, claim_name, describe_request, read_allocation
from lepton_bench.agents.command_placement import CommandPlacement
from lepton_bench.supervisor.job import write_job_spec, run_supervisor_in_job
from lepton_bench.processes.remote_channel import read_keys
from lepton_bench.agents.node_program import place_path


def main(folder: str, command: str, *names: str) -> None:
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def start(nodes: Sequence[str]) -> list[str]:
        return [*(word.format(node=nodes[0]) for word in json.loads(command)), sys.executable, "-m", "lepton_bench.agents.node_program", folder, nodes[0]]
    run_supervisor_in_job(Path(folder), names, CommandPlacement(start, Path(folder)), terminated)


class Hosts:
    "An allocation on nodes, and the processes that it consists of."
    def __init__(self, name: str, folder: Path, process: subprocess.Popen):
        self.name, self.folder, self.process = name, folder, process
        self.places: list[Path] = []  # of its agents, in this host's memory

    def agents(self) -> dict[str, ProcessId]:
        "Node -> its agent."
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if "lepton_bench.agents.node_program" in words and str(self.folder) in words and os.getsid(pid) == pid: found[words[-2]] = ProcessId.of(pid)
        return found

    def family(self, node: str) -> list[ProcessId]:
        "A node's agent, its private forkserver, its ranks and what these have started."
        agent = self.agents()[node]
        return [agent, *map(ProcessId.of, descendants(agent.pid))]

    def file(self) -> dict:
        "What the allocation's file says, also while its supervisor does not answer."
        return read_allocation(self.folder.with_name(f"{self.name}.json")) or {}


def all_gone(processes: Sequence[ProcessId], timeout: float) -> list[ProcessId]:
    "Those that still live after so many seconds."
    end = time.monotonic() + timeout
    return [p for p in processes if not wait_gone(p, max(0., end - time.monotonic()))]


@contextmanager
def hosts(names: Sequence[str], count: int, command: Sequence[str] = (), timeout: float = 60., around: Sequence[str] = (), program: str = __file__,
          **more: object):
    "An allocation of `count` devices on these nodes, and its `lb.Allocation`."
    spec = Spec(f"hosts-{os.getpid()}-{time.time_ns() % 10**9}", count, engine="local", owner=ProcessId.me().to_dict(), beat=True, **more)
    folder = write_job_spec(spec)
    claim_name(folder.with_name(f"{spec.name}.json"), describe_request(spec, time.time()))
    with open(folder/"supervisor.log", "ab") as log:
        process = subprocess.Popen([*around, sys.executable, program, str(folder), json.dumps(list(command)), *names], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)
    found = Hosts(spec.name, folder, process)
    try:
        end = time.monotonic() + timeout
        path = folder.with_name(f"{spec.name}.json")
        while (state := (read_allocation(path) or {}).get("state")) == "waiting" and process.poll() is None and time.monotonic() < end: time.sleep(.02)
        assert state == "idle", f"{state}: {(folder/'supervisor.log').read_text()}\n{(read_allocation(path) or {}).get('broken')}"
        found.places = [place_path(name, read_keys(folder/"keys.json")) for name in names]
        yield lb.attach(spec.name), found
    finally:
        agents = found.agents()
        process.terminate()
        try: process.wait(30)
        except subprocess.TimeoutExpired: process.kill(); process.wait()
        assert not (left := all_gone(list(agents.values()), 20)), f"agents are left: {left}"
        assert not (kept := [p for p in found.places if p.exists()]), f"in memory is left: {kept}"
        with suppress(FileNotFoundError): (allocations_directory()/f"{spec.name}.json").unlink()


if __name__ == "__main__": main(*sys.argv[1:])
