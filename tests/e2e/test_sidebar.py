"""The sidebar in a real JupyterLab: devices are taken by the form, a run is watched and stopped, and everything is given back."""
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import TimeoutError as Late

sys.path.insert(0, str(Path(__file__).parent))
from lab import AXE, REPOSITORY, LabServer, browser_page, environment, lab_server, release, until  # noqa: E402

TRAIN = """import time
from pathlib import Path
import lepton_bench as lb

for i in range(10_000):
    if Path("stop").exists(): break
    lb.log(step=i, loss=1 / (i + 1))
    lb.progress(i + 1, 10_000)
    time.sleep(.02)
"""
ATTACH = """import sys
import lepton_bench as lb
run = lb.attach(sys.argv[1]).launch("train.py", args=["--lr", "0.1"])
print(run.id)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    (folder/"train.py").write_text(TRAIN)
    return folder


@pytest.fixture(scope="module")
def server(folder, place) -> Iterator[str]:
    settings = folder/".lab"/"settings"/"lepton-bench"/"plugin.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"count": 2, "pauseAfter": 1}))
    with lab_server(folder, environment(place, folder)) as address: yield address


class Sidebar:
    "The sidebar of one page."

    def __init__(self, page: Any, address: str, connected: bool = True) -> None:
        self.page = page
        base, _, token = address.partition("?")
        page.goto(f"{base}?reset&{token}")
        page.wait_for_function("window.jupyterapp && window.jupyterapp.restored", timeout=60_000)
        page.evaluate("window.jupyterapp.restored.then(() => 1)")
        page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
        page.locator(".jp-Launcher").first.wait_for(timeout=60_000)  # it takes the focus when it comes
        self.node = page.locator("#lepton-bench-sidebar")
        self.show()
        if connected: self.node.locator(".jp-lb-tile").first.wait_for(timeout=60_000)

    def show(self) -> None:
        "By its icon, unless it is shown."
        if not self.node.is_visible(): self.page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").click()

    def devices(self) -> list[str]:
        "What the tiles say of their state."
        return self.node.locator(".jp-lb-tile .jp-lb-state").all_inner_texts()

    def form(self, **fields: str) -> Any:
        "The form, filled in and sent."
        if not self.node.locator(".jp-lb-form").count(): self.node.get_by_role("button", name="Allocate Devices").first.click()
        form = self.node.locator(".jp-lb-form")
        for label, text in fields.items(): form.get_by_label(label).fill(text)
        form.get_by_role("button", name="Allocate").click()
        return form

    def text(self, selector: str) -> str: return "\n".join(self.node.locator(selector).all_inner_texts())

    def dialog(self, button: str) -> None: self.page.locator(".jp-Dialog").get_by_role("button", name=button, exact=True).click()

    def theme(self, name: str) -> None:
        page = self.page
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Settings$")).click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).hover()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}$")).click()
        page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached", timeout=60_000)
        page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)

    def problems(self) -> list[str]:
        "What axe-core finds serious, in the sidebar and in the status bar."
        if not self.page.evaluate("'axe' in window"): self.page.add_script_tag(path=AXE)
        found = self.page.evaluate("axe.run({include: [['#lepton-bench-sidebar'], ['.jp-lb-status']]}, {resultTypes: ['violations']})")
        return [f"{v['id']}: {n['html'][:99]} {n['failureSummary']}" for v in found["violations"] if v["impact"] in ("serious", "critical") for n in v["nodes"]]


@pytest.fixture
def sidebar(server, place, folder) -> Iterator[Sidebar]:
    with browser_page() as page: yield Sidebar(page, server)
    release(place.environment())  # also after a failure
    (folder/"stop").unlink(missing_ok=True)


def launch(place, folder: Path, allocation: str) -> str:
    "A run of two ranks, from another process, as a notebook does it."
    env = {**place.environment(), "PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run([sys.executable, "-c", ATTACH, allocation], env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=60)
    assert found.returncode == 0, found.stderr
    return found.stdout.split()[-1]


def test_allocate_watch_stop_release(sidebar, server, place, folder, screenshots):
    page, node = sidebar.page, sidebar.node
    assert "No allocations" in sidebar.text(".jp-lb-section") and "No runs yet" in sidebar.text(".jp-lb-section")
    page.screenshot(path=screenshots/"sidebar-empty.png")
    count = len(sidebar.devices())
    assert count >= 2 and set(sidebar.devices()) == {"free"}

    form = sidebar.form(Devices=str(count + 1), Name="mine")
    until(lambda: sidebar.text(".jp-lb-form .jp-lb-error"), "the error stands at the form", 20)
    assert form.get_by_label("Name").input_value() == "mine" and form.get_by_label("Devices").input_value() == str(count + 1), "nothing typed is lost"
    sidebar.form(Devices="2")
    node.locator("[data-allocation='mine']").wait_for(timeout=60_000)
    until(lambda: sidebar.devices().count("held") == 2, "two devices are held", 20, sidebar.devices)
    until(lambda: f"2/{count}" in page.locator(".jp-lb-status").inner_text(), "the status bar counts them", 20)

    sidebar.form(Devices=str(count), Name="later")
    until(lambda: "mine" in sidebar.text(".jp-lb-waits"), "who is ahead is said", 20, lambda: sidebar.text(".jp-lb-form"))
    page.screenshot(path=screenshots/"sidebar-waiting.png")
    node.get_by_role("button", name="Go on in the list").click()
    node.get_by_role("button", name="Cancel the request later").dblclick()
    until(lambda: "later" not in sidebar.text(".jp-lb-card"), "the request is gone", 30, lambda: sidebar.text(".jp-lb-card"))

    run = launch(place, folder, "mine")
    row = node.locator(f"[data-run='{run}']")
    row.get_by_role("progressbar").wait_for(timeout=60_000)
    before = row.inner_text()
    until(lambda: "loss" in row.inner_text() and row.inner_text() != before, "the row moves", 20, row.inner_text)
    assert "left" in row.inner_text() and "--lr" in row.inner_text()
    page.screenshot(path=screenshots/"sidebar-running.png")
    assert sidebar.problems() == []

    row.get_by_role("button", name=re.compile("^Stop")).dblclick()
    until(lambda: "stopped" in row.inner_text(), "it is stopped", 30, row.inner_text)
    row.focus()
    page.keyboard.press("Delete")
    sidebar.dialog("Cancel")
    assert row.count() == 1
    row.focus()
    page.keyboard.press("Delete")
    sidebar.dialog("Delete")
    row.wait_for(state="detached", timeout=60_000)

    node.get_by_role("button", name="Release mine").dblclick()
    node.locator("[data-allocation='mine']").wait_for(state="detached", timeout=60_000)
    until(lambda: set(sidebar.devices()) == {"free"}, "all devices are free", 20, sidebar.devices)
    assert not page.locator(".jp-Dialog").count(), "nothing was lost: nothing was asked"


def test_release_while_running_asks_and_a_second_page_keeps_in_step(sidebar, server, place, folder, screenshots):
    sidebar.form(Devices="2", Name="both")
    sidebar.node.locator("[data-allocation='both']").wait_for(timeout=60_000)
    with sidebar.page.context.browser.new_page() as page:
        other = Sidebar(page, server)
        run = launch(place, folder, "both")
        for one in (sidebar, other): one.node.locator(f"[data-run='{run}']").get_by_role("progressbar").wait_for(timeout=60_000)
        sidebar.node.get_by_role("button", name="Release both").dblclick()  # the second click does not close the question
        assert "run is going on" in sidebar.page.locator(".jp-Dialog").inner_text()
        sidebar.page.screenshot(path=screenshots/"sidebar-release.png")
        sidebar.dialog("Cancel")
        assert "running" in other.text("[data-allocation='both']"), "giving up changes nothing"
        for one in (sidebar, other): one.node.get_by_role("button", name="Release both").click()
        for one in (sidebar, other): one.dialog("Stop and Release")  # the second comes too late, or just in time
        for one in (sidebar, other):
            one.node.locator("[data-allocation='both']").wait_for(state="detached", timeout=40_000)
            until(lambda one=one: "stopped" in one.text(f"[data-run='{run}']"), "the run is stopped", 30, lambda one=one: one.text(f"[data-run='{run}']"))


def test_a_reload_keeps_the_layout(sidebar, server):
    node = sidebar.node
    node.get_by_role("button", name="Devices as a Table").click()
    node.locator(".jp-lb-table").wait_for()
    node.locator(".jp-AccordionPanel-title", has_text=re.compile("Allocations", re.I)).locator(".lm-AccordionPanel-titleLabel").click()
    until(lambda: not node.locator(".jp-lb-empty", has_text="No allocations").is_visible(), "the section is closed", 10)
    with sidebar.page.expect_response(lambda r: "/api/workspaces/" in r.url and r.request.method == "PUT", timeout=60_000): pass
    sidebar.page.reload()
    node.locator(".jp-lb-table").wait_for(timeout=60_000)
    until(lambda: node.locator(".jp-AccordionPanel-title[aria-expanded=false]").count() == 1, "one section is closed", 20)
    assert node.is_visible()


def test_by_keyboard_alone_and_in_every_theme(sidebar, screenshots):
    page, node = sidebar.page, sidebar.node
    palette = page.locator(".lm-CommandPalette-input, .lm-CommandPalette input").first
    found = page.locator(".lm-CommandPalette-item.lm-mod-active", has_text="Allocate Devices")

    def seen() -> str: return page.evaluate("""[document.hasFocus(), document.activeElement.outerHTML.slice(0, 300),
        ...[...document.querySelectorAll('.jp-Dialog, .lm-CommandPalette')].map(e => e.innerText.slice(0, 300))].join(' | ')""")

    def chosen() -> bool:  # shortcuts are not there from the first moment on, and a page that is still busy may close the palette again
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Shift+C")
        with contextlib.suppress(Late):
            palette.wait_for(timeout=3000)
            page.keyboard.type("allocate devices")
            found.wait_for(timeout=3000)
        return found.is_visible()
    until(chosen, "the command in the palette", 45, seen)
    page.keyboard.press("Enter")
    until(lambda: page.evaluate("document.activeElement.type") == "number", "the form has the focus", 30, seen)
    for theme in ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"):
        sidebar.theme(theme)
        page.screenshot(path=screenshots/f"sidebar-{theme.lower().replace(' ', '-')}.png")
        assert sidebar.problems() == [], theme
    node.locator(".jp-lb-form").get_by_label("Devices").focus()
    page.keyboard.press("Escape")
    node.locator(".jp-lb-form").wait_for(state="detached")


def test_out_of_sight_it_asks_for_nothing_and_goes_on_without_a_gap(sidebar, place, folder):
    page, sockets = sidebar.page, []
    page.on("websocket", lambda socket: sockets.append(socket) if "/lepton-bench/ws" in socket.url else None)
    page.reload()
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
    sidebar.show()
    sidebar.form(Name="unseen")  # as many as the setting says
    sidebar.node.locator("[data-allocation='unseen']").wait_for(timeout=60_000)
    assert len(sockets) == 1 and sidebar.devices().count("held") == 2
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    until(lambda: page.evaluate("1") and sockets[0].is_closed(), "the socket is closed", 20)
    run = launch(place, folder, "unseen")
    assert len(sockets) == 1 and not sidebar.node.locator(f"[data-run='{run}']").count()
    page.evaluate(hide, False)
    sidebar.node.locator(f"[data-run='{run}']").get_by_role("progressbar").wait_for(timeout=60_000)
    assert len(sockets) == 2 and "running" in sidebar.text("[data-allocation='unseen']")


def test_it_says_why_it_is_not_connected_and_comes_back(place, tmp_path, screenshots):
    "A server without our extension, no server at all, then one as it should be."
    server = LabServer(tmp_path, environment(place, tmp_path, enabled=False))
    address = server.start()
    port = urlsplit(address).port
    try:
        with browser_page() as page:
            sidebar = Sidebar(page, address, connected=False)
            trouble = sidebar.node.locator(".jp-lb-trouble")
            trouble.wait_for(timeout=60_000)
            assert "server extension" in trouble.inner_text() and "tried again" in trouble.inner_text()
            assert "Not connected" in sidebar.text(".jp-lb-empty") and not page.locator(".jp-lb-status").is_visible()
            page.screenshot(path=screenshots/"sidebar-not-connected.png")
            server.stop()
            until(lambda: "does not answer" in trouble.inner_text(), "it says so", 40, trouble.inner_text)
            environment(place, tmp_path)
            server.start(port)
            sidebar.node.locator(".jp-lb-tile").first.wait_for(timeout=60_000)
            assert not trouble.count() and page.locator(".jp-lb-status").is_visible()
    finally: server.stop()
