"""Jupyter Notebook 7: it has no sidebar of ours by itself and no status bar; what makes sense there works, and nothing crashes."""
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))
from lab import browser_page, environment, kernel_ready, lab_server, release, until, write_notebook  # noqa: E402

CELLS = ["import lepton_bench as lb\nfrom pathlib import Path\nalloc = lb.allocate(2, name='seventh')", """def train(stop):
    import time
    from pathlib import Path
    i = 0
    while not Path(stop).exists():
        lb.log(step=i, loss=1 / (i + 1))
        i += 1
        time.sleep(.02)
run = alloc.launch(train, "stop")""", "run.plot()"]


def test_a_notebook_and_its_dashboard(tmp_path, place, screenshots):
    write_notebook(tmp_path/"seven.ipynb", CELLS)
    wrong: list[str] = []
    try:
        with lab_server(tmp_path, environment(place, tmp_path), module="notebook") as address, browser_page() as page:
            page.on("pageerror", lambda error: wrong.append(error.stack or str(error)))
            page.goto(address)
            page.locator(".jp-DirListing-item", has_text="seven.ipynb").wait_for(timeout=60_000)
            page.goto(address.replace("/tree?", "/notebooks/seven.ipynb?"))
            item = page.locator(".jp-lb-nb-devices").first
            item.wait_for(timeout=60_000)
            until(lambda: "no devices" in item.inner_text(), "the toolbar says that there are none", 30, item.inner_text)
            kernel_ready(page)
            page.locator(".jp-NotebookPanel .jp-Cell").first.click()
            for _ in CELLS: page.keyboard.press("Shift+Enter")
            until(lambda: "running" in item.inner_text(), "the toolbar says that the run goes", 60, item.inner_text)
            page.locator(".jp-Cell", has_text="run.plot()").last.scroll_into_view_if_needed()  # a plot asks for data when it is in view
            page.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
            until(lambda: "running" in item.inner_text(), "the toolbar says that the run goes", 30, item.inner_text)
            item.click()
            page.locator(".lm-Menu-item", has_text="Open").first.click()
            page.locator(".jp-lb-Dashboard canvas").first.wait_for(timeout=60_000)
            page.screenshot(path=screenshots/"notebook7.png")
            (tmp_path/"stop").touch()
            until(lambda: page.locator(".jp-lb-Dashboard [data-status='done']").count(), "the dashboard says that it is done", 30)
    finally: release(place.environment())
    assert not [w for w in wrong if "labextensions/lepton-bench" in w], wrong  # Notebook 7.6 has one of its own in its settings, without us too
