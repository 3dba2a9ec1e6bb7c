"""What lies on the file system that hosts share, and what must not be done there; code that some host does not see."""
import os
import sys
import time
from pathlib import Path

import pytest
from support.hosts import hosts
from support.isolation import patience

import lepton_bench as lb
from lepton_bench.errors import LaunchError
from lepton_bench.processes.identity import descendants
from lepton_bench.settings import settings

ONE_DEVICE = ["env", "LEPTON_BENCH_SIMULATED=1"]


def inodes(folder: Path) -> set[tuple[int, int]]:
    found = set()
    for path in [folder, *folder.rglob("*")]:
        try: about = path.stat()
        except OSError: continue
        found.add((about.st_dev, about.st_ino))
    return found


def test_nothing_on_the_shared_folder_is_locked_or_mapped() -> None:
    "Locks of network file systems lie, and memory that is mapped there is nobody else's."
    def train() -> None:
        import lepton_bench as lb
        for step in range(300):
            lb.log(step=step, loss=1.)
            if step % 100 == 50: lb.save_checkpoint({"step": step}, step)
            time.sleep(.01)
    with hosts(["n1", "n2"], 2, ONE_DEVICE) as (alloc, found):
        run = alloc.launch(train)
        ours, seen = [found.process.pid, *(a.pid for a in found.agents().values())], 0
        while run.status in ("waiting", "running"):
            home = inodes(settings().home)
            pids = {pid for p in ours for pid in (p, *descendants(p))}
            for line in Path("/proc/locks").read_text().splitlines():
                words = line.split()
                if "->" in words or int(words[4]) not in pids: continue
                major, minor, inode = words[5].split(":")
                assert (os.makedev(int(major, 16), int(minor, 16)), int(inode)) not in home, line
            for pid in pids:
                try: maps = Path(f"/proc/{pid}/maps").read_text()
                except OSError: continue
                seen += 1
                assert str(settings().home) not in maps, [line for line in maps.splitlines() if str(settings().home) in line]
        assert seen > 20 and run.status == "done" and run.metrics().num_rows == 600


@pytest.mark.skipif(os.geteuid() != 0, reason="NO MOUNT: only root may have a file system of his own")
def test_modules_travel_to_a_host_that_does_not_see_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path/"beside.py").write_text("BASE = 40\nclass Box:\n    def __init__(self, value): self.value = value\ndef boxed(x): return Box(BASE + x)\n")
    (tmp_path/"script.py").write_text("print('seen')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside

    def use(x: int) -> tuple:
        import os
        return beside.boxed(x).value, os.path.exists("script.py")
    hidden = [*ONE_DEVICE, "unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {tmp_path} && exec \"$@\"", "sh"]
    try:
        with hosts(["n1", "n2"], 2, hidden) as (alloc, _):
            assert alloc.info["shared_folder"] is False
            with pytest.warns(UserWarning, match=f"not every node sees {tmp_path}: .*beside.* travel with the function"): run = alloc.launch(use, 2)
            assert run.results(timeout=patience(60)) == [(42, False)]*2, run.logs()
            with pytest.raises(LaunchError, match=f"a script cannot be launched .* not every node sees {tmp_path}"): alloc.launch("script.py")
        with hosts(["n1", "n2"], 2, ONE_DEVICE) as (alloc, _):
            assert alloc.info["shared_folder"] is True
            assert alloc.launch(use, 2).results(timeout=patience(60)) == [(42, True)]*2
            assert alloc.launch("script.py").wait(timeout=patience(60)).status == "done"
            (tmp_path/"beside.py").write_text("BASE = 50\nclass Box:\n    def __init__(self, value): self.value = value\ndef boxed(x): return Box(BASE + x)\n")
            del sys.modules["beside"]
            import beside as again
            assert again.BASE == 50
            assert alloc.launch(use, 2).results(timeout=patience(60)) == [(52, True)]*2, "a changed module means fresh ranks, there too"
    finally: sys.modules.pop("beside", None)
    assert lb.allocations() == []
