"""Forked kernels, held as front ends hold them: what works in them, what does not leak into them, their devices, their ends."""
import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.live_kernel import Kernel
from support.waiting import until

import lepton_bench as lb
from lepton_bench.kernels.forked import KERNELS
from lepton_bench.processes.identity import ProcessId, descendants
from lepton_bench.resources.leases import holder_of
from lepton_bench.api.runs import get_run
from lepton_bench.processes.forkserver import forkserver_path, forkservers


pytestmark = pytest.mark.simulated(2)


@pytest.fixture(scope="module")
def plain():
    "One kernel without devices, for everything that only looks."
    kernel = Kernel(name="lepton")
    yield kernel
    kernel.close()


def kernel_server() -> int: return next(process.pid for path, process in forkservers() if path == forkserver_path(KERNELS))
def holder(device: str = "sim-0"): return holder_of(device)
def free() -> bool: return all(d.holder is None for d in lb.devices())


# --- forked ---------------------------------------------------------------------------------------

def test_it_is_a_fork_that_shares_torch(plain):
    parent, pages = plain.value("[__import__('os').getppid(), None]")[0], Path(f"/proc/{plain.pid}/smaps_rollup").read_text()
    assert parent == kernel_server() and plain.value("'torch' in __import__('sys').modules")
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in pages.splitlines() if line.endswith("kB")}
    assert sizes["Pss"] < .6*sizes["Rss"], f"most of its memory is shared: {sizes}"


def test_the_forkserver_stays_clean(plain):
    server = kernel_server()
    assert len(os.listdir(f"/proc/{server}/task")) == 1, "it has one thread"
    files = [os.readlink(f"/proc/{server}/fd/{n}") for n in os.listdir(f"/proc/{server}/fd")]
    assert not [f for f in files if "nvidia" in f or "eventpoll" in f or "kernel-" in f], files
    assert plain.run("import torch; print(torch.cuda.is_initialized())").strip() == "False"


@pytest.mark.parametrize("code, answer", [
    ("import torch, numpy; a = torch.ones(2000, 2000); print(int((a @ a)[0, 0]), int((a.numpy() @ a.numpy())[0, 0]))", "2000 2000"),
    ("import logging, io\ns = io.StringIO(); logging.basicConfig(stream=s, force=True); logging.warning('heard'); print('heard' in s.getvalue())", "True"),
    ("import asyncio\nawait asyncio.sleep(.01); print(await asyncio.to_thread(lambda: 7))", "7"),
    ("import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))", "[1, 2]"),
    ("import multiprocessing as m\nwith m.get_context('spawn').Pool(1) as p: print(p.map(abs, [-3]))", "[3]"),
    ("from torch.utils.data import DataLoader\nprint(sum(len(b) for b in DataLoader(range(8), 2, num_workers=2)))", "8"),
    ("import sys, os; print(sys.stdin.read() == '', __name__, sys.argv[1] == '-f')", "True __main__ True"),
    ("import threading; print([t.name for t in threading.enumerate()].count('ends-with-its-asker'))", "1"),
    ("%timeit -n 1 -r 1 pass\n!echo shell", "shell"),
])
def test_what_works_in_it(plain, code, answer): assert plain.run(code).strip().splitlines()[-1] == answer


def test_plots_go_inline(plain):
    plain.run("import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()")
    assert any("image/png" in m["content"].get("data", {}) for m in plain.messages if m["msg_type"] == "display_data")
    plain.run("import ipywidgets; display(ipywidgets.IntSlider())")
    assert any("application/vnd.jupyter.widget-view+json" in m["content"].get("data", {}) for m in plain.messages if m["msg_type"] == "display_data")


def test_the_debugger_works(plain):
    "Its modules are imported before the fork; its threads and sockets are not."
    channel = plain.client.control_channel

    def ask(command: str, **arguments):
        message = plain.client.session.msg("debug_request", {"type": "request", "seq": 1, "command": command, "arguments": arguments})
        channel.send(message)
        reply = channel.get_msg(timeout=30)
        while reply["parent_header"].get("msg_id") != message["header"]["msg_id"]: reply = channel.get_msg(timeout=30)
        return reply["content"]
    assert ask("debugInfo")["success"]
    assert ask("initialize", clientID="test", adapterID="", linesStartAt1=True, columnsStartAt1=True, pathFormat="path")["success"]
    assert plain.run("print(3)").strip() == "3"


def test_two_kernels_differ(plain, new_kernel):
    draw = "[__import__('random').random(), float(__import__('numpy').random.rand()), float(__import__('torch').rand(1))]"
    other = new_kernel(name="lepton")
    assert all(a != b for a, b in zip(plain.value(draw), other.value(draw)))
    plain.run("leaked = 1; import os; os.environ['LEAKED'] = '1'; os.chdir('/')")
    third = new_kernel(name="lepton")
    assert third.value("['leaked' in globals(), 'LEAKED' in __import__('os').environ, __import__('os').getcwd() == '/']") == [False, False, False]


def test_the_environment_is_the_askers(new_kernel, tmp_path):
    kernel = new_kernel(name="lepton", env={"MINE": "yes", "OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    assert kernel.value("[__import__('os').environ['MINE'], __import__('os').getcwd(), __import__('torch').get_num_threads()]") == ["yes", str(tmp_path), 1]


# --- lives and ends ---------------------------------------------------------------------------------

def test_interrupt_restart_shutdown(new_kernel, tmp_path):
    kernel = new_kernel(name="lepton", cwd=tmp_path)
    id = kernel.client.execute("import time\nopen('looping', 'w')\nwhile True: time.sleep(.01)")
    until((tmp_path/"looping").exists, timeout=30)
    kernel.interrupt()
    reply = kernel.client.get_shell_msg(timeout=20)
    while reply["parent_header"].get("msg_id") != id: reply = kernel.client.get_shell_msg(timeout=20)
    assert reply["content"]["ename"] == "KeyboardInterrupt" and kernel.run("print(1)").strip() == "1"
    before = kernel.pid
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '1000'])")
    children = descendants(before)
    assert children
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.pid != before and not ProcessId.of(before).alive() and kernel.value("'child' in globals()") is False
    kernel.close()
    assert not kernel.manager.is_alive()
    for pid in children: os.kill(pid, signal.SIGKILL)  # as with a stock kernel, what it started in the background goes on


def test_fast_restarts_keep_the_device(new_kernel):
    "As a person presses 0 0 five times, and does not wait for the kernel."
    kernel = new_kernel(name="lepton-1")
    pids = {kernel.pid}
    for _ in range(5):
        kernel.manager.restart_kernel(now=True)
        pids.add(kernel.pid)
    kernel.client.wait_for_ready(timeout=60)
    assert len(pids) == 6 and kernel.run("print(1)").strip() == "1" and not any(ProcessId.of(pid).alive() for pid in pids - {kernel.pid})
    assert [d.holder is None for d in lb.devices()] == [False, True]
    kernel.close()
    until(free, "the device is free", 10)


@pytest.mark.parametrize("code, status", [("import os; os.kill(os.getpid(), 9)", -9), ("import os; os._exit(5)", 5)])
def test_its_exit_status_is_known(new_kernel, code, status):
    kernel = new_kernel(name="lepton")
    process = kernel.manager.provisioner.process
    kernel.client.execute(code)
    assert process.wait(20) == status == process.poll()
    assert not kernel.manager.is_alive()


def test_it_ends_with_the_process_that_asked_for_it(tmp_path):
    "Also in the middle of a computation that holds the interpreter."
    code = """
import sys, time
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="lepton-1")
client.execute("sum(range(10**12))")  # never lets go of the interpreter
def used(): return int(open(f"/proc/{manager.provisioner.pid}/stat").read().rpartition(")")[2].split()[11])
start = used()
while used() < start + 50: time.sleep(.01)
print(manager.provisioner.pid, flush=True)
time.sleep(1000)
"""
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    kernel = ProcessId.of(int(asker.stdout.readline()))
    asker.kill(); asker.wait()
    until(lambda: not kernel.alive(), "the kernel's end", 5)
    until(free, "a free device", 5)


def test_the_stock_way(plain, new_kernel, monkeypatch, caplog):
    "Without a forkserver, and when packages have changed: slower, the same results, and said in the log."
    monkeypatch.setenv("LEPTON_BENCH_FORKSERVER", "0")
    with caplog.at_level(logging.WARNING):
        kernel = new_kernel(name="lepton-1")
    assert "started the stock way, not forked: the forkserver is switched off" in caplog.text
    assert kernel.value("__import__('sys').path") == plain.value("__import__('sys').path"), "a fork finds modules where a stock kernel does"
    assert kernel.value("__import__('os').getppid()") == os.getpid() and holder().process.pid == kernel.pid
    assert kernel.run("import lepton_bench as lb\nwith lb.allocate(1) as a: print(a.device_ids)").strip().splitlines()[-1] == "['sim-0']"
    kernel.close()
    until(free, "a free device", 5)
    monkeypatch.delenv("LEPTON_BENCH_FORKSERVER")
    from lepton_bench.kernels.provisioner import LeptonProvisioner
    monkeypatch.setattr(LeptonProvisioner, "last_key", "another")
    caplog.clear()
    with caplog.at_level(logging.WARNING): changed = new_kernel(name="lepton")
    assert "the environment's packages have changed" in caplog.text and changed.value("__import__('os').getppid()") == os.getpid()
    assert new_kernel(name="lepton").value("__import__('os').getppid()") == kernel_server(), "the next one is forked"


# --- devices ----------------------------------------------------------------------------------------

def test_a_device_from_before_the_start_to_the_end(new_kernel, tmp_path):
    kernel = new_kernel(name="lepton-1", env={"JPY_SESSION_NAME": str(tmp_path/"train.ipynb")})
    found = holder()
    assert (found.process.pid, found.label, found.state) == (kernel.pid, "train.ipynb", "held") and found.allocation.startswith("kernel ")
    assert kernel.value("__import__('os').environ['CUDA_VISIBLE_DEVICES']") == "" and kernel.value("__import__('torch').get_num_threads()") >= 1
    before = kernel.pid
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert holder().process.pid == kernel.pid != before
    os.kill(kernel.pid, signal.SIGKILL)
    until(lambda: not kernel.manager.is_alive(), timeout=10)
    assert holder() is not None, "whoever restarts it finds the device still his"
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert holder().process.pid == kernel.pid and kernel.run("print(2)").strip() == "2"
    kernel.close()
    until(free, "a free device", 5)


def test_it_waits_for_its_device_and_a_request_that_cannot_be_met_fails(new_kernel):
    from jupyter_client.manager import AsyncKernelManager
    from lepton_bench.errors import AllocationTimeout, DeviceError
    from lepton_bench.headless.execution import kernel_spec

    async def wait() -> str:
        manager = AsyncKernelManager()
        manager._kernel_spec = kernel_spec("lepton-7", 7)
        with pytest.raises(DeviceError, match="2 simulated"): await manager.start_kernel()
        manager = AsyncKernelManager()
        manager._kernel_spec = kernel_spec("lepton-2", 2, device_timeout=.5)
        with pytest.raises(AllocationTimeout, match="sim-0 by"): await manager.start_kernel()
        manager = AsyncKernelManager()
        manager._kernel_spec = kernel_spec("lepton-2", 2, device_timeout=30.)
        starting = asyncio.create_task(manager.start_kernel())
        beats = 0
        while not any(d.holder and d.holder.allocation == "busy" for d in lb.devices()) or beats < 20:
            await asyncio.sleep(.01)
            beats += 1
        assert not starting.done(), "the loop goes on while the kernel waits"
        await asyncio.to_thread(alloc.release)
        await starting
        names = {d.holder.allocation for d in lb.devices()}
        await manager.shutdown_kernel(now=True)
        return names.pop() if len(names) == 1 else str(names)
    alloc = lb.allocate(1, name="busy")
    loop = asyncio.new_event_loop()  # asyncio.run would leave the main thread without one, which other tests want
    try: assert loop.run_until_complete(wait()).startswith("kernel ")
    finally: loop.close()
    until(free, "free devices", 5)


def test_an_allocation_stands_on_the_kernels_devices(new_kernel):
    kernel = new_kernel(name="lepton-1")
    said = kernel.run("import lepton_bench as lb\nalloc = lb.allocate(1, name='own')\nprint(alloc.device_ids, alloc.launch(lambda: 5).results())")
    assert "['sim-0'] [5]" in said
    assert holder().allocation == "own" and holder("sim-1") is None
    refused = kernel.run("lb.allocate(2)", check=False)
    assert "own" in refused and "attach" in refused, "nobody waits for himself"
    assert kernel.run("alloc.release(); both = lb.allocate(2, name='both')\nprint(sorted(both.device_ids))").strip().splitlines()[-1] == "['sim-0', 'sim-1']"
    assert holder("sim-1").allocation == "both"
    kernel.run("both.release()")
    assert holder().process.pid == kernel.pid and holder("sim-1") is None, "one is the kernel's own, the other free"
    assert "cuda" in kernel.run("lb.allocate(1, kind='cuda')", check=False)
    kernel.close()
    until(free, "free devices", 5)


def test_a_run_survives_the_kernel_on_whose_device_it_is(new_kernel, tmp_path):
    kernel = new_kernel(name="lepton-1")
    id = kernel.run(f"""import lepton_bench as lb
def train(stop):
    import os, time
    i = 0
    while not os.path.exists(stop):
        lb.log(step=i, x=i)
        i += 1
        time.sleep(.01)
run = lb.allocate(1, name="lasting").launch(train, {str(tmp_path/"stop")!r})
print(run.id)""").split()[-1]
    run = get_run(id)
    until(lambda: run.metrics().num_rows > 5, timeout=20)
    kernel.kill()
    until(lambda: not kernel.manager.is_alive(), timeout=10)
    kernel.close()
    seen = run.metrics().num_rows
    until(lambda: run.metrics().num_rows > seen + 20, "the run goes on", 20)
    assert holder().allocation == "lasting"
    (tmp_path/"stop").touch()
    assert run.wait(20).status == "done"
    lb.attach("lasting").release()
    until(free, "a free device", 5)
