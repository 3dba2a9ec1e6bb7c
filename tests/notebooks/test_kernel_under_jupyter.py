"""In a real kernel under a real Jupyter server: notebook functions, output in the launching cell, a free kernel, and survival of both."""
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.processes.identity import ProcessId

NOTEBOOK = """
import lepton_bench as lb, torch, time
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
scale = 3
alloc = lb.allocate(2, name="{name}")
"""


def answers(client) -> bool:
    "Whether a kernel is ready; on a busy machine its heart may miss a beat first."
    try: client.wait_for_ready(timeout=20)
    except RuntimeError: return False
    return True


@pytest.fixture
def simulated(monkeypatch): monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")


@pytest.fixture
def kernel(simulated, new_kernel, request):
    kernel = new_kernel()
    kernel.run(NOTEBOOK.format(name=request.node.name[:38]))
    yield kernel
    kernel.run("lb.attach(alloc.name).release()", check=False)


def test_what_a_notebook_defines_runs_on_ranks(kernel):
    assert kernel.value("""[(type(n) is Net, n.layer.weight.shape[1], float(t)) for n, t in alloc.launch(
        lambda width, x: (Net(width), x.sum() * scale), 5, torch.ones(4)).results(60)]""") == [[True, 5, 12.], [True, 5, 12.]]


def test_output_and_failure_show_in_the_launching_cell(kernel):
    kernel.run("def bad():\n    print('epoch 3')\n    raise ValueError('bad batch')  # the person wrote this\nrun = alloc.launch(bad)")
    shown = [m["content"] for m in kernel.messages if m["msg_type"] == "display_data"]
    assert len(shown) == 1
    display = shown[0]["transient"]["display_id"]
    texts = []

    def finished():
        kernel.run("run.wait(30); import time; time.sleep(.05)")
        texts.extend(m["content"]["data"]["text/plain"] for m in kernel.messages
                     if m["msg_type"] == "update_display_data" and m["content"]["transient"]["display_id"] == display)
        return any("failed" in t for t in texts)
    until(finished, "the end in the launching cell", 30)
    assert "[0-1] epoch 3" in texts[-1] and "# the person wrote this" in texts[-1] and "bad batch" in texts[-1] and "Cell In[" in texts[-1]
    error = kernel.run("run.result()", check=False)
    assert "# the person wrote this" in error and "RunError" in error


def test_the_kernel_stays_free(kernel):
    kernel.run("def busy():\n    while True: lb.log(loss=float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()))\nrun = alloc.launch(busy)")
    until(lambda: kernel.value("run.metrics().num_rows") > 10, timeout=30)
    kernel.round_trip()
    assert kernel.value("run.status") == "running", "cells were answered beside it"
    kernel.run("run.stop()")


def test_interrupts_in_a_kernel(kernel):
    kernel.run("run = alloc.launch(time.sleep, 1000)")
    def says(number, text):
        message = kernel.client.get_iopub_msg(timeout=60)
        return message["parent_header"].get("msg_id") == number and text in message["content"].get("text", "")
    def waits(): return any(a["name"] == "greedy" for a in lb.allocations())
    for cell, ready in (("run.wait()", lambda: True), ("lb.allocate(1, name='greedy')", waits)):
        number = kernel.client.execute(f"print('inside', flush=True); {cell}")
        until(lambda number=number: says(number, "inside"), what="a cell that runs")
        until(ready, what="a ticket in the queue")
        kernel.interrupt()
        reply = kernel.client.get_shell_msg(timeout=60)
        while reply["parent_header"]["msg_id"] != number: reply = kernel.client.get_shell_msg(timeout=60)
        assert reply["content"]["status"] == "error" and reply["content"]["ename"] == "KeyboardInterrupt"
    assert kernel.value("run.status") == "running" and kernel.value("[a['name'] for a in lb.allocations()]") == [lb.allocations()[0]["name"]]
    assert kernel.value("run.stop().status") == "stopped"


def test_repeating_cells_and_changing_the_environment(kernel):
    assert kernel.value("lb.allocate(2, name=alloc.name) is alloc")
    kernel.run("%env FLAVOUR=mint\n%cd /")
    assert kernel.value("alloc.launch(lambda: [__import__('os').environ['FLAVOUR'], __import__('os').getcwd()]).result(30)") == ["mint", "/"]


# --- survival -------------------------------------------------------------------------------------

class Server:
    "A real Jupyter server, spoken to over HTTP and with its kernels over their connection files."
    def __init__(self, folder: Path):
        self.runtime = folder/"runtime"
        self.runtime.mkdir()
        self.log = open(folder/"server.log", "w")
        self.process = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.token=secret", "--ServerApp.port=0",
                                         f"--ServerApp.root_dir={folder}"], stdout=self.log, stderr=self.log, start_new_session=True,
                                        env={**os.environ, "JUPYTER_RUNTIME_DIR": str(self.runtime)})
        self.url = until(self._url, "a Jupyter server", 60)

    def _url(self):
        for path in self.runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text())["url"]
                with urllib.request.urlopen(f"{url}api", timeout=2): return url  # the file is there before the server answers
            except (OSError, ValueError, KeyError): return None

    def request(self, path, data=None):
        request = urllib.request.Request(f"{self.url}{path}", headers={"Authorization": "token secret", "Content-Type": "application/json"},
                                         data=None if data is None else json.dumps(data).encode())
        with urllib.request.urlopen(request, timeout=30) as answer: return json.loads(answer.read())

    def kernel(self):
        from jupyter_client import BlockingKernelClient
        kernel_id = self.request("api/kernels", {"name": "python3"})["id"]
        client = BlockingKernelClient(connection_file=str(self.runtime/f"kernel-{kernel_id}.json"))
        client.load_connection_file(); client.start_channels()
        until(lambda: answers(client), "the kernel", 60)
        return client


def test_a_run_survives_its_kernel_and_the_jupyter_server(simulated, tmp_path, new_kernel):
    server = Server(tmp_path)
    try:
        client = server.kernel()
        outputs = []
        def collect(message):
            if message["msg_type"] == "stream": outputs.append(message["content"]["text"])
        code = NOTEBOOK.format(name="survivor") + f"stop = {str(tmp_path/'stop')!r}" + """
def train():
    import time
    from pathlib import Path
    i = 0
    while not Path(stop).exists():
        lb.log(step=i, loss=1/(i + 1))
        time.sleep(.01)
        i += 1
    return i
run = alloc.launch(train)
import os
print("RUN", run.id, os.getpid())
"""
        reply = client.execute_interactive(code, timeout=60, output_hook=collect)
        assert reply["content"]["status"] == "ok", reply
        run_id, pid = next(line.split()[1:] for line in "".join(outputs).splitlines() if line.startswith("RUN"))
        kernel, run = ProcessId.of(int(pid)), lb.get_run(run_id)
        until(lambda: run.metrics().num_rows > 100, "a run under way", 30)
        client.stop_channels()
        os.kill(kernel.pid, signal.SIGKILL)
        until(lambda: not kernel.alive(), timeout=5)
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)  # the server and what it started
        server.process.wait(10)
        server.log.close()
    assert run.status == "running"
    again = new_kernel()
    again.run("import lepton_bench as lb\nalloc = lb.attach('survivor')\nrun = lb.runs()[0]")
    assert again.value("run.id") == run_id and again.value("run.status") == "running"
    before = run.metrics().num_rows
    until(lambda: run.metrics().num_rows > before + 100, "the run goes on", 30)
    (tmp_path/"stop").touch()
    steps = again.value("run.results(60)")
    rows = run.metrics().to_pylist()
    assert all([p["step"] for p in rows if p["rank"] == rank] == list(range(steps[rank])) for rank in (0, 1)), "no step is missing, none is double"
    assert again.value("alloc.launch(len, 'abc').results(30)") == [3, 3]
    again.run("alloc.release()")
    assert lb.allocations() == []
