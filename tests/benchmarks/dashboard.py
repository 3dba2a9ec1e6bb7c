"""The dashboard of a large run in a real JupyterLab and Chromium; by hand, on a quiet machine:   python tests/benchmarks/dashboard.py [rounds]

open     20 series of 1,000,000 points, logged by a real run and read by the server from its folder: from the command `lepton-bench:open-run`
         to the curves of all 20 panels, all points counted; in a server that has not read this run yet, and again after closing it
stream   the same dashboard while the run logs 100 points a second and series: frames per second over 10 s, counted by requestAnimationFrame
size     what the browser loads of the built extension, gzipped
"""
import gzip
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import Figure, Place, place, quiet, show

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"e2e"))
from lab import REPOSITORY, browser_page, lab_server, until

SERIES, POINTS, RATE, SECONDS = 20, 1_000_000, 100, 10
EXTENSION = REPOSITORY/"lepton_bench"/"labextension"
LAUNCH = f"""import time
from pathlib import Path
import lepton_bench as lb
def train(folder):
    import math, random, time
    from pathlib import Path
    names = [f"series_{{k:02d}}" for k in range({SERIES})]
    walk = [0.] * len(names)
    def step(i):
        for k in range(len(walk)): walk[k] += random.random() - .5
        lb.log(step=i, **dict(zip(names, walk)))
    for i in range({POINTS}): step(i)
    (Path(folder)/"loaded").touch()
    while not (Path(folder)/"stream").exists() and not (Path(folder)/"over").exists(): time.sleep(.05)
    begin, i = time.monotonic(), {POINTS}
    while not (Path(folder)/"over").exists():
        while i < {POINTS} + {RATE} * (time.monotonic() - begin): step(i); i += 1
        time.sleep(.01)
alloc = lb.allocate(1)
run = alloc.launch(train, str(Path.cwd()))
print("RUN", run.id, flush=True)
while not Path("over").exists(): time.sleep(.1)
run.wait(60)
alloc.release()
"""
OPENED = """async ({run, least, series}) => {
  const app = window.jupyterapp, start = performance.now();
  performance.clearMarks('lepton-bench:drawn');
  app.commands.execute('lepton-bench:open-run', {run});
  const ready = () => {
    const points = Number((document.querySelector('.jp-lb-Plots .lb-state')?.textContent ?? '').replace(/[^0-9]/g, ''));
    const curves = [...document.querySelectorAll('.jp-lb-Plots .lb-panel canvas')].filter(c => c.width > 100).length;
    return points >= least && curves >= series && performance.getEntriesByName('lepton-bench:drawn').length > 0;
  };
  while (!ready()) {
    if (performance.now() > start + 60000) throw new Error('not drawn: ' + document.querySelector('.jp-lb-Dashboard')?.textContent.slice(0, 500));
    await new Promise(done => requestAnimationFrame(done));
  }
  return (performance.now() - start) / 1000;
}"""
FRAMES = """async seconds => {
  const times = [];
  await new Promise(done => {
    const step = now => { times.push(now); if (now - times[0] < 1000 * seconds) requestAnimationFrame(step); else done(); };
    requestAnimationFrame(step);
  });
  const gaps = times.slice(1).map((t, k) => t - times[k]);
  const points = Number(document.querySelector('.jp-lb-Plots .lb-state').textContent.replace(/[^0-9]/g, ''));
  return {rate: 1000 * gaps.length / (times[times.length - 1] - times[0]), longest: Math.max(...gaps), points};
}"""


def gzipped() -> float:  # kB
    "All scripts and styles of the built extension, as a server with compression sends them."
    return sum(len(gzip.compress(f.read_bytes(), 9)) for f in (EXTENSION/"static").iterdir() if f.suffix in (".js", ".css"))/1000


@contextmanager
def training(where: Place, environment: dict[str, str]) -> Iterator[tuple[Path, str]]:
    "A run that has logged everything and waits: its working directory and id."
    folder = Path(where.root)/"work"
    folder.mkdir()
    (folder/"launch.py").write_text(LAUNCH)
    output = folder/"launch.txt"
    with output.open("w") as out:
        process = subprocess.Popen([sys.executable, "launch.py"], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        until((folder/"loaded").exists, "everything is logged", 300, output.read_text)
        yield folder, output.read_text().rpartition("RUN ")[2].split()[0]
    finally:
        (folder/"over").touch()
        process.wait(60)


def measure(page: Any, address: str, run: str, folder: Path, found: dict[str, list[float]], stream: bool) -> None:
    "Open, close, open again, and watch."
    base, _, token = address.partition("?")
    page.goto(f"{base}?reset&{token}")
    page.wait_for_function("window.jupyterapp && window.jupyterapp.restored", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => 1)")
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=20_000)
    question = {"run": run, "least": SERIES*POINTS, "series": SERIES}
    found.setdefault("first", []).append(page.evaluate(OPENED, question))
    page.evaluate("for (const w of window.jupyterapp.shell.widgets('main')) if (w.id.startsWith('lepton-bench-run')) w.dispose()")
    found.setdefault("again", []).append(page.evaluate(OPENED, question))
    if not stream: return
    (folder/"stream").touch()
    before = page.evaluate(FRAMES, 1)["points"]
    until(lambda: page.evaluate(FRAMES, .2)["points"] > before, "the curves grow", 30)
    watched = page.evaluate(FRAMES, SECONDS)
    found["rate"], found["longest"], found["shown"] = [watched["rate"]], [watched["longest"]], [(watched["points"] - before)/SERIES]
    if file := os.environ.get("LEPTON_BENCH_SCREENSHOTS"): page.screenshot(path=Path(file)/"dashboard-stream.png")


def figures(rounds: int = 3) -> list[Figure]:
    found = dict[str, list[float]]()
    with place() as where:
        folder = Path(where.root)/"jupyter"
        (folder/"labextensions").mkdir(parents=True)
        (folder/"labextensions"/"lepton-bench").symlink_to(EXTENSION)
        (folder/"jupyter_server_config.d").mkdir()
        (folder/"jupyter_server_config.d"/"lepton_bench.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"lepton_bench": True}}}))
        (folder/"jupyter_lab_config.py").write_text("c.LabApp.expose_app_in_browser = True\n")
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        environment = {**where.environment(), "PYTHONPATH": path, "JUPYTER_PATH": str(folder), "JUPYTER_CONFIG_PATH": str(folder)}
        with training(where, environment) as (work, run):
            for r in range(rounds):
                with lab_server(work, environment) as address, browser_page((1600, 1000)) as page:
                    quiet(where)
                    measure(page, address, run, work, found, stream=r == rounds - 1)
    if statistics.median(found["shown"]) < RATE: raise SystemExit(f"only {found['shown']} points of each series came while frames were counted")
    return [Figure("a dashboard of 20 series of 1,000,000 points opens, all curves drawn", "s", found["first"], limit=1.),
            Figure("the same, opened again", "s", found["again"], limit=1.),
            Figure("frames while 100 points/s/series stream in", "1/s", found["rate"], limit=30., more=True),
            Figure("the longest of these frames", "ms", found["longest"]),
            Figure("the built extension, gzipped", "kB", [gzipped()], limit=300.)]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 3))
