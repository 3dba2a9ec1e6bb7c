"""The forms of the sidebar and of a cell on a real Slurm: ranks are asked for while others have the nodes, seen with their job, and released."""
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import Notebook, browser_page, environment, lab_server, release, until, write_notebook  # noqa: E402
from support.slurm_cluster import SlurmCluster  # noqa: E402
from test_sidebar import Sidebar, launch  # noqa: E402

TRAIN = """import time
from pathlib import Path
import lepton_bench as lb

step = (lb.load_checkpoint() or {"step": 0})["step"]
while not Path("stop").exists():
    step += 1
    lb.log(step=step, loss=1 / step)
    if step % 10 == 0: lb.save_checkpoint({"step": step}, step)
    time.sleep(.02)
"""
FIELDS = ("Partition", "Time limit", "Nodes", "More sbatch flags")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    (folder/"train.py").write_text(TRAIN)
    return folder


@pytest.fixture(scope="module")
def server(folder, place, slurm) -> Iterator[str]:
    with lab_server(folder, environment(place, folder)) as address: yield address


@pytest.fixture
def sidebar(server, place, folder, slurm) -> Iterator[Sidebar]:
    with browser_page() as page: yield Sidebar(page, server)
    (folder/"stop").touch()
    release(place.environment())  # also after a failure
    slurm.reset()


def shoot(sidebar: Sidebar, screenshots: Path, name: str) -> None:
    "In light and in dark, if somebody will look."
    if not os.environ.get("LEPTON_BENCH_SCREENSHOTS"): return
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        sidebar.theme(theme)
        sidebar.page.screenshot(path=screenshots/f"sidebar-slurm-{name}-{theme.split()[1].lower()}.png")


def test_two_ranks_on_slurm_from_the_form(sidebar, slurm: SlurmCluster, place, folder, screenshots):
    node = sidebar.node
    filler = slurm.submit("exec sleep 600", "--nodes=3", "--exclusive", "--output=/dev/null")
    until(lambda: slurm.job(filler)["JobState"] == "RUNNING", "other jobs have the nodes", 30)
    node.get_by_role("button", name="Allocate Devices").first.click()
    form = node.locator(".jp-lb-form")
    engine = form.get_by_label("Engine")
    engine.wait_for(timeout=60_000)
    assert engine.input_value() == "local" and not form.get_by_label("Partition").count() and form.get_by_label("Free memory").count()
    assert engine.locator("option").all_inner_texts() == ["local", "slurm"]
    engine.select_option("slurm")
    assert [form.get_by_label(label, exact=True).count() for label in FIELDS] == [1]*4 and not form.get_by_label("Free memory").count()
    form.get_by_label("Kind").select_option("cpu")
    sidebar.form(Devices="2", Name="far", **{"Time limit": "soon", "Nodes": "2", "More sbatch flags": "--comment 'from the form'"})
    until(lambda: "time is minutes" in sidebar.text(".jp-lb-form .jp-lb-error"), "what is wrong is said at the form", 20, lambda: sidebar.text(".jp-lb-form"))
    assert form.get_by_label("More sbatch flags").input_value() == "--comment 'from the form'", "nothing typed is lost"
    form.get_by_label("Time limit").fill("1:00:00")
    assert sidebar.problems() == []
    shoot(sidebar, screenshots, "form")

    sidebar.form(Partition="main")
    until(lambda: re.search(r"job \d+ waits in partition main \(\w+\), nobody ahead", sidebar.text(".jp-lb-waits")), "Slurm's words", 40,
          lambda: sidebar.text(".jp-lb-form"))
    first = int(re.search(r"job (\d+)", sidebar.text(".jp-lb-waits"))[1])
    assert slurm.job(first)["TimeLimit"] == "01:00:00" and slurm.job(first)["Comment"].startswith("from")
    assert sidebar.problems() == []
    shoot(sidebar, screenshots, "waiting")
    form.get_by_role("button", name="Cancel").click()
    until(lambda: slurm.job(first)["JobState"] == "CANCELLED", "cancel cancels the job", 30, lambda: slurm.job(first)["JobState"])
    until(lambda: form.get_by_label("Name").count() and form.get_by_label("Name").input_value() == "far", "the form is as it was", 20)

    sidebar.form(Name="near")
    until(lambda: "waits in partition main" in sidebar.text(".jp-lb-waits"), "it waits again", 40, lambda: sidebar.text(".jp-lb-form"))
    slurm.command("scancel", str(filler))
    card = node.locator("[data-allocation='near']")
    card.wait_for(timeout=90_000)
    until(lambda: re.search(r"slurm job \d+", card.inner_text()) and "idle" in card.inner_text(), "engine and job", 60, card.inner_text)
    job = int(re.search(r"slurm job (\d+)", card.inner_text())[1])
    assert job != first and slurm.job(job)["JobState"] == "RUNNING" and slurm.job(job)["NumNodes"] == "2"
    assert "n1" in card.inner_text() and "n2" in card.inner_text()
    shoot(sidebar, screenshots, "granted")

    run = launch(place, folder, "near")
    row = node.locator(f"[data-run='{run}']")
    until(lambda: "loss" in row.inner_text(), "it trains", 60, lambda: row.inner_text() if row.count() else "no row")
    slurm.command("scancel", "--batch", "--signal=USR1", str(job))  # as near its time limit
    until(lambda: "waiting" in row.inner_text() and "time limit" in row.inner_text(), "the run waits, and why", 60, row.inner_text)
    until(lambda: "waiting" in card.inner_text() and f"slurm job {job}" in card.inner_text(), "so does the allocation", 60, card.inner_text)
    assert sidebar.problems() == []
    shoot(sidebar, screenshots, "back-in-line")
    until(lambda: slurm.job(job)["JobState"] == "PENDING", "Slurm has it in line", 30)
    slurm.begin_now(job)
    until(lambda: "loss" in row.inner_text() and "waiting" not in row.inner_text(), "it trains again", 90, row.inner_text)

    lost = slurm.job(job)["BatchHost"]
    other = next(name for name in ("n1", "n2", "n3") if name != lost and name in card.inner_text())
    agents = [pid for pid, command in slurm.processes(other).items() if "engines.slurm_job agent" in command]
    for pid in agents: os.kill(pid, 19)  # it says nothing any more
    try:
        until(lambda: f"node {other}" in card.locator(".jp-lb-warn").first.inner_text() if card.locator(".jp-lb-warn").count() else False,
              "the node is named that is silent", 40, card.inner_text)
        shoot(sidebar, screenshots, "silent")
    finally:
        for pid in agents: os.kill(pid, 18)
    until(lambda: f"node {other}" not in card.inner_text(), "it is there again", 40, card.inner_text)

    node.get_by_role("button", name="Release near").click()
    sidebar.dialog("Stop and Release")
    card.wait_for(state="detached", timeout=60_000)
    until(lambda: slurm.job(job)["JobState"] in ("COMPLETED", "CANCELLED", "FAILED"), "the job is over", 30, lambda: slurm.job(job)["JobState"])
    slurm.wait_idle()


def test_a_cells_form_has_slurms_fields_where_slurm_is_chosen(server, place, folder, slurm, screenshots):
    write_notebook(folder/"cell.ipynb", ["import lepton_bench as lb", "allocator = lb.widgets.Allocator()\nallocator"])
    with browser_page() as page:
        try:
            notebook = Notebook(page, server, "cell.ipynb")
            notebook.run_all()
            form = notebook.panel.locator(".lb-page form")
            engine = form.get_by_label("engine")
            engine.wait_for(timeout=60_000)
            limit, memory = form.get_by_label("time limit", exact=True), form.get_by_label("memory")
            assert not limit.is_visible() and memory.is_visible()
            engine.select_option("slurm")
            assert limit.is_visible() and form.get_by_label("more sbatch flags").is_visible() and not memory.is_visible()
            form.get_by_label("kind").select_option("cpu")
            for label, text in (("time limit", "soon"), ("nodes", "2"), ("more sbatch flags", "--comment cell")):
                form.get_by_label(label, exact=True).fill(text)
            form.get_by_label("name", exact=True).fill("of-a-cell")
            form.get_by_role("button", name="Allocate").click()
            until(lambda: "time is minutes" in notebook.panel.locator(".lb-page").inner_text(), "what is wrong is said", 30)
            assert limit.input_value() == "soon" and engine.input_value() == "slurm", "nothing typed is lost"
            for dark in (True, False) if os.environ.get("LEPTON_BENCH_SCREENSHOTS") else ():
                notebook.theme(dark)
                notebook.show("allocator", screenshots/f"cell-slurm-form-{'dark' if dark else 'light'}.png")
            limit.fill("30")
            form.get_by_role("button", name="Allocate").click()
            notebook.panel.locator(".lb-page").get_by_role("button", name="Release").wait_for(timeout=90_000)
            job, comment = slurm.command("squeue", "--noheader", "--format=%A %k", "--name=lepton-of-a-cell").split()
            assert slurm.job(job)["TimeLimit"] == "00:30:00" and slurm.job(job)["NumNodes"] == "2" and comment == "cell"
            notebook.panel.locator(".lb-page").get_by_role("button", name="Release").click()
            until(lambda: slurm.job(job)["JobState"] in ("COMPLETED", "CANCELLED", "FAILED"), "the job is over", 30, lambda: slurm.job(job)["JobState"])
        finally: release(place.environment())
