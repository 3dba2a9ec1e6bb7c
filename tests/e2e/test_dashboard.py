"""The run dashboard in a real JupyterLab, over a real run of two ranks: curves, zoom, logs, stop, reload, a server that goes and comes back."""
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import AXE, LabServer, browser_page, environment, lab_server, release, until  # noqa: E402

LAUNCH = """import sys, time
from pathlib import Path
import lepton_bench as lb
def train(stop, fail_at=-1, lines=0):
    import math, os, random, time
    from pathlib import Path
    for k in range(lines): print(f"line {k:07d} of many, which nobody reads from the first to the last", flush=k + 1 == lines)
    i = (lb.load_checkpoint() or {"step": 0})["step"]
    while not Path(stop).exists():
        lb.log(step=i, loss=math.exp(-i / 100) + .05 * random.random(), accuracy=float("nan") if i == 20 else 1 - math.exp(-i / 100), lr=.1 * .99 ** i)
        lb.progress(i, 5000)
        if i % 10 == 0: print(f"step {i} on rank {os.environ['RANK']}", flush=True)
        if i and i % 100 == 0: lb.save_checkpoint({"step": i}, i)
        if i == fail_at and not Path(stop + "-failed").exists():
            Path(stop + "-failed").touch()
            raise ValueError("this was to be expected")
        i += 1
        time.sleep(.01)
alloc = lb.allocate(2)
run = alloc.options(name=NAME, max_restarts=RESTARTS, retry_exceptions=True).launch(train, "stop-it", **OPTIONS)
print("RUN", run.id, flush=True)
waiting = alloc.options(name="the one behind").launch(train, "stop-it")
print("RUN", waiting.id, flush=True)
while not Path("over").exists(): time.sleep(.1)
"""
FADED = "() => document.getAnimations().every(a => !(a instanceof CSSTransition) || a.playState !== 'running')"  # JupyterLab fades its colours
NAME = "a run whose name is far too long for a tab, a toolbar or anybody's patience"


@pytest.fixture(scope="module")
def env(place, tmp_path_factory) -> dict[str, str]: return environment(place, tmp_path_factory.mktemp("jupyter"))


@pytest.fixture(scope="module")
def server(env, tmp_path_factory) -> Iterator[str]:
    "JupyterLab's address; one test has a server of its own, which it stops."
    with lab_server(tmp_path_factory.mktemp("lab"), env) as address: yield address


class Training:
    "Two ranks that train until they are told to stop, and a run in line behind them."
    def __init__(self, folder: Path, environment: dict[str, str], restarts: int = 0, **options: Any):
        self.folder, self.environment = folder, environment
        code = LAUNCH.replace("NAME", repr(NAME)).replace("RESTARTS", str(restarts)).replace("OPTIONS", repr(options))
        (folder/"launch.py").write_text(code)
        self.output = folder/"launch.txt"
        with self.output.open("w") as out:
            self.process = subprocess.Popen([sys.executable, "launch.py"], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        until(lambda: len(self.ids) == 2, "both runs are launched", 60, self.output.read_text)

    @property
    def ids(self) -> list[str]: return re.findall(r"RUN (\S+)", self.output.read_text())

    def status(self, k: int = 0) -> str:
        return json.loads((Path(self.environment["LEPTON_BENCH_HOME"])/"runs"/self.ids[k]/"run.json").read_text())["status"]

    def points(self) -> int:
        "How many there are."
        from lepton_bench.metrics.storage import read_metrics
        return read_metrics(Path(self.environment["LEPTON_BENCH_HOME"])/"runs"/self.ids[0]).num_rows

    def end(self) -> None:
        for name in ("stop-it", "over"): (self.folder/name).touch()
        try: self.process.wait(20)
        finally:
            self.process.kill()
            release(self.environment)


class Dashboard:
    "The dashboard that is in front."
    def __init__(self, page: Any):
        self.page = page
        self.root = page.locator(".jp-lb-Dashboard:visible")
        self.tabpanel = self.root.locator(".jp-lb-Page:visible")

    def load(self, address: str) -> "Dashboard":
        "A page of JupyterLab, everything in its place."
        base, _, token = address.partition("?")
        self.page.goto(f"{base}?reset&{token}")
        return self.ready()

    def ready(self) -> "Dashboard":
        self.page.wait_for_function("window.jupyterapp && window.jupyterapp.restored", timeout=60_000)
        self.page.evaluate("window.jupyterapp.restored.then(() => 1)")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
        return self

    def open(self, run: str) -> None:
        self.page.evaluate("run => window.jupyterapp.commands.execute('lepton-bench:open-run', {run}).then(() => 1)", run)
        self.root.wait_for(timeout=60_000)

    def theme(self, name: str) -> None:
        self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached", timeout=60_000)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)

    def tab(self, name: str) -> None: self.root.get_by_role("tab", name=name).click()

    def points(self) -> int:
        found = re.search(r"([\d,]+) points", self.root.locator(".lb-state").first.inner_text())
        return int(found[1].replace(",", "")) if found else 0

    def steps(self) -> float:
        "The last step that the first panel shows."
        label = self.root.locator(".lb-panel [role=img]").first.get_attribute("aria-label") or ""
        return float(label.rpartition(" ")[2])

    def lines(self) -> list[str]: return self.root.locator(".jp-lb-Log-lines > div").all_inner_texts()

    def problems(self) -> list[str]:
        "What axe-core finds in the dashboard that is serious or worse."
        if not self.page.evaluate("!!window.axe"): self.page.add_script_tag(path=AXE)
        found = self.page.evaluate("async () => (await axe.run('.jp-lb-Dashboard:not(.lm-mod-hidden)')).violations")
        return [f"{v['id']} ({v['impact']}): {[n['html'][:200] for n in v['nodes'][:3]]} {v['nodes'][0].get('failureSummary', '')[:400]}"
                for v in found if v["impact"] in ("serious", "critical")]


@pytest.fixture
def training(tmp_path_factory, env) -> Iterator[Training]:
    made = Training(tmp_path_factory.mktemp("work"), env)
    yield made
    made.end()


@pytest.fixture
def page() -> Iterator[Any]:
    with browser_page() as page: yield page


def test_curves_grow_zoom_logs_and_stop(training, server, page, screenshots):
    board = Dashboard(page).load(server)
    board.open(training.ids[0])
    before = until(lambda: board.tabpanel.locator(".lb-panel canvas").count() == 3 and board.points(), "three curves", 30, board.root.inner_text)
    until(lambda: board.points() > before + 100, "they grow", 30, lambda: (before, board.points()))
    assert "1 not finite" in board.tabpanel.locator(".lb-panel", has_text="accuracy").inner_text()
    board.open(training.ids[0])
    assert page.locator(".jp-lb-Dashboard").count() == 1, "the same run is not opened twice"

    over = board.tabpanel.locator(".u-over").first.bounding_box()
    page.mouse.move(over["x"] + 40, over["y"] + 40)
    page.mouse.down()
    page.mouse.move(over["x"] + 120, over["y"] + 60, steps=4)
    page.mouse.up()
    board.tabpanel.get_by_text("show all").wait_for(timeout=5000)
    page.screenshot(path=screenshots/"dashboard-zoom.png")
    page.mouse.dblclick(over["x"] + 60, over["y"] + 40)
    until(lambda: board.tabpanel.get_by_text("show all").is_hidden(), "a double click shows all", 5)
    board.tabpanel.locator(".lb-panel [role=img]").first.focus()
    page.keyboard.press("+")
    until(lambda: board.tabpanel.get_by_text("show all").is_visible(), "a key zooms", 5)
    page.keyboard.press("Escape")
    until(lambda: board.tabpanel.get_by_text("show all").is_hidden(), "a key shows all", 5)

    board.tabpanel.locator(".lb-panel").first.hover()
    with page.expect_download() as picture: board.tabpanel.locator(".lb-panel").first.get_by_text("PNG").click()
    assert Path(picture.value.path()).read_bytes()[:4] == b"\x89PNG"
    with page.expect_download() as table: board.tabpanel.locator(".lb-panel").first.get_by_text("CSV").click()
    assert Path(table.value.path()).read_text().splitlines()[0] == "step,time,rank,name,value"

    board.tab("Logs")
    until(lambda: any("on rank 0" in line for line in board.lines()), "the log is shown", 10, board.lines)
    last = board.lines()[-1]
    until(lambda: board.lines()[-1] != last, "it follows", 10)
    board.root.locator("select").select_option("1")
    until(lambda: any("on rank 1" in line for line in board.lines()), "the other rank's log", 10, board.lines)
    board.root.get_by_label("search the log").fill("step 50 ")
    page.keyboard.press("Enter")
    until(lambda: board.root.locator(".jp-mod-current mark").count() == 1, "the match is shown", 10, board.root.inner_text)
    assert "step 50 on rank 1" in board.root.locator(".jp-mod-current").inner_text()
    page.screenshot(path=screenshots/"dashboard-logs.png")
    for name, text in (("About", "stop-it"), ("Checkpoints", "100"), ("Devices", "cpu-0")):
        board.tab(name)
        until(lambda text=text: text in board.root.inner_text(), f"{name} says {text}", 15, board.root.inner_text)
        page.screenshot(path=screenshots/f"dashboard-{name.lower()}.png")

    board.open(training.ids[1])
    until(lambda: f"busy with run {training.ids[0]}" in board.root.inner_text(), "it says behind whom it waits", 10, board.root.inner_text)
    page.screenshot(path=screenshots/"dashboard-waiting.png")
    board.open(training.ids[0])
    board.tab("Plots")
    board.root.locator("jp-button", has_text="Stop").click()
    until(lambda: training.status() == "stopped", "the run has been stopped", 30, training.status)
    until(lambda: "stopped" in board.root.locator(".jp-lb-Status").inner_text(), "and the page says so", 10)
    until(lambda: "live" not in board.root.locator(".lb-state").first.inner_text(), "it is not live any more", 10)
    page.screenshot(path=screenshots/"dashboard-stopped.png")


def test_a_reload_and_a_server_that_goes_and_comes_back(training, env, page, screenshots):
    server = LabServer(training.folder, env)
    address = server.start()
    try:
        board = Dashboard(page).load(address)
        board.open(training.ids[0])
        until(lambda: board.tabpanel.locator(".lb-panel canvas").count() == 3, "curves", 30)
        board.tab("Logs")
        def saved() -> str: return "".join(p.read_text() for p in (training.folder/".lab"/"workspaces").glob("*"))
        until(lambda: re.search(r'"page":\s*1', saved()), "the layout is saved", 20, saved)
        page.goto(address)
        board.ready()
        until(lambda: any("on rank 0" in line for line in board.lines()), "the logs are in front again after a reload", 30, board.root.inner_text)
        board.tab("Plots")
        until(lambda: board.tabpanel.locator(".lb-panel canvas").count() == 3, "the curves are back after a reload", 30, board.root.inner_text)
        server.stop()
        until(lambda: board.root.locator(".jp-lb-Banner").is_visible(), "the page says that the server is gone", 30)
        assert board.tabpanel.locator(".lb-panel canvas").count() == 3, "what was drawn stays"
        until(lambda: "not connected" in board.tabpanel.locator(".lb-state").inner_text(), "and is not called live", 10)
        page.screenshot(path=screenshots/"dashboard-gone.png")
        before = board.steps()
        server.start(int(re.search(r":(\d+)/", address)[1]))
        until(lambda: board.root.locator(".jp-lb-Banner").is_hidden(), "the connection is back", 40, board.root.inner_text)
        until(lambda: board.steps() > before + 100, "and the curve goes on", 20, lambda: (before, board.steps()))
        (training.folder/"stop-it").touch()
        until(lambda: training.status() == "done", "the run ends", 30, training.status)
        if (dialog := page.locator(".jp-Dialog")).count(): dialog.locator(".jp-Dialog-button").last.click()  # JupyterLab's own, about the server
        board.tabpanel.get_by_text("ranks", exact=True).click()
        until(lambda: board.points() == training.points(), "every point is there once", 20, lambda: (board.points(), training.points()))
        shutil.rmtree(Path(env["LEPTON_BENCH_HOME"])/"runs"/training.ids[0])
        until(lambda: "has been deleted" in board.root.locator(".jp-lb-Banner").inner_text(), "a deleted run is called so", 20)
        assert board.tabpanel.locator(".lb-panel canvas").count() == 3
    finally: server.stop()


def test_a_restart_a_failure_and_a_run_that_is_not_there(tmp_path_factory, env, server, page, screenshots):
    training = Training(tmp_path_factory.mktemp("work"), env, restarts=1, fail_at=150, lines=20_000)
    try:
        board = Dashboard(page).load(server)
        board.open(training.ids[0])
        until(lambda: "restarted 1×" in board.root.inner_text(), "the restart is shown", 60, board.root.inner_text)
        page.screenshot(path=screenshots/"dashboard-restarted.png")
        board.tab("About")
        until(lambda: "this was to be expected" in board.root.inner_text(), "and why", 10, board.root.inner_text)
        board.tab("Logs")
        until(board.lines, "lines", 10)
        view = board.root.locator(".jp-lb-Log-view")
        view.hover()
        seen = set[int]()
        def scroll() -> bool:
            "Upwards, until the first line is there."
            page.mouse.wheel(0, -4000)
            seen.update(int(n) for line in board.lines() for n in re.findall(r"^line (\d+) of", line))
            return 0 in seen
        until(scroll, "the first line is reached", 60, lambda: (len(seen), min(seen, default=None)))
        assert board.root.get_by_text("Jump to end").is_visible()
        board.root.get_by_text("Jump to end").click()
        until(lambda: any("step" in line for line in board.lines()), "the end is back", 10, board.lines)
        board.open("20200101-000000-0000")
        until(lambda: "There is no run 20200101-000000-0000" in board.root.inner_text(), "it says that there is none", 10)
        page.screenshot(path=screenshots/"dashboard-missing.png")
    finally: training.end()


@pytest.mark.skipif(not AXE.exists(), reason="NO AXE: cd extension && npm ci")
def test_access_in_every_theme(training, server, page, screenshots):
    found = dict[str, list[str]]()
    board = Dashboard(page).load(server)
    board.open(training.ids[0])
    until(lambda: board.tabpanel.locator(".lb-panel canvas").count() == 3, "curves", 30)
    for theme in ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"):
        board.theme(theme)
        for tab in ("Plots", "Logs", "About", "Checkpoints", "Devices"):
            board.tab(tab)
            until(lambda: len(board.root.inner_text()) > 100, "something is shown", 10)
            page.mouse.move(2, 2)
            page.wait_for_function(FADED, timeout=60_000)
            end = time.monotonic() + 5
            while (problems := board.problems()) and time.monotonic() < end: pass  # a theme's colours come one after the other
            page.screenshot(path=screenshots/f"dashboard-{tab.lower()}-{theme.split(maxsplit=1)[1].replace(' ', '-').lower()}.png")
            if problems: found[f"{theme}, {tab}"] = problems
    assert not found, json.dumps(found, indent=1)
