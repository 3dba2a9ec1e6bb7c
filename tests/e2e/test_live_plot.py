"""The live plot in a real JupyterLab: it grows beside a busy cell, survives a reload, and leaves a picture."""
import json
import os
import re
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))
from lab import Notebook, saved, until, write_notebook  # noqa: E402

TAKE = """import time
from pathlib import Path
import lepton_bench as lb
alloc = lb.allocate(2)"""
LAUNCH = """def train(stop):
    import math, random, time
    from pathlib import Path
    i = 0
    while not Path(stop).exists():
        noise = .05 * random.random()
        lb.log(step=i, loss=math.exp(-i / 100) + noise, accuracy=float("nan") if i == 20 else 1 - math.exp(-i / 100) - noise, lr=.1 * .99 ** i - .01)
        i += 1
        time.sleep(.02)
run = alloc.launch(train, "stop-{0}")"""
BUSY = """while not Path("go-{0}").exists(): time.sleep(.05)  # busy"""
REMOVE = """import shutil
for _ in range(3): shutil.rmtree(run.directory, ignore_errors=True)"""
END = """Path("stop-{0}").touch()
run.wait(60)
alloc.release()"""


def points(page) -> int:
    "How many points the plot says it shows."
    found = re.search(r"live, ([\d,]+) points", page.locator(".lb-state").first.inner_text()) if page.locator(".lb-state").count() else None
    return int(found[1].replace(",", "")) if found else 0


def grows(page, least: int = 40) -> None:
    before = until(lambda: points(page), "the plot shows points", 30, lambda: page.locator(".lb-plot").all_inner_texts())
    until(lambda: points(page) > before + least, "the plot grows", 30, lambda: (before, page.locator(".lb-plot").all_inner_texts()))


def start(page, server: str, folder: Path, name: str, *more: str) -> Notebook:
    "A notebook whose run goes on until the file stop-NAME is there, and whose busy cell waits for go-NAME."
    write_notebook(folder/f"{name}.ipynb", [TAKE, LAUNCH.replace("{0}", name), "run.plot()", BUSY.replace("{0}", name), *more])
    notebook = Notebook(page, server, f"{name}.ipynb")
    notebook.run_all()
    until(lambda: notebook.finished("run.plot("), "the plot's cell has run", 60, notebook.errors)
    page.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
    return notebook


def mimes(notebook: dict, text: str) -> list[set[str]]:
    cell = next(c for c in notebook["cells"] if text in "".join(c["source"]))
    return [set(o["data"]) for o in cell["outputs"] if "data" in o]


def test_it_grows_beside_a_busy_cell_survives_a_reload_and_leaves_a_picture(server, page, folder, screenshots):
    notebook = start(page, server, folder, "live")
    grows(page)
    assert not notebook.finished("# busy"), "it grew while a cell was running"
    assert page.locator(".lb-plot").count() == 1 and page.locator(".lb-panel").count() == 3
    for dark in (False, True):
        notebook.theme(dark)
        notebook.show("run.plot(", screenshots/f"live-{'dark' if dark else 'light'}.png")
    notebook.theme(False)

    document = saved(page, folder/"live.ipynb")
    assert mimes(document, "run.plot(") == [{"image/png", "text/plain"}], "what is saved in the middle has a picture and no widget"
    (folder/"go-live").touch()  # JupyterLab reaches a kernel only when it is not busy
    until(lambda: notebook.finished("# busy"), "the busy cell has ended", 20)
    page.reload()
    page.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
    grows(page)
    notebook.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    assert page.locator(".lb-plot").count() == 1

    (folder/"stop-live").touch()
    until(lambda: page.locator(".lb-plot").count() == 0, "the plot goes when the run has ended", 60)
    pictures = notebook.cell("run.plot(").locator(".jp-OutputArea-output img")
    until(lambda: pictures.count() == 1 and pictures.first.is_visible(), "the last picture is there", 20, lambda: notebook.output("run.plot("))
    notebook.show("run.plot(", screenshots/"live-ended.png")
    until(lambda: "is done in" in notebook.output("alloc.launch("), "the launching cell goes on after the reload", 20, lambda: notebook.output("alloc.launch("))
    last = pictures.first.get_attribute("src")
    document = saved(page, folder/"live.ipynb")
    assert mimes(document, "run.plot(") == [{"image/png", "text/plain"}]
    assert picture(document, "run.plot(") == last.partition(",")[2], "the last picture is what is saved"
    widgets = document["metadata"].get("widgets", {})
    assert (folder/"live.ipynb").stat().st_size < 50_000 and not widgets and "widget-view" not in json.dumps(document["cells"])

    again = Notebook(page, server, "live.ipynb")  # reopened
    shown = again.cell("run.plot(").locator(".jp-OutputArea-output img")
    shown.first.wait_for(timeout=60_000)
    assert shown.count() == 1 and "Error displaying widget" not in again.panel.inner_text()


def picture(notebook: dict, text: str) -> str:
    "The picture below a cell, as base64."
    cell = next(c for c in notebook["cells"] if text in "".join(c["source"]))
    return "".join("".join(o["data"]["image/png"]).strip() for o in cell["outputs"])


def test_a_run_that_ends_while_nobody_looks_is_up_to_date_when_the_notebook_is_opened_again(server, page, folder, screenshots):
    notebook = start(page, server, folder, "away")
    (folder/"go-away").touch()
    until(lambda: notebook.finished("# busy"), "the busy cell has ended", 20)
    grows(page)
    before = picture(saved(page, folder/"away.ipynb"), "run.plot(")
    run = re.search(r"\d{8}-\d{6}-[0-9a-f]{4}", notebook.output("run.plot(") + page.locator(".lb-title").first.inner_text())[0]
    page.goto("about:blank")
    (folder/"stop-away").touch()
    until(lambda: json.loads((lb_home()/"runs"/run/"run.json").read_text())["status"] == "done", "the run has ended", 30)
    again = Notebook(page, server, "away.ipynb")
    until(lambda: "is done in" in again.output("alloc.launch("), "the launching cell says how it ended", 30, lambda: again.output("alloc.launch("))
    document = saved(page, folder/"away.ipynb")
    assert picture(document, "run.plot(") not in ("", before) and page.locator(".lb-plot").count() == 0
    again.show("run.plot(", screenshots/"live-away.png")


def lb_home() -> Path: return Path(os.environ["LEPTON_BENCH_HOME"])


def test_the_stop_button_ends_the_waiting_and_stop_ends_the_run(server, page, folder, screenshots):
    cells = [TAKE, LAUNCH.replace("{0}", "never"), "run.plot()", "run.wait()", "run.stop()", "alloc.release()"]
    write_notebook(folder/"stop.ipynb", cells)
    notebook = Notebook(page, server, "stop.ipynb")
    notebook.run_all()
    page.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
    grows(page)
    page.locator("[data-jp-item-name='interrupt']").first.click()
    until(lambda: "KeyboardInterrupt" in notebook.output("run.wait()"), "the waiting has ended", 20, lambda: notebook.output("run.wait()"))
    assert "goes on. run.stop() stops it" in notebook.output("run.wait()")
    grows(page)
    for text in ("run.stop()", "alloc.release()"):
        notebook.cell(text).locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
    until(lambda: notebook.finished("alloc.release()"), "the run is stopped", 30, notebook.errors)
    until(lambda: page.locator(".lb-plot").count() == 0, "the plot goes when the run has ended", 30)
    until(lambda: len(notebook.pictures("run.plot(")) == 1, "the last picture is there", 20, lambda: notebook.output("run.plot("))
    until(lambda: "was stopped" in notebook.output("alloc.launch("), "the launching cell says how it ended", 20, lambda: notebook.output("alloc.launch("))
    notebook.show("run.plot(", screenshots/"live-stopped.png")


def test_its_controls_by_mouse_and_keyboard(server, page, folder, screenshots):
    notebook = start(page, server, folder, "controls", END.replace("{0}", "controls"))
    for name in ("time", "log", "ranks", "table"):
        button = page.locator(".lb-bar button", has_text=name)
        button.focus()
        page.keyboard.press("Space")
        assert button.get_attribute("aria-pressed") == "true"
    page.locator(".lb-bar input[type=range]").fill("90")
    until(lambda: "time (" in (page.locator(".lb-panel [role=img]").first.get_attribute("aria-label") or ""), "x is time", 20)
    until(lambda: "rank 1" in page.locator(".lb-legend").first.inner_text(), "a line for each rank", 20)
    until(lambda: "not positive" in page.locator(".lb-panel").nth(2).inner_text(), "what a logarithm leaves out is said", 20)
    assert "not finite" in page.locator(".lb-panel").nth(1).inner_text()
    assert page.locator(".lb-plot table tr").count() == 7 and notebook.panel.locator(".jp-CodeCell").count() == 5, "Space and arrows are not the notebook's"
    notebook.show("run.plot(", screenshots/"live-options.png")
    grows(page)
    (folder/"go-controls").touch()
    until(lambda: notebook.finished("alloc.release()"), "the run has ended", 60, notebook.errors)


RESTARTED = """def train(stop):
    import math, time
    from pathlib import Path
    state = lb.load_checkpoint() or {"step": 0}
    for i in range(state["step"], 200):
        lb.log(step=i, loss=math.exp(-i / 60))
        if i % 50 == 49: lb.save_checkpoint({"step": i + 1}, i + 1)
        if i == 120 and not state["step"]: raise ValueError("the first attempt ends here")
        time.sleep(.005)
    while not Path(stop).exists(): time.sleep(.05)
run = alloc.options(max_restarts=1, retry_exceptions=True).launch(train, "stop-again")"""


def test_a_restart_is_marked_live_and_in_the_picture(server, page, folder, screenshots):
    write_notebook(folder/"again.ipynb", [TAKE, RESTARTED, "run.plot()", "run.wait(60)\nalloc.release()"])
    notebook = Notebook(page, server, "again.ipynb")
    notebook.run_all()
    until(lambda: "restarted 1×" in " ".join(page.locator(".lb-panel figcaption").all_inner_texts()), "the restart is marked", 90,
          lambda: page.locator(".lb-plot").all_inner_texts())
    until(lambda: "199" in page.locator(".lb-panel [role=img]").first.get_attribute("aria-label"), "the second attempt has come to its last step", 60,
          lambda: page.locator(".lb-panel [role=img]").first.get_attribute("aria-label"))
    notebook.show("run.plot(", screenshots/"live-restarted.png")
    (folder/"stop-again").touch()
    until(lambda: notebook.finished("alloc.release()"), "the run has ended", 60, notebook.errors)
    notebook.show("run.plot(", screenshots/"restarted-ended.png")


def test_no_metrics_yet_and_a_deleted_run(server, page, folder, screenshots):
    "A plot of a metric that never comes says so; when the folder is removed the last curve stays, then the picture."
    launch, busy = LAUNCH.replace("{0}", "gone"), BUSY.replace("{0}", "gone")
    write_notebook(folder/"gone.ipynb", [TAKE, launch, "run.plot('never')", "run.plot()", busy, REMOVE, 'Path("stop-gone").touch()\nalloc.release()'])
    notebook = Notebook(page, server, "gone.ipynb")
    notebook.run_all()
    until(lambda: any("not logged yet; 3 other metrics are" in text for text in page.locator(".lb-plot").all_inner_texts()), "it says so", 60)
    until(lambda: page.locator(".lb-panel").count() == 3, "the other plot has its curves", 30)
    notebook.show("run.plot('never')", screenshots/"live-empty.png")
    (folder/"go-gone").touch()
    until(lambda: notebook.finished("alloc.release()"), "the last cell has run", 60, notebook.errors)
    until(lambda: page.locator(".lb-plot").count() == 0, "no plot is left of a run that was removed", 60)
    until(lambda: [w > 100 for w, _ in notebook.pictures("run.plot()")] == [True], "the picture stays", 20, lambda: notebook.output("run.plot()"))
