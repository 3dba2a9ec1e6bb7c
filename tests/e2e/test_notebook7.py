"""Jupyter Notebook 7: it has no sidebar of ours by itself and no status bar; what makes sense there works, and nothing crashes."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import REPOSITORY, browser_page, chromium, lab_server, until, write_notebook  # noqa: E402

EXTENSION = REPOSITORY/"lepton_bench"/"labextension"/"package.json"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300),
              pytest.mark.skipif(not chromium() and not os.environ.get("CI"), reason="NO BROWSER: there is no Chromium here (apt install chromium)"),
              pytest.mark.skipif(not EXTENSION.exists() and not os.environ.get("CI"),
                                 reason="NO EXTENSION: it is not built here (Node 20 or newer, then: make lab)")]
CELLS = ["import lepton_bench as lb\nfrom pathlib import Path\nalloc = lb.allocate(2, name='seventh')", """def train(stop):
    import time
    from pathlib import Path
    i = 0
    while not Path(stop).exists():
        lb.log(step=i, loss=1 / (i + 1))
        i += 1
        time.sleep(.02)
run = alloc.launch(train, "stop")""", "run.plot()"]


def test_a_notebook_and_its_dashboard(tmp_path, place):
    write_notebook(tmp_path/"seven.ipynb", CELLS)
    shots = os.environ.get("LEPTON_BENCH_SCREENSHOTS")
    env = {**place.environment(), "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))}
    wrong: list[str] = []
    try:
        with lab_server(tmp_path, env, module="notebook") as address, browser_page() as page:
            page.on("pageerror", lambda error: wrong.append(error.stack or str(error)))
            page.goto(address)
            page.locator(".jp-DirListing-item", has_text="seven.ipynb").wait_for(timeout=60_000)
            page.goto(address.replace("/tree?", "/notebooks/seven.ipynb?"))
            item = page.locator(".jp-lb-nb-devices").first
            item.wait_for(timeout=60_000)
            until(lambda: "no devices" in item.inner_text(), "the toolbar says that there are none", 30, item.inner_text)
            page.locator(".jp-NotebookPanel .jp-Cell").first.click()
            for _ in CELLS: page.keyboard.press("Shift+Enter")
            page.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
            until(lambda: "running" in item.inner_text(), "the toolbar says that the run goes", 30, item.inner_text)
            item.click()
            page.locator(".lm-Menu-item", has_text="Open").first.click()
            page.locator(".jp-lb-Dashboard canvas").first.wait_for(timeout=30_000)
            if shots: page.screenshot(path=Path(shots)/"notebook7.png")
            (tmp_path/"stop").touch()
            until(lambda: page.locator(".jp-lb-Dashboard [data-status='done']").count(), "the dashboard says that it is done", 30)
    finally:
        command = [Path(sys.executable).parent/"lepton-bench", "release", "--all"]
        subprocess.run(command, env=place.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=False)
    assert not [w for w in wrong if "labextensions/lepton-bench" in w], wrong  # Notebook 7.6 has one of its own in its settings, without us too
