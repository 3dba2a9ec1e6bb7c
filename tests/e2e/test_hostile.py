"""Runs that came from somewhere else, in a real JupyterLab: names are text and stay it, odd records are shown or said to be damaged, nothing else suffers."""
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.isolation import Isolation
from playwright.sync_api import TimeoutError as Late

sys.path.insert(0, str(Path(__file__).parents[1]))
from lab import browser_page, environment, lab_server, until  # noqa: E402
from server.test_hostile_runs import NONSENSE, ODD  # noqa: E402

from lepton_bench.store.runs import new_record  # noqa: E402

HTML = "<img src=x onerror='window.hurt = 1'><script>window.hurt = 2</script>"
GOOD = "20260109-000000-0000"


def make_runs(home: Path) -> list[str]:
    good, made = asdict(new_record(GOOD, "a good one", status="done")), dict[str, dict]()
    for k, change in enumerate(NONSENSE): made[f"20260101-000000-{k:04x}"] = change
    for k, change in enumerate(ODD): made[f"20260102-000000-{k:04x}"] = change
    made[f"20260103-{HTML.replace('/', '|')}"] = {"name": HTML, "arguments": HTML, "reason": HTML, "cwd": HTML, "user": HTML, "status": "failed",
                                 "error": {"type": HTML, "message": HTML, "traceback": HTML, "log": [HTML]}, "parameters": {HTML: HTML},
                                 "extra": {"values": {HTML: HTML}, "output": HTML, "stall": {"stacks": HTML}}, "restarts": [{"reason": HTML, "attempt": HTML}]}
    made[GOOD] = {}
    for id, change in made.items():
        for name in ("logs", "source"): (home/"runs"/id/name).mkdir(parents=True)
        (home/"runs"/id/"logs"/"rank-0.log").write_text(f"{HTML}\n")
        (home/"runs"/id/"source"/"train.py").write_text(HTML)
        (home/"runs"/id/"run.json").write_text(json.dumps({**good, "id": id, **change}))
    return [id for id in made if not id.startswith("20260101")]


@pytest.mark.slow
def test_runs_from_elsewhere_are_text(tmp_path: Path, new_place: Isolation, screenshots: Path) -> None:
    ids, wrong = make_runs(new_place.root/"home"), list[str]()
    with lab_server(tmp_path, environment(new_place, tmp_path)) as address, browser_page() as page:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.reject_agent()))
        look(page, address, ids, screenshots)
        assert not page.evaluate("window.hurt") and not page.locator("img[src='x']").count() and not wrong, wrong


def look_at_tabs(board: Any) -> None:
    "Each of them; which they are is known once the run has come."
    seen = set[str]()
    while left := [name for name in board.get_by_role("tab").all_inner_texts() if name not in seen]:
        seen.add(left[0])
        try: board.get_by_role("tab", name=left[0], exact=True).click(timeout=5000)
        except Late: assert left[0] not in board.get_by_role("tab").all_inner_texts()
        board.locator(".jp-lb-Page:visible").wait_for(timeout=60_000)


def look(page: Any, address: str, ids: list[str], screenshots: Path) -> None:
    "At the list, and at each run's dashboard from tab to tab."
    page.goto(address)
    page.wait_for_function("window.jupyterapp && window.jupyterapp.restored", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => 1)")
    sidebar = page.locator("#lepton-bench-sidebar")
    if not sidebar.is_visible(): page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").click()
    sidebar.get_by_text("a good one").first.wait_for(timeout=60_000)
    until(lambda: HTML[:20] in sidebar.inner_text(), "names are shown as they are", look=sidebar.inner_text)
    page.screenshot(path=screenshots/"hostile-list.png")
    for id in [*ids, "20260101-000000-0000"]:
        page.evaluate("run => window.jupyterapp.commands.execute('lepton-bench:open-run', {run}).then(() => 1)", id)
        board = page.locator(".jp-lb-Dashboard:visible")
        board.wait_for(timeout=60_000)
        look_at_tabs(board)
        page.screenshot(path=screenshots/f"hostile-{ids.index(id) if id in ids else 'damaged'}.png")
    board.get_by_role("tab", name="About").click()
    page.screenshot(path=screenshots/"hostile-about.png")
