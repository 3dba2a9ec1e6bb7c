"""The quickstart in a real JupyterLab, as a person runs it: Run All Cells, then looking at what is on the screen."""
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import Notebook, browser_page, copy_quickstart, lab_server, release, until, write_notebook  # noqa: E402

LAUNCH = "run = alloc.launch(train"
TAKE = """import torch.distributed as dist
import lepton_bench as lb

alloc = lb.allocate(2, name="failing")"""
FAILING = """def train(rate):
    weights = [1., 2., 3.]
    if dist.get_rank() == 1:
        weights[3] -= rate
    dist.barrier()

run = alloc.launch(train, rate=.1)
run.result()"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lab")
    copy_quickstart(folder, epochs=2, train_size=6000, batch=32)
    write_notebook(folder/"failing.ipynb", [TAKE, FAILING, "alloc"])
    try:
        with lab_server(folder, dict(os.environ)) as address: yield address
    finally: release(os.environ)  # after a test that failed in the middle


@pytest.fixture(scope="module")
def page(server: str) -> Iterator:
    with browser_page() as page: yield page


def test_the_quickstart_runs_top_to_bottom(server, page, screenshots):
    notebook = Notebook(page, server, "90_quickstart.ipynb")
    notebook.run_all()

    until(lambda: notebook.finished("alloc = lb.allocate"), "two devices are allocated", look=notebook.errors)
    table = notebook.cell("lb.devices()").locator("table")
    assert "held by" in table.inner_text() and table.locator("tbody tr").count() >= 2
    assert "quickstart: 2 ranks" in notebook.output("alloc = lb.allocate")
    notebook.show("lb.devices()", screenshots/"devices.png")

    until(lambda: "epoch 1 of 2" in notebook.output(LAUNCH), "output appears while the ranks train", look=lambda: notebook.output(LAUNCH))
    assert "is done" not in notebook.output(LAUNCH), "the first epoch is shown before the run has ended"
    until(lambda: "2 ranks, cpu" in notebook.output(LAUNCH), "the progress line says how busy the ranks are", look=lambda: notebook.output(LAUNCH))
    until(lambda: notebook.finished("show([(labels == c)") and notebook.pictures("show([(labels == c)"), "other cells run during training")
    assert "is done" not in notebook.output(LAUNCH)
    notebook.show(LAUNCH, screenshots/"training.png")

    until(lambda: notebook.finished("alloc.release()"), "the last cell has run", 240, look=lambda: (notebook.errors(), notebook.output(LAUNCH)))
    output = notebook.output(LAUNCH)
    assert "[0-1] epoch 2 of 2" in output and "is done in" in output
    assert float(re.search(r"test accuracy (0\.\d+)", notebook.output("run.wait()"))[1]) > .75
    assert [w > 500 and h > 200 for w, h in notebook.pictures("run.plot(")] == [True], "the plot is one picture"
    assert re.search(r"\[0-1\] \d+", notebook.output("dist.all_reduce(confusion)")) and notebook.pictures("%ranks_pull 0 confusion")
    assert notebook.pictures("%ranks_pull worst_pick"), "the worst mistakes"
    compared = notebook.output("lb.compare(")
    assert "learning_rate" in compared and "0.001" in compared and "0.01" in compared and notebook.pictures("lb.compare(")
    assert "a picture of a hat" in notebook.output("def stumble") and "run.json" in notebook.output("rglob(")
    assert notebook.errors() == []
    for dark in (False, True):
        notebook.theme(dark)
        for name, text in (("plot", "run.plot("), ("ranks", "model[4].weight"), ("confusion", "%ranks_pull 0 confusion"), ("compare", "lb.compare(")):
            notebook.show(text, screenshots/f"{name}-{'dark' if dark else 'light'}.png")
    notebook.theme(False)


def test_a_failing_run_shows_the_rank_and_the_line_of_the_notebook(server, page, screenshots):
    notebook = Notebook(page, server, "failing.ipynb")
    notebook.run_all()
    until(lambda: any("RunError" in text for text in notebook.errors()), "the error is shown", look=notebook.errors)
    error = "\n".join(notebook.errors())
    assert "rank 1 raised IndexError: list index out of range" in error and "weights[3] -= rate" in error
    folded = notebook.cell("weights = [1., 2., 3.]").locator("details")
    until(lambda: folded.count() == 1 and not folded.locator("pre").is_visible(), "the traceback is folded below the run's last words")
    folded.locator("summary").click()
    assert "weights[3] -= rate" in folded.inner_text(), "and opens"
    for dark in (False, True):
        notebook.theme(dark)
        notebook.show("weights = [1., 2., 3.]", screenshots/f"failure-{'dark' if dark else 'light'}.png")
    notebook.theme(False)
