"""The widgets in a real JupyterLab: taken, launched, watched and stopped by clicks beside a busy cell, and what a reopened notebook shows."""
import json
import re
import subprocess
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))
from lab import Notebook, kernel_ready, saved, until, write_notebook  # noqa: E402

TRAIN = """import time
from pathlib import Path
from typing import Literal
import lepton_bench as lb
def train(epochs: int,  # passes over the data
          lr: float = .1,  # step of the optimizer
          optimizer: Literal["sgd", "adam"] = "sgd",
          widths: list[int] = [32, 64],  # of the hidden layers
          a_rather_long_name_of_a_parameter: dict[str, list[tuple[int, float]]] | None = None,  # a help text that is too long for a line and has to be broken
          amp: bool = False, data: Path | None = None):
    "Trains a small network."
    import math, random, time
    for i in range(epochs * 100):
        lb.log(step=i, loss=math.exp(-i / 100) + .05 * random.random(), accuracy=1 - math.exp(-i / 100))
        lb.progress(i + 1, epochs * 100)
        if i % 50 == 0: print("epoch", i // 100, "loss", math.exp(-i / 100))
        time.sleep(.02)
"""
ALLOCATOR, LAUNCHER = "allocator = lb.widgets.Allocator()\nallocator", "launcher = lb.widgets.Launcher(train)\nlauncher"
BUSY = "while not Path('go-{0}').exists(): time.sleep(.05)  # busy"
MONITOR = "lb.widgets.Monitor(launcher.run)"


def click(widget, name: str) -> None: widget.get_by_role("button", name=name, exact=True).click()


def points(widget) -> int:
    "How many points the plot says it shows."
    found = re.search(r"live, ([\d,]+) points", widget.inner_text())
    return int(found[1].replace(",", "")) if found else 0


def grows(widget, least: int = 40) -> None:
    widget.locator("[data-plot]").wait_for(state="attached", timeout=60_000)
    widget.locator("[data-plot]").evaluate("e => e.scrollIntoView({block: 'center'})")  # what nobody sees asks for nothing
    before = until(lambda: points(widget), "the plot shows points", 30, widget.inner_text)
    until(lambda: points(widget) > before + least, "the plot grows", 30, lambda: (before, widget.inner_text()))


def launch(launcher) -> None:
    "Two devices, and a long training on them."
    click(launcher, "Allocate")
    says(launcher, "2 ranks on cpu-0, cpu-1", 60)
    launcher.get_by_label("epochs").fill("100")
    click(launcher, "Launch")


def says(widget, text: str, timeout: float = 20.) -> None: until(lambda: text in widget.inner_text(), f"the widget says {text!r}", timeout, widget.inner_text)


def outputs(notebook: dict, text: str) -> list[dict]:
    cell = next(c for c in notebook["cells"] if text in "".join(c["source"]))
    return [o["data"] for o in cell["outputs"] if "data" in o]


def opened(page, server: str, folder: Path, name: str, *more: str) -> Notebook:
    "A notebook with both widgets, and below them a cell that keeps the kernel busy until the file go-NAME is there."
    write_notebook(folder/f"{name}.ipynb", [TRAIN, ALLOCATOR, LAUNCHER, BUSY.replace("{0}", name), *more])
    notebook = Notebook(page, server, f"{name}.ipynb")
    notebook.run_all()
    until(lambda: notebook.finished("lb.widgets.Launcher("), "the widgets' cells have run", 60, notebook.errors)
    until(lambda: page.locator(".lb-page").count() == 2, "both widgets are there", 30)
    return notebook


def test_allocate_launch_watch_and_stop_beside_a_busy_cell(server, page, folder, screenshots):
    notebook = opened(page, server, folder, "clicks", MONITOR)
    allocator, launcher = notebook.cell("lb.widgets.Allocator("), notebook.cell("lb.widgets.Launcher(")
    notebook.show("lb.widgets.Allocator(", screenshots/"widgets-empty.png")
    allocator.get_by_label("devices", exact=True).fill("99")
    click(allocator, "Allocate")
    says(allocator, "This host has 2 cpu")
    notebook.show("lb.widgets.Allocator(", screenshots/"widgets-too-many.png")
    allocator.get_by_label("devices", exact=True).fill("2")
    allocator.get_by_label("name", exact=True).fill("brave-otter")
    allocator.get_by_role("button", name="Allocate", exact=True).dblclick()
    allocator.get_by_role("button", name="Release").wait_for(timeout=60_000)
    says(launcher, "on brave-otter")
    assert allocator.get_by_role("button", name="Release").count() == 1, "two clicks are one"

    launcher.get_by_label("epochs").fill("many")
    says(launcher, "'many' is not a whole number")
    notebook.show("lb.widgets.Launcher(", screenshots/"widgets-wrong.png")
    launcher.get_by_label("epochs").fill("30")
    launcher.get_by_label("optimizer").select_option(label="adam")
    says(launcher, "run = lb.attach('brave-otter').launch(train, epochs=30, optimizer='adam')")
    launcher.get_by_role("button", name="Launch", exact=True).dblclick()
    launcher.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
    grows(launcher)
    assert launcher.locator("[data-plot]").count() == 1 and launcher.locator(".lb-panel").count() == 2 and not notebook.finished("# busy")
    says(launcher, "epoch 1 loss")

    launcher.get_by_label("lr").click()  # what is typed stays while the notebook's copy is stored
    page.keyboard.press("End")
    page.keyboard.type("5")
    until(lambda: page.evaluate("() => document.activeElement?.name") == "lr", "the field has the focus", 5)
    kept = launcher.locator(".lb-still").evaluate("e => e.innerHTML")
    until(lambda: launcher.locator(".lb-still").evaluate("e => e.innerHTML") != kept, "a newer copy is stored", 30)
    page.keyboard.type("7")
    assert launcher.get_by_label("lr").input_value() == "0.157" and page.evaluate("() => document.activeElement?.name") == "lr"
    for dark in (False, True):
        notebook.theme(dark)
        notebook.show("lb.widgets.Launcher(", screenshots/f"widgets-run-{'dark' if dark else 'light'}.png")
        notebook.show("lb.widgets.Allocator(", screenshots/f"widgets-held-{'dark' if dark else 'light'}.png")
    notebook.theme(False)

    click(allocator, "Release")
    says(allocator, "a run goes on; release stops it")
    notebook.show("lb.widgets.Allocator(", screenshots/"widgets-sure.png")
    click(allocator, "Leave it")
    grows(launcher)
    click(launcher, "Stop")
    says(launcher, "was stopped", 30)
    assert not notebook.finished("# busy"), "all of it beside a busy cell"
    (folder/"go-clicks").touch()
    until(lambda: notebook.finished("lb.widgets.Monitor("), "the rest has run", 30, notebook.errors)
    click(allocator, "Release")
    says(allocator, "free", 30)
    until(lambda: allocator.get_by_role("button", name="Allocate", exact=True).is_visible(), "devices can be taken again", 20)
    assert notebook.errors() == []


def test_what_a_reloaded_a_restarted_and_a_reopened_notebook_show(server, page, folder, screenshots):
    notebook = opened(page, server, folder, "again", MONITOR)
    allocator, launcher = notebook.cell("lb.widgets.Allocator("), notebook.cell("lb.widgets.Launcher(")
    launch(launcher)
    grows(launcher)
    (folder/"go-again").touch()
    monitor = notebook.cell("lb.widgets.Monitor(")
    monitor.locator(".lb-page").wait_for(state="attached", timeout=60_000)
    grows(monitor)
    notebook.show("lb.widgets.Monitor(", screenshots/"widgets-monitor.png")
    document = saved(page, folder/"again.ipynb")
    for text in ("lb.widgets.Allocator(", "lb.widgets.Launcher(", "lb.widgets.Monitor("):
        assert [set(data) for data in outputs(document, text)] == [{"text/html", "text/plain"}], "a notebook has no widget in it"

    page.reload()
    until(lambda: page.locator(".lb-page").count() == 3, "the widgets are back", 30)
    notebook.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    launcher, monitor = notebook.cell("lb.widgets.Launcher("), notebook.cell("lb.widgets.Monitor(")
    grows(launcher)
    grows(monitor)
    assert launcher.get_by_label("epochs").input_value() == "100"
    click(monitor, "Stop")
    until(lambda: monitor.locator(".lb-page").count() == 0 and "was stopped" in monitor.inner_text(), "the monitor has ended", 30, monitor.inner_text)
    pictures = monitor.locator(".lb-still img")
    until(lambda: pictures.count() == 1 and pictures.first.is_visible(), "the last picture is there", 20, monitor.inner_text)
    notebook.show("lb.widgets.Monitor(", screenshots/"widgets-monitor-ended.png")
    says(launcher, "was stopped")
    until(lambda: launcher.locator(".lb-still img").count() == 1, "the launcher's copy has the picture", 20)
    document = saved(page, folder/"again.ipynb")
    sizes = {text: len(json.dumps(outputs(document, text))) for text in ("lb.widgets.Allocator(", "lb.widgets.Launcher(", "lb.widgets.Monitor(")}
    assert max(sizes.values()) < 50_000 and not document["metadata"].get("widgets") and "widget-view" not in json.dumps(document["cells"]), sizes

    page.locator("[data-jp-item-name='restart']").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    until(lambda: page.locator(".lb-page").count() == 0, "a kernel that was started again has no widgets", 30)
    kernel_ready(page)
    assert "was stopped" in launcher.inner_text() and launcher.locator(".lb-still img").first.is_visible()
    notebook.show("lb.widgets.Launcher(", screenshots/"widgets-restarted.png")
    for text in (TRAIN.splitlines()[-1].strip(), "lb.widgets.Allocator("):
        notebook.cell(text).locator(".cm-content").first.click()
        page.keyboard.press("Shift+Enter")
    allocator = notebook.cell("lb.widgets.Allocator(")
    allocator.get_by_role("button", name="Join").wait_for(timeout=60_000)
    notebook.show("lb.widgets.Allocator(", screenshots/"widgets-join.png")
    click(allocator, "Join")
    allocator.get_by_role("button", name="Release").wait_for(timeout=60_000)
    saved(page, folder/"again.ipynb")

    command = [sys.executable, "-c", "import json, sys; p = sys.argv[1]; n = json.load(open(p)); json.dump(n, open(sys.argv[2], 'w'))"]
    subprocess.run([*command, folder/"again.ipynb", folder/"reopened.ipynb"], check=True, stdin=subprocess.DEVNULL, timeout=20)
    other = Notebook(page, server, "reopened.ipynb")  # by somebody else: another file, another kernel
    shown = other.cell("lb.widgets.Launcher(").locator(".jp-OutputArea-output img")
    shown.first.wait_for(timeout=60_000)
    assert "Error displaying widget" not in other.panel.inner_text() and "was stopped" in other.cell("lb.widgets.Monitor(").inner_text()
    other.show("lb.widgets.Launcher(", screenshots/"widgets-reopened.png")


def test_stop_goes_through_the_server(server, page, folder):
    asked: list[tuple[str, int]] = []
    page.on("response", lambda answer: answer.request.method == "POST" and "/lepton-bench/api/" in answer.url and asked.append((answer.url, answer.status)))
    notebook = opened(page, server, folder, "server")
    launcher = notebook.cell("lb.widgets.Launcher(")
    launch(launcher)
    grows(launcher)
    click(launcher, "Stop")
    says(launcher, "was stopped", 30)
    assert [status for _, status in asked] == [200] and not notebook.finished("# busy"), asked
    (folder/"go-server").touch()
    until(lambda: notebook.finished("# busy"), "the busy cell has ended", 20)


def test_a_widget_that_is_displayed_itself_works_as_well(server, page, folder, screenshots):
    "As in VS Code, where an output cannot be found by its key."
    write_notebook(folder/"direct.ipynb", ["%env VSCODE_PID=1\n" + TRAIN, ALLOCATOR, LAUNCHER])
    notebook = Notebook(page, server, "direct.ipynb")
    notebook.run_all()
    until(lambda: page.locator(".lb-page").count() == 2, "both widgets are there", 60, notebook.errors)
    launcher = notebook.cell("lb.widgets.Launcher(")
    launch(launcher)
    grows(launcher)
    notebook.show("lb.widgets.Launcher(", screenshots/"widgets-direct.png")
    click(launcher, "Stop")
    says(launcher, "was stopped", 30)
