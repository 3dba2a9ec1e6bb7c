"""What the benchmarks share: a place of their own, live kernels, a quiet machine, figures and their table.

`PEERS_PYTHON` names the interpreter whose packages are measured: lepton_bench and its peers in one environment, so that all import the same torch.
`BENCH_PATIENCE` is the number of seconds to wait, before each sample, for other people's processes to leave the machine alone.
"""
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.isolation import Isolation

PYTHON = os.environ.get("PEERS_PYTHON", sys.executable)
PATIENCE = float(os.environ.get("BENCH_PATIENCE", "20"))  # seconds


# --- a place of our own -------------------------------------------------------------------------------

class Place(Isolation):
    "A fresh home, leases and sockets for one benchmark; everything started in it can be told from other people's processes."

    def environment(self) -> dict[str, str]:
        "One thread per rank, which is what torchrun gives, for everybody; peers start plain `python` and find ours. Byte code is kept, as it is for users."
        inherited = {k: v for k, v in super().environment().items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**inherited, "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

    def run(self, *command: str, timeout: float = 120.) -> str:
        "Output of `python <command>`; its error output if it fails."
        done = subprocess.run([PYTHON, *command], env=self.environment(), capture_output=True, text=True, timeout=timeout, cwd=self.root)
        if done.returncode: raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return done.stdout

    def forget_forkserver(self) -> None: self.run("-c", "from lepton_bench.processes.forkserver import shutdown_forkservers; shutdown_forkservers()")

    def has(self, module: str) -> bool:
        "Whether a peer is installed."
        return self.run("-c", f"import importlib.util; print(importlib.util.find_spec({module!r}) is not None)").strip() == "True"


@contextmanager
def place() -> Iterator[Place]:
    found = Place.new()
    try: yield found
    finally:
        if leaks := found.shut_down(): print("left behind:", *leaks, sep="\n  ", file=sys.stderr)
        found.remove()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Kernel:
    "A live ipykernel, as a notebook front end holds it."

    def __init__(self, where: Place, **env: str):
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import KernelManager
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(argv=[PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"],
                                               display_name="bench", language="python")
        self.manager.start_kernel(env={**where.environment(), **env}, cwd=str(where.root))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def __enter__(self) -> "Kernel": return self

    def __exit__(self, *_) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def run(self, code: str, timeout: float = 120.) -> str:
        "What a cell prints; RuntimeError if it fails."
        said: list[str] = []
        def hear(message: dict) -> None:
            content = message["content"]
            if message["msg_type"] == "stream": said.append(content["text"])
            if message["msg_type"] == "error": said.extend(content["traceback"])
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=hear)
        if reply["content"]["status"] != "ok": raise RuntimeError("\n".join(said)[-3000:])
        return "".join(said)

    def value(self, expression: str):
        "The value of an expression in the kernel, through JSON."
        return json.loads(self.run(f"import json as _j; print('@@' + _j.dumps({expression}) + '@@')").split("@@")[1])


# --- a quiet machine ----------------------------------------------------------------------------------

def _cpu_seconds(where: Isolation, known: dict[str, bool]) -> tuple[float, float]:
    "CPU seconds that the whole machine has spent, and those of this place's processes."
    ticks = os.sysconf("SC_CLK_TCK")
    busy = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    mark, ours = f"LEPTON_BENCH_HOME={where.root}/".encode(), 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if not known.get(pid): known[pid] = int(pid) == os.getpid() or mark in Path(f"/proc/{pid}/environ").read_bytes()
            if known[pid]: ours += sum(map(int, fields[11:15]))
        except OSError: continue
    return (sum(busy) - busy[3] - busy[4])/ticks, ours/ticks


def quiet(where: Isolation, limit: float = .25) -> None:
    "Wait, bounded, until other people's processes use less than `limit` cores for half a second."
    end, known = time.monotonic() + PATIENCE, dict[str, bool]()
    while time.monotonic() < end:
        before = _cpu_seconds(where, known)
        time.sleep(.5)
        after = _cpu_seconds(where, known)
        if (after[0] - before[0]) - max(0., after[1] - before[1]) < .5*limit: return


def rotate(tools: dict[str, Callable], round: int) -> list[tuple[str, Callable]]:
    "The tools, beginning with another one in each round."
    items = list(tools.items())
    return items[round % len(items):] + items[:round % len(items)]


# --- figures ------------------------------------------------------------------------------------------

@dataclass
class Figure:
    "One line of the table: what was measured, ours and others', and what is to be reached."
    name: str
    unit: str
    ours: list[float]
    peers: dict[str, list[float]] = field(default_factory=dict)
    limit: float | None = None  # on our own value
    ratios: dict[str, float] = field(default_factory=dict)  # peer, or "best" -> limit on the ratio to it
    more: bool = False  # whether more is better

    def against(self, peer: str) -> tuple[str, float] | None:
        "A peer's name and our ratio to it."
        medians = {n: statistics.median(v) for n, v in self.peers.items() if v}
        if peer == "best" and medians: peer = (max if self.more else min)(medians, key=lambda n: medians[n])
        return (peer, statistics.median(self.ours)/medians[peer]) if peer in medians else None

    def checks(self) -> list[tuple[str, bool]]:
        "What is to be reached, in words, and whether it was."
        sign, good = (">=", float.__ge__) if self.more else ("<=", float.__le__)
        found = [(f"{sign} {_number(self.limit)} {self.unit}", good(float(statistics.median(self.ours)), float(self.limit)))] if self.limit is not None else []
        for peer, limit in self.ratios.items():
            if ratio := self.against(peer): found.append((f"{sign} {limit:g} of {ratio[0]} (is {ratio[1]:.3f})", good(ratio[1], limit)))
        return found

    def row(self) -> tuple[str, str, str, str]:
        median = statistics.median(self.ours)
        spread = f"{_number(median)} {self.unit} ({_number(min(self.ours))} to {_number(max(self.ours))}, n={len(self.ours)})"
        peers = ", ".join(f"{n} {_number(statistics.median(v))}" for n, v in self.peers.items() if v)
        return self.name, spread, peers, "; ".join(f"{words} {'ok' if well else 'MISSED'}" for words, well in self.checks())


def _number(value: float) -> str: return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(figures: list[Figure]) -> None:
    "Print the table; medians, with the range of ours."
    rows = [("figure", "lepton_bench: median (range)", "peers: median", "to reach"), *(f.row() for f in figures if f.ours)]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    for r in rows: print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
    sys.stdout.flush()
