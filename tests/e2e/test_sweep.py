"""A headless sweep in a real JupyterLab: begun by the dialog, watched in the sidebar, read in its dashboard, its notebooks opened, and removed again."""
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import AXE, Notebook, environment, lab_server, until, write_notebook  # noqa: E402

PARAMETERS = """learning_rate = 0.1  # of the optimizer
width: int = 32  # of the hidden layer
name = "plain"
augment = False"""
WORK = """import time
from pathlib import Path
import lepton_bench as lb
while not Path("go").exists(): time.sleep(.05)
lb.record("loss", learning_rate * width)"""
CHECK = "assert width < 50 or learning_rate < .1, f'a net of width {width} does not learn at {learning_rate}'"


@pytest.fixture(scope="module")
def server(folder, place) -> Iterator[str]:
    with lab_server(folder, environment(place, folder)) as address: yield address


@pytest.fixture(scope="module", autouse=True)
def two_devices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "2")
        yield


class Sweeps:
    "What a person does with headless runs in one page."

    def __init__(self, page: Any, server: str, name: str, screenshots: Path) -> None:
        self.page, self.screenshots = page, screenshots
        self.notebook = Notebook(page, server, name)
        self.sidebar = page.locator("#lepton-bench-sidebar")
        self.dashboard = page.locator(".jp-lb-Dashboard:visible")
        self.dialog = page.locator(".jp-lb-hl-HeadlessDialog")

    def open_dialog(self) -> Any:
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) [data-jp-item-name='lepton-bench-headless'] .jp-ToolbarButtonComponent").dblclick()
        self.dialog.locator(".jp-lb-hl-count").wait_for(timeout=60_000)
        return self.dialog

    def start(self) -> None: self.dialog.locator(".jp-mod-accept").click()

    def rows(self, level: int = 2) -> list[str]: return self.sidebar.locator(f".jp-lb-run[aria-level='{level}']").all_inner_texts()

    def sweep(self) -> Any: return self.sidebar.locator(".jp-lb-run[data-kind='sweep']").first

    def show(self, name: str, *themes: str) -> None:
        "In both themes, with nothing lit up by the mouse."
        self.page.mouse.move(2, 2)
        for theme in themes or ("Dark", "Light"):
            self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", f"JupyterLab {theme}")
            self.page.locator(f"body[data-jp-theme-name='JupyterLab {theme}']").wait_for(state="attached", timeout=60_000)
            self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
            self.page.screenshot(path=self.screenshots/f"sweep-{name}-{theme.lower()}.png")
            assert not self.problems(), (name, theme, self.problems())

    def problems(self) -> list[str]:
        "What axe-core finds serious in our parts of the page."
        if not self.page.evaluate("'axe' in window"): self.page.add_script_tag(path=AXE)
        ours = [s for s in ("#lepton-bench-sidebar", ".jp-lb-Dashboard:not(.lm-mod-hidden)", ".jp-lb-hl-HeadlessDialog") if self.page.locator(s).count()]
        found = self.page.evaluate("include => axe.run({include}, {resultTypes: ['violations']})", [[s] for s in ours])
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        return [f"{v['id']}: {n['html'][:150]} {n['failureSummary']}" for v in serious for n in v["nodes"]]

    def tab(self) -> str: return self.page.locator("#jp-main-dock-panel .lm-TabBar-tab.jp-mod-current .lm-TabBar-tabLabel").first.inner_text()


def tagged(file: Path, *cells: str) -> Path:
    "A notebook whose first cell has its parameters."
    notebook = json.loads(write_notebook(file, list(cells)).read_text())
    notebook["cells"][0]["metadata"]["tags"] = ["parameters"]
    file.write_text(json.dumps(notebook))
    return file


def test_from_the_form_to_the_notebooks_and_away(server, page, folder, screenshots):
    tagged(folder/"train.ipynb", PARAMETERS, WORK, CHECK)
    (folder/"go").unlink(missing_ok=True)
    sweeps = Sweeps(page, server, "train.ipynb", screenshots)
    dialog = sweeps.open_dialog()
    assert all(t in dialog.inner_text() for t in ("of the optimizer", "int", "runs the notebook once"))
    dialog.get_by_label("learning_rate").fill("fast, 0.1")
    until(lambda: "“fast” is not a number" in dialog.inner_text(), "what is wrong is said", 10, dialog.inner_text)
    sweeps.start()
    assert dialog.count() == 1 and page.evaluate("document.activeElement.id") == "jp-lb-hl-learning_rate"
    sweeps.show("dialog-wrong", "Light")
    dialog.get_by_label("learning_rate").fill("0.1, 0.01")
    dialog.get_by_label("width").fill("32, 64")
    until(lambda: "This makes 4 sets (2 × 2)" in dialog.inner_text(), "it counts the sets", 10, dialog.inner_text)
    assert "lepton-bench sweep train.ipynb -p learning_rate=0.1,0.01 -p width=32,64 --devices-each 1" in dialog.locator(".jp-lb-hl-command").inner_text()
    dialog.locator("summary").click()
    dialog.get_by_label("Output").fill("../elsewhere")
    sweeps.start()
    until(lambda: "nothing at" in dialog.locator(".jp-lb-hl-refused").inner_text(), "the server's refusal stands in the dialog", 20, dialog.inner_text)
    assert dialog.get_by_label("width").input_value() == "32, 64", "nothing typed is lost"
    dialog.get_by_label("Output").fill("")
    sweeps.show("dialog")
    page.keyboard.press("Tab")
    dialog.get_by_label("width").press("Enter")
    dialog.wait_for(state="detached", timeout=60_000)

    row = sweeps.sweep()
    row.wait_for(timeout=60_000)
    until(lambda: row.evaluate("node => node === document.activeElement"), "the new sweep is where the keyboard is", 10)
    until(lambda: "0 of 4 sets" in row.inner_text() and sum("of 4 cells" in r for r in sweeps.rows()) == 2, "two sets run", 30, sweeps.sidebar.inner_text)
    sweeps.show("busy", "Light")
    (folder/"go").touch()
    until(lambda: "2 of 4 sets failed" in row.inner_text() or "1 of 4 sets failed" in row.inner_text(), "it has ended", 60, row.inner_text)
    assert sweeps.rows() == [] and row.get_attribute("aria-expanded") == "false", "what has ended is closed"
    row.press("ArrowRight")
    until(lambda: len(sweeps.rows()) == 4, "its sets are below it", 10)
    failed = sweeps.sidebar.locator(".jp-lb-run[data-kind='notebook'][data-status='failed']")
    assert failed.count() == 1 and failed.get_attribute("data-name") == "train (learning_rate=0.1, width=64)" and "does not learn" in failed.inner_text()
    assert sum("loss 0.32" in r or "loss 3.2" in r or "loss 0.64" in r for r in sweeps.rows()) == 3
    sweeps.show("done")

    search = sweeps.sidebar.get_by_label("Search runs")
    search.fill("rate=0.01")
    until(lambda: len(sweeps.rows()) == 2 and sweeps.rows(1), "two sets are found, below their sweep", 10, sweeps.rows)
    search.fill("")
    until(lambda: len(sweeps.rows()) == 4, "all are shown again", 10)

    row.press("Enter")
    table = sweeps.dashboard.locator(".jp-lb-Sets-table")
    table.wait_for(timeout=60_000)
    assert table.locator("tbody tr").count() == 4 and sweeps.dashboard.locator(".jp-lb-Scatter circle").count() == 4
    assert sweeps.dashboard.get_by_role("tab").all_inner_texts() == ["Sets", "Logs", "About"]
    table.get_by_role("button", name="loss", exact=True).click()
    losses = [float(t) for t in table.locator("tbody td:nth-child(4)").all_inner_texts()]
    assert losses == sorted(losses) and table.locator("th[aria-sort='ascending']").inner_text() == "loss"
    sweeps.show("dashboard")
    with page.expect_download() as file: sweeps.dashboard.get_by_role("button", name="CSV").click()
    assert Path(file.value.path()).read_text().startswith("run,learning_rate,width,loss,status,duration,notebook,reason")
    table.get_by_role("button", name=re.compile("^failed: open the run")).click()
    until(lambda: sweeps.dashboard.get_by_role("button", name="Open Output Notebook").count(), "the set's own dashboard", 20)
    until(lambda: "does not learn" in sweeps.dashboard.locator(".jp-lb-Log-lines").inner_text(), "its log", 20)
    sweeps.show("set", "Light")
    sweeps.dashboard.get_by_role("button", name="Open Output Notebook").click()
    until(lambda: re.match("train-001.*ipynb", sweeps.tab()), "the output notebook is in front", 20, sweeps.tab)
    until(lambda: "AssertionError" in page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").inner_text(), "with its error", 20)
    sweeps.sidebar.locator(".jp-lb-run[data-name='train (learning_rate=0.01, width=32)']").click()
    until(lambda: re.match("train-002.*ipynb", sweeps.tab()), "a click on a set opens its notebook", 20, sweeps.tab)

    row.press("Delete")
    dialog = page.locator(".jp-Dialog")
    assert "notebooks that were written stay" in dialog.inner_text()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    until(lambda: not sweeps.sweep().count() and not sweeps.rows(), "it is gone with its sets", 20, sweeps.sidebar.inner_text)
    assert len(list((folder/"train-sweep").glob("*.ipynb"))) == 4


def test_a_notebook_without_parameters_is_tagged_stopped_and_run_again(server, page, folder, screenshots):
    (folder/"go").unlink(missing_ok=True)
    long = "a notebook whose name is far too long for a sidebar, a tab or anybody's patience.ipynb"
    write_notebook(folder/long, ["learning_rate = 0.1\nwidth = 32", WORK])
    sweeps = Sweeps(page, server, long, screenshots)
    sweeps.notebook.cell("learning_rate = 0.1").click()
    dialog = sweeps.open_dialog()
    assert "no parameters cell" in dialog.inner_text() and "runs the notebook once" in dialog.inner_text()
    sweeps.show("untagged", "Light")
    dialog.get_by_role("button", name="Tag the Selected Cell").click()
    dialog.get_by_label("learning_rate").fill("1, 2, 3")
    assert json.loads((folder/long).read_text())["cells"][0]["metadata"]["tags"] == ["parameters"], "it is saved"
    dialog.get_by_label("At once").fill("1")
    sweeps.start()
    dialog.wait_for(state="detached", timeout=60_000)
    row = sweeps.sweep()
    until(lambda: any("of 3 cells" in r for r in sweeps.rows()), "a set runs", 40, sweeps.sidebar.inner_text)
    assert len(sweeps.rows()) == 1, "one at once"
    row.get_by_role("button", name=re.compile("^Stop")).click()
    until(lambda: "stopped after 0 of 3 sets" in row.inner_text(), "it is stopped", 40, row.inner_text)
    (folder/"go").touch()
    row.click(button="right")
    menu = page.locator(".lm-Menu-itemLabel:visible")
    menu.filter(has_text="Run Again What Is Not Done").wait_for()
    assert not menu.filter(has_text="Resume").count(), "it says the same"
    page.keyboard.press("Escape")
    row.get_by_role("button", name=re.compile("^Resume")).click()
    until(lambda: re.search(r"done, 1 restart\s*· 3 sets", row.inner_text()), "all are done", 60, row.inner_text)
    sweeps.show("long", "Dark")


def test_a_notebook_that_the_file_browser_does_not_reach_opens_as_a_run(server, page, folder, place, screenshots, tmp_path, monkeypatch):
    from lepton_bench.store.runs import RunWriter, log_path, new_record, new_run_id, runs_directory
    monkeypatch.setenv("LEPTON_BENCH_HOME", place.environment()["LEPTON_BENCH_HOME"])
    write_notebook(folder/"empty.ipynb", ["1"])
    for name, output in (("outside", tmp_path/"outside.ipynb"), ("deleted", folder/"deleted.ipynb")):
        id = new_run_id()
        extra = {"output": str(output), "values": {"note": "kept" * 40}, "progress": {"0": [2, 2]}}
        writer = RunWriter(runs_directory()/id, new_record(id, name, kind="notebook", status="done", parameters={"lr": .1}, extra=extra)).create()
        log_path(writer.directory, 0).write_text(f"printed by {name}\n")
    sweeps = Sweeps(page, server, "empty.ipynb", screenshots)
    page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").click()
    outside = sweeps.sidebar.locator(".jp-lb-run[data-name='outside']")
    assert str(tmp_path) in outside.locator(".jp-lb-name").get_attribute("title")
    outside.press("Enter")
    until(lambda: "printed by outside" in sweeps.dashboard.inner_text(), "its log is shown", 20)
    assert sweeps.dashboard.get_by_role("button", name="Open Output Notebook").get_attribute("aria-disabled") == "true"
    sweeps.dashboard.get_by_role("tab", name="Plots").click()
    until(lambda: "No metrics" in sweeps.dashboard.inner_text(), "there are no curves, and it says why", 20)
    sweeps.dashboard.get_by_role("tab", name="About").click()
    until(lambda: "outside.ipynb" in sweeps.dashboard.inner_text(), "where it is", 20)
    sweeps.show("outside", "Dark")
    sweeps.sidebar.locator(".jp-lb-run[data-name='deleted']").click()
    until(lambda: "printed by deleted" in sweeps.dashboard.inner_text(), "the run instead", 20)
    assert "is not there" in page.locator(".Toastify__toast").inner_text()
