"""A device whose kernel is gone and whose lease a daemon still has: the daemon is named wherever the device is shown, and killing it frees the device."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from support.live_kernel import Kernel
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import AllocationTimeout
from lepton_bench.server.watchers import device_row
from lepton_bench.resources.devices import inventory
from lepton_bench.resources.leases import holder_of

BENCH = Path(sys.executable).with_name("lepton-bench")
DAEMON = """import os, sys, time
if os.fork() == 0:
    os.setsid()
    if daemon := os.fork(): os._exit(0)
    open({path!r}, "w").write(str(os.getpid()))
    for fd in (0, 1, 2): os.dup2(os.open(os.devnull, os.O_RDWR), fd)
    time.sleep(600)
    os._exit(0)
os.wait()"""


pytestmark = pytest.mark.simulated(1)


def named_and_freed(path: Path) -> None:
    until(lambda: (h := holder_of("sim-0")) and h.state == "quarantined", "the quarantine", 40)
    pid = int(path.read_text())
    try:
        advice = f"kill {pid} frees it"
        until(lambda: advice in holder_of("sim-0").kept_by, "the daemon's number", 10)
        assert re.search(rf"process {pid} \(\S+.*\) still has it: {advice}", repr(lb.devices()))
        assert advice in subprocess.run([BENCH, "devices"], capture_output=True, text=True, timeout=30).stdout
        assert advice in device_row(inventory()[0], holder_of("sim-0"), [])["holder"]["kept_by"]
        with pytest.raises(AllocationTimeout, match=advice): lb.allocate(1, timeout=.5)
    finally: os.kill(pid, signal.SIGKILL)
    until(lambda: holder_of("sim-0") is None, "the free device", 10)


def test_of_a_kernel_while_its_server_lives(tmp_path):
    "This process is what a Jupyter server is to a kernel: it started it, and lives on."
    kernel = Kernel(name="lepton-1")
    try:
        kernel.run(DAEMON.format(path=str(tmp_path/"pid")))
        until(lambda: (tmp_path/"pid").exists() and (tmp_path/"pid").read_text(), timeout=20)
        assert holder_of("sim-0").state == "held" and not holder_of("sim-0").kept_by
    finally: kernel.close()
    named_and_freed(tmp_path/"pid")


def test_of_a_headless_notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(DAEMON.format(path=str(tmp_path/"pid")))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path/"train.ipynb")
    assert lb.sweep(tmp_path/"train.ipynb", {}, devices_each=1).wait(60).status == "done"
    named_and_freed(tmp_path/"pid")


def daemon(path: str) -> None: exec(DAEMON.format(path=path), {})


@pytest.mark.parametrize("kind", ["function", "script"])
def test_of_a_rank_there_is_none_left(tmp_path, kind):
    "Its forkserver adopts what a rank leaves behind, and ends it with the allocation."
    alloc = lb.allocate(1)
    (tmp_path/"train.py").write_text(DAEMON.format(path=str(tmp_path/"pid")))
    run = alloc.launch(daemon, str(tmp_path/"pid")) if kind == "function" else alloc.launch(tmp_path/"train.py")
    run.result(60) if kind == "function" else run.wait(60)
    alloc.release()
    assert holder_of("sim-0") is None and not Path(f"/proc/{(tmp_path/'pid').read_text()}").exists()
