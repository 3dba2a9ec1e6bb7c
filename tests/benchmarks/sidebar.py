"""The sidebar with 64 devices, 20 allocations and 5,000 runs while everything changes, in Chromium.   python tests/benchmarks/sidebar.py [seconds]

The server, its allocations and the files of the runs are real. The changes are more than a real bench makes: to the server's own messages
the socket adds about ten times a second all devices, all allocations and 60 running runs. What is counted: frames drawn in a second, and
tasks that held the page for more than 50 ms.
"""
import json
import random
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent.parent/"e2e")]
from support.isolation import REPOSITORY, Isolation
from lab import browser_page, lab_server, until

from lepton_bench.store.runs import RunRecord

DEVICES, ALLOCATIONS, RUNS, GOING = 64, 20, 5000, 60
LONG = """window.long = []; window.frames_drawn = 0;
new PerformanceObserver(all => window.long.push(...all.getEntries().map(e => Math.round(e.duration)))).observe({type: 'longtask'});
(function frame() { window.frames_drawn++; requestAnimationFrame(frame); })()"""


def write_runs(home: Path) -> None:
    "Folders of runs that have ended, a minute apart."
    for i in range(RUNS):
        created, status = time.time() - 60 * i, random.choice(["done", "done", "failed", "stopped"])
        id = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(created)) + f"{i:04x}"
        record = RunRecord(id, name=random.choice(["train", "evaluate", "pretrain_language_model"]), status=status, created=created, started=created,
                           ended=created + 50, arguments=f"lr={random.random():.4f}, epochs={i}")
        (home/"runs"/id).mkdir(parents=True)
        (home/"runs"/id/"run.json").write_text(json.dumps(asdict(record)))


class Socket:
    "What the server says to the page, and more of it."

    def __init__(self, page: Any) -> None:
        self.rows: dict[str, dict[str, dict]] = {"devices": {}, "allocations": {}, "runs": {}, "requests": {}}
        self.since: dict[str, dict] = {}
        page.route_web_socket("**/lepton-bench/ws*", self.take)

    def take(self, page: Any) -> None:
        self.page, server = page, page.connect_to_server()
        page.on_message(server.send)
        server.on_message(self.hear)

    def hear(self, data: bytes | str) -> None:
        self.page.send(data)
        message = json.loads(data) if isinstance(data, str) else {}
        if (topic := message.get("topic")) not in self.rows: return
        self.rows[topic].update({row["key"]: row for row in message["upsert"]})
        self.since[topic] = {"epoch": message["epoch"], "version": message["version"]}

    def say(self, topic: str, rows: list[dict]) -> None:
        self.page.send(json.dumps({"topic": topic, **self.since[topic], "full": False, "upsert": rows, "remove": []}))

    def burst(self, n: int) -> None:
        "Everything is another."
        use = {"every": 5, "use": random.choices(range(101), k=60)}
        self.say("devices", [{**row, "utilisation": random.random(), "history": use} for row in self.rows["devices"].values()])
        self.say("allocations", [{**row, "state": "running", "run": "one", "warning": f"warning {n}"} for row in self.rows["allocations"].values()])
        going = {"status": "running", "ended": None, "started": time.time() - 50, "progress": {"done": n, "total": 1000}}
        self.say("runs", [{**row, **going, "values": {"loss": random.random()}} for row in list(self.rows["runs"].values())[:GOING]])


def measure(page: Any, socket: Socket, seconds: float) -> None:
    page.evaluate("window.long.length = window.frames_drawn = 0")
    begin, n = time.monotonic(), 0
    while time.monotonic() < begin + seconds:
        socket.burst(n := n + 1)
        page.evaluate("top => document.querySelector('.jp-lb-list').scrollTop = top", 97 * n % 20_000)
        page.wait_for_timeout(80)
    taken = time.monotonic() - begin
    frames, long = page.evaluate("[window.frames_drawn, window.long]")
    print(f"while it streams: {n/taken:.1f} times a second {DEVICES + ALLOCATIONS + GOING} rows changed, {frames/taken:.0f} frames a second,",
          f"tasks over 50 ms: {long or 'none'}")
    page.evaluate("window.long.length = 0")
    page.locator(".jp-lb-filter input").press_sequentially("train lr=0.1", delay=60)
    until(lambda: " of " in page.locator(".jp-lb-count").inner_text(), "the filter works", 10)
    print(f"while a filter is typed: {page.locator('.jp-lb-count').inner_text()}, tasks over 50 ms: {page.evaluate('window.long') or 'none'}")


def main(seconds: float) -> None:
    place = Isolation.new()
    folder, extensions, config = (place.root/name for name in ("lab", "jupyter/labextensions", "config/jupyter_server_config.d"))
    for made in (folder, extensions, config): made.mkdir(parents=True)
    (extensions/"lepton-bench").symlink_to(REPOSITORY/"lepton_bench"/"labextension")
    (config/"lepton_bench.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"lepton_bench": True}}}))
    write_runs(place.root/"home")
    env = {**place.environment(), "PYTHONPATH": str(REPOSITORY), "JUPYTER_PATH": str(place.root/"jupyter"), "LEPTON_BENCH_SIMULATED": str(DEVICES)}
    try:
        with lab_server(folder, env) as address, browser_page((1400, 1000)) as page:
            for i in range(ALLOCATIONS):
                body, url = json.dumps({"count": 1, "name": f"allocation-{i}"}).encode(), address.partition("lab?")[0] + "lepton-bench/api/requests"
                ask = urllib.request.Request(url, body, {"Authorization": "token looking"}, method="POST")
                urllib.request.urlopen(ask, timeout=60).close()
            socket = Socket(page)
            page.add_init_script(LONG)
            page.goto(address.replace("?", "?reset&"))
            page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
            page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").click()
            begin = time.monotonic()  # the server reads the runs while they are shown
            until(lambda: f"{RUNS} runs" in page.locator(".jp-lb-runs, .jp-lb-empty").last.inner_text(), "the runs are shown", 60)
            print(f"shown {time.monotonic() - begin:.1f} s after it was opened, {page.locator('.jp-lb-run').count()} rows drawn")
            measure(page, socket, seconds)
    finally:
        subprocess.run([Path(sys.executable).parent/"lepton-bench", "release", "--all"], env=env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=60)
        if left := place.shut_down(): print("left behind:", *left, sep="\n  ", file=sys.stderr)
        place.remove()


if __name__ == "__main__": main(float(sys.argv[1]) if sys.argv[1:] else 10.)
