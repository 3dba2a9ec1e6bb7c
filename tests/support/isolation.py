"""A place of its own for a test run, and what it left behind there.

`LEPTON_BENCH_HOME`, `LEPTON_BENCH_LEASES` and `LEPTON_BENCH_SOCKETS` point into one fresh folder under /tmp. The path is short
because an ipc address has at most 107 characters. Every process started in it carries `LEPTON_BENCH_HOME` in its environment,
so leaks can be found by it.
"""
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MIRROR = REPOSITORY.parent/"shared"/"data"


def mirror() -> str:
    "Where the data sets are, or empty: then the part in the repository is used."
    if (given := os.environ.get("LEPTON_BENCH_MIRROR")) is not None: return given
    return str(MIRROR) if (MIRROR/"fashion_mnist").is_dir() else ""


def patience(seconds: float) -> float:
    "How long to wait for what must come within some seconds: beside other tests everybody is slower."
    return seconds*(3 if "PYTEST_XDIST_WORKER" in os.environ else 1)


@dataclass(frozen=True)
class Isolation:
    "A fresh folder for one test run."
    root: Path

    @classmethod
    def new(cls) -> "Isolation":
        "A place under /tmp, or inside the place that this process already runs in, so that the outer one sees what the inner one leaves."
        outer = os.environ.get("LEPTON_BENCH_TEST_PLACE")
        root = Path(tempfile.mkdtemp(prefix="", dir=outer) if outer else tempfile.mkdtemp(prefix="lb-", dir="/tmp"))
        for name in ("home", "leases", "sockets", "config", "jupyter", "ipython"): (root/name).mkdir(mode=0o700)
        return cls(root)

    def variables(self) -> dict[str, str]:
        "What a process in this place has in its environment."
        places = {"LEPTON_BENCH_HOME": "home", "LEPTON_BENCH_LEASES": "leases", "LEPTON_BENCH_SOCKETS": "sockets",
                  "XDG_CONFIG_HOME": "config", "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "jupyter", "IPYTHONDIR": "ipython"}
        return {**{name: str(self.root/place) for name, place in places.items()}, "LEPTON_BENCH_MIRROR": mirror(),
                "LEPTON_BENCH_STOP_GRACE": "2",  # nobody waits half a minute for a deaf rank; test_stop.py has the real time
                "LEPTON_BENCH_TEST_PLACE": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "JUPYTER_PLATFORM_DIRS": "1"}

    def environment(self) -> dict[str, str]:
        "The whole environment: ours without its LEPTON_BENCH_* variables, plus `variables()`."
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LEPTON_BENCH_") and k != "IN_TEST"}
        bin_folder = str(Path(sys.executable).parent)
        return {**inherited, **self.variables(), "PATH": bin_folder + os.pathsep + inherited.get("PATH", os.defpath)}

    def processes(self) -> dict[int, str]:
        "Living processes of this place other than ours and our parents': pid -> command line."
        ours, pid = set(), os.getpid()
        while pid > 1:
            ours.add(pid)
            pid = _parent(pid)
        mark, found = f"LEPTON_BENCH_HOME={self.root}/".encode(), {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) in ours: continue
            try:
                if mark in (folder/"environ").read_bytes():
                    found[int(folder.name)] = (folder/"cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError: continue  # it ended meanwhile, is a zombie, or belongs to somebody else
        return found

    def locks(self) -> list[str]:
        "Lock files in which somebody holds a lock. The files themselves stay for ever, by design."
        held = []
        for path in sorted(self.root.rglob("leases/*")):
            if not path.is_file(): continue
            with path.open("rb") as file:
                try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # closing gives it back
                except BlockingIOError: held.append(path.name)
        return held

    def sockets(self) -> list[str]:
        return [str(p.relative_to(self.root)) for p in sorted(self.root.rglob("*")) if p.is_socket() and "jupyter" not in p.parts]

    def leaks(self) -> list[str]:
        "One line for everything that is still there."
        return ([f"process {pid}: {command[:160]}" for pid, command in self.processes().items()]
                + [f"lock held: {name}" for name in self.locks()] + [f"socket: {name}" for name in self.sockets()])

    def shut_down(self, timeout: float = 15.) -> list[str]:  # seconds given to processes that are about to leave
        "Ends idle forkservers as a user would, waits for the rest to leave, and returns the leaks."
        command = Path(sys.executable).parent/"lepton-bench"
        if command.exists() and (REPOSITORY/"lepton_bench"/"cli.py").exists():
            subprocess.run([str(command), "shutdown", "--all"], env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        end = time.monotonic() + timeout
        while (left := self.leaks()) and time.monotonic() < end: time.sleep(.05)
        return left

    def remove(self) -> None:
        "Ends what is left, by pid, and removes the folder."
        for pid in self.processes():
            try: os.kill(pid, signal.SIGKILL)
            except OSError: continue
        shutil.rmtree(self.root, ignore_errors=True)


def _parent(pid: int) -> int:
    try: return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError): return 0
