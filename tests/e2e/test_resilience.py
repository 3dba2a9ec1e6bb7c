"""A page is loaded again, the network is cut, the Jupyter server or the kernel ends: the run goes on, and the panels have the whole curve."""
import json
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cable import Cable  # noqa: E402
from lab import LabServer, Notebook, browser_page, environment, release, until, write_notebook  # noqa: E402

CELLS = ["""import os
from pathlib import Path
import lepton_bench as lb
Path("kernel").write_text(str(os.getpid()))
alloc = lb.allocate(2, name="lasting")""", """def train(stop):
    import math, time
    from pathlib import Path
    i = 0
    while not Path(stop).exists():
        lb.log(step=i, loss=math.exp(-i / 500))
        i += 1
        time.sleep(.15)  # the whole test is fewer points than a plot has room for: it is shown each of them
    return i
run = alloc.launch(train, "stop")
Path("run").write_text(run.id)"""]


class Bench:
    "A notebook that trains, its page behind a cable, and the dashboard of its run."

    def __init__(self, folder: Path, place, page) -> None:
        self.folder, self.place, self.page = folder, place, page
        self.server = LabServer(folder, environment(place, folder))
        self.frames: list[tuple[dict, list[bytes]]] = []  # the newest answer with series
        page.on("websocket", lambda socket: socket.on("framereceived", self.take) if "/lepton-bench/ws" in socket.url else None)
        address = self.server.start()
        self.port = urlsplit(address).port
        self.cable = Cable(self.port)
        write_notebook(folder/"lasting.ipynb", CELLS)
        self.notebook = Notebook(page, address.replace(str(self.port), str(self.cable.port), 1), "lasting.ipynb")
        self.notebook.run_all()
        until(lambda: (folder/"run").exists(), "the run goes", 60, self.notebook.errors)
        self.run = (folder/"run").read_text()
        self.open()

    def take(self, data: bytes | str) -> None:
        "Remember an answer with series, as the page got it."
        if isinstance(data, str): return
        size = struct.unpack_from("<I", data)[0]
        header, at, buffers = json.loads(data[4:4 + size]), 4 + size, []
        for n in header["sizes"]: buffers.append(data[at:(at := at + n)])
        if header["reply"]["kind"] == "series" and buffers: self.frames = [(header["reply"], buffers)]

    def open(self) -> None:
        "The dashboard, through the list of runs."
        self.page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").first.click()
        self.page.locator(f"#lepton-bench-sidebar [data-run='{self.run}']").dblclick(timeout=60_000)
        self.page.locator(".jp-lb-Dashboard canvas").first.wait_for(timeout=60_000)

    def tab(self, label: str) -> None: self.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tabLabel", has_text=label).first.click()

    @property
    def steps(self) -> np.ndarray:
        "Where the newest curve that the page got has points."
        self.page.evaluate("0")  # Playwright tells of frames only while it is asked something
        return np.frombuffer(self.frames[-1][1][0]) if self.frames else np.empty(0)

    def check(self, what: str) -> None:
        "The curve goes on, from the first point on, without a gap and without a double point."
        before = self.steps[-1] if len(self.steps) else 0
        until(lambda: len(self.steps) and self.steps[-1] > before + 20, f"{what}: the curve grows", 60,
              lambda: (before, self.steps[-5:], self.status(), self.page.locator(".jp-lb-Dashboard").all_inner_texts()))
        self.whole(what)
        self.page.locator(".jp-lb-Dashboard canvas").first.wait_for()
        assert self.status() == "running"

    def whole(self, what: str) -> None:
        steps = self.steps  # more come meanwhile
        np.testing.assert_array_equal(steps, np.arange(len(steps)), what)

    def status(self) -> str:
        return json.loads((Path(os.environ["LEPTON_BENCH_HOME"])/"runs"/self.run/"run.json").read_text())["status"]

    def kernel(self) -> int: return int((self.folder/"kernel").read_text())

    def close(self) -> None:
        (self.folder/"stop").touch()
        self.cable.close()
        self.server.stop()
        release(self.place.environment())


@pytest.fixture
def bench(tmp_path, place) -> Iterator[Bench]:
    with browser_page() as page:
        found = Bench(tmp_path, place, page)
        try: yield found
        finally: found.close()


def test_a_reload_a_cut_network_and_a_new_server(bench):
    bench.check("before anything happens")
    bench.page.reload()
    bench.frames.clear()
    bench.check("the page was loaded again")

    bench.cable.cut()
    bench.page.wait_for_timeout(30_000)  # the length of the cut is what is tested
    missed = len(bench.steps)
    bench.cable.mend()
    bench.check("the network was cut for 30 s")
    assert len(bench.steps) > missed + 130, "what came in the meantime is there"

    bench.server.stop()  # its kernels end with it
    until(lambda: "not connected" in bench.page.locator("#lepton-bench-sidebar").inner_text().lower() or
          bench.page.locator("#lepton-bench-sidebar [role=alert]").count(), "the panel says that it is not connected", 30)
    bench.server.start(bench.port)
    bench.check("the server was started again")
    (bench.folder/"stop").touch()
    until(lambda: bench.status() == "done", "the run has ended", 60)
    until(lambda: re.search(r"\bdone\b", bench.page.locator(".jp-lb-Dashboard").inner_text()), "the dashboard says so", 30)
    bench.whole("at the end")


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_kernel_that_ends(bench, how):
    bench.check("before anything happens")
    if how == "killed":
        os.kill(bench.kernel(), signal.SIGKILL)
        bench.page.locator(".jp-Dialog button", has_text="Ok").click()  # JupyterLab says that it starts another one
    else:
        bench.tab("lasting.ipynb")
        bench.notebook.menu("Kernel", "Restart Kernel…")
        bench.page.locator(".jp-Dialog button", has_text="Restart").click()
        bench.tab("train")
    pid = bench.kernel()
    until(lambda: not Path(f"/proc/{pid}").exists(), "the kernel is gone", 30)
    bench.check(f"the kernel was {how}")
    (bench.folder/"stop").touch()
    bench.tab("lasting.ipynb")
    until(lambda: "is done in" in bench.notebook.output("alloc.launch("), "the launching cell says how the run ended", 60,
          lambda: bench.notebook.output("alloc.launch("))
