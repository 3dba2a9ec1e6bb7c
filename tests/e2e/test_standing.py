"""A run that stands still, in a real JupyterLab: its dashboard says where each rank stands, and after a stop it is resumed."""
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import browser_page, environment, lab_server, release, until  # noqa: E402
from test_dashboard import FADED, Dashboard  # noqa: E402

STUCK = """import time
from pathlib import Path
import lepton_bench as lb
def train():
    import os, time
    import torch.distributed as dist
    begin = (lb.load_checkpoint() or {"step": 0})["step"]
    while begin and not os.path.exists("go-on"): time.sleep(.05)
    for step in range(begin, 20):
        lb.log(step=step, loss=1 / (step + 1))
        if step == 10 and not begin:
            lb.save_checkpoint({"step": step}, step)
            if os.environ["RANK"] == "1": time.sleep(1000)
            dist.barrier()
alloc = lb.allocate(2, name="with-a-name-that-is-rather-long")
print("RUN", alloc.options(name="stuck", stall_after=1., output=False).launch(train).id, flush=True)
while not Path("over").exists(): time.sleep(.1)
"""


@pytest.fixture
def env(place, tmp_path) -> dict[str, str]: return {**environment(place, tmp_path), "LEPTON_BENCH_SIMULATED": "2"}


@pytest.fixture
def run(env, tmp_path) -> Iterator[str]:
    "The id of a run on two ranks, of which one never comes to the barrier."
    process = subprocess.Popen([sys.executable, "-c", STUCK], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield next(line.split()[1] for line in process.stdout or () if line.startswith("RUN"))
    finally:
        (tmp_path/"over").touch()
        try: process.wait(20)
        finally:
            process.kill()
            release(env)


def test_where_each_rank_stands_and_another_attempt(run, env, tmp_path, screenshots):
    def look(board: Dashboard, name: str) -> None:
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            board.theme(theme)
            board.page.wait_for_function(FADED)
            board.page.screenshot(path=screenshots/f"{name}-{theme.split()[-1].lower()}.png")
            assert board.problems() == []

    with lab_server(tmp_path, env) as address, browser_page() as page:
        board = Dashboard(page).load(address)
        board.open(run)
        board.tab("Ranks")
        until(lambda: "stalled" in board.root.locator(".jp-lb-Status").inner_text(), "it is stalled", 60, board.root.inner_text)
        until(lambda: "the others wait for rank 1" in board.tabpanel.inner_text(), "the odd one is named", 30, board.tabpanel.inner_text)
        groups = board.tabpanel.locator(".jp-lb-Ranks-group")
        assert groups.count() == 2 and "in barrier" in groups.filter(has_text="rank 0").inner_text()
        assert groups.filter(has_text="rank 1").get_attribute("data-odd") == "true" and "No step and no output since" in board.tabpanel.inner_text()
        look(board, "ranks")
        with page.expect_response(lambda response: "/stacks" in response.url) as answer:
            board.tabpanel.get_by_role("button", name="Refresh").click()
        assert answer.value.ok and answer.value.json()["odd"] == [1]

        board.root.get_by_role("button", name="Stop").click()
        resume = board.root.get_by_role("button", name="Resume", exact=True)
        resume.wait_for(timeout=60_000)  # the one in the barrier does not listen, and is killed
        assert "its ranks stand nowhere" in board.tabpanel.inner_text()
        look(board, "ranks-over")
        dialog = resume_dialog(page, resume)
        assert dialog.get_by_label("Devices").input_value() == "2"
        page.wait_for_function(FADED)
        page.screenshot(path=screenshots/"resume.png")
        dialog.get_by_label("Devices").fill("none")
        dialog.get_by_role("button", name="Resume").click()
        assert dialog.get_by_text("Write a whole number").is_visible(), "nothing that makes no sense is sent"
        dialog.get_by_label("Devices").fill("2")
        payload = Path(env["LEPTON_BENCH_HOME"])/"runs"/run/"source"/"payload.pkl"
        payload.rename(away := tmp_path/"payload.pkl")
        dialog.get_by_role("button", name="Resume").click()
        dialog.get_by_text("payload.pkl is missing").wait_for(timeout=60_000)  # the server's words, where the click was
        page.wait_for_function(FADED)
        page.screenshot(path=screenshots/"resume-refused.png")
        away.rename(payload)
        dialog.get_by_role("button", name="Resume").click()
        cancel = board.root.get_by_role("button", name="Cancel Resume")
        cancel.wait_for(timeout=60_000)  # both devices are taken
        banner = board.root.locator(".jp-lb-Banner")
        banner.get_by_text("goes on when it has its 2 devices").and_(banner.get_by_text("held:")).wait_for(timeout=60_000)
        look(board, "resume-waits")
        cancel.click()
        dialog = resume_dialog(page, resume)
        assert not banner.is_visible() and "with-a-name-that-is-rather-long (2 devices)" in dialog.get_by_label("Where").inner_text()
        dialog.get_by_label("Where").select_option("with-a-name-that-is-rather-long")
        dialog.get_by_role("button", name="Resume").click()
        board.root.get_by_role("button", name="Stop").wait_for(timeout=60_000)  # as for any run, not Kill
        assert resume.count() == 0 and not banner.is_visible()
        (tmp_path/"go-on").touch()
        until(lambda: "done" in board.root.locator(".jp-lb-Status").inner_text(), "it has gone on to its end", 60, board.root.inner_text)
        assert resume.count() == 0
        steps(env, run)


def resume_dialog(page: Any, button: Any) -> Any:
    button.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Where").wait_for()
    return dialog


def steps(env: dict[str, str], run: str) -> None:
    "One curve on rank 0, without a gap."
    from lepton_bench.metrics.storage import read_metrics
    rows = read_metrics(Path(env["LEPTON_BENCH_HOME"])/"runs"/run).to_pylist()
    assert [row["step"] for row in rows if row["rank"] == 0] == list(range(20))
