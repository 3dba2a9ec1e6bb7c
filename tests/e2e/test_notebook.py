"""The notebook's toolbar item and the launch dialog in a real JupyterLab: devices taken by a click, a function launched by a form, all of it cells."""
import os
import re
import signal
import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))
from lab import AXE, Notebook, release, until, write_notebook  # noqa: E402

TRAIN = '''from typing import Literal
def train(go: str,  # file whose coming ends the training
          epochs: int = 5,  # passes over the data
          lr: float = .1,  # of the optimizer; written as 0.1 or 1e-3
          optimizer: Literal["sgd", "adam"] = "sgd",
          widths: list[int] = [32, 64],  # of the hidden layers
          amp: bool = False,  # half precision
          *rest, **more):
    "Train a net until somebody says stop."
    import time
    from pathlib import Path
    import lepton_bench as lb
    i = 0
    while not Path(go).exists():
        lb.log(step=i, loss=1 / (i + 1))
        lb.progress(min(i, 45), 100)
        i += 1
        time.sleep(.05)
    return epochs, lr, optimizer, widths, amp'''
ITEM = ".jp-lb-nb-devices"


def opened(page, server: str, folder: Path, name: str, *cells: str, run: bool = True) -> Notebook:
    write_notebook(folder/f"{name}.ipynb", list(cells))
    notebook = Notebook(page, server, f"{name}.ipynb")
    if run:
        notebook.run_all()
        until(lambda: notebook.finished(cells[-1][:40].split("\n")[0]), "the cells have run", 60, notebook.errors)
    return notebook


def said(page) -> str: return page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {ITEM}").inner_text()


def says(page, pattern: str, timeout: float = 60.) -> None:
    until(lambda: re.search(pattern, said(page)), f"the toolbar says {pattern}", timeout, lambda: said(page))


def choose(page, *labels: str) -> None:
    "Through the toolbar item's menu."
    page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {ITEM}").click()
    for label in labels[:-1]: page.locator(".jp-lb-nb-devices-menu .lm-Menu-itemLabel", has_text=label).hover()
    page.locator(".lm-Menu-itemLabel:visible", has_text=labels[-1]).click()


def take(page, count: int) -> None:
    choose(page, "Take Devices")
    page.locator("#jp-lb-nb-take-count").fill(str(count))
    page.locator(".jp-Dialog .jp-mod-accept").click()


def launch_dialog(page):
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Toolbar [data-jp-item-name='lepton-bench-launch'] .jp-ToolbarButtonComponent").dblclick()
    dialog = page.locator(".jp-lb-nb-LaunchDialog")
    dialog.wait_for(timeout=60_000)
    return dialog


def sources(notebook: Notebook) -> list[str]:
    return [c.inner_text().replace("\u200b", "") for c in notebook.panel.locator(".jp-CodeCell .cm-content").all()]


def violations(page, selector: str) -> list[str]:
    "What axe-core finds serious in a part of the page."
    if not AXE.exists():
        assert not os.environ.get("CI"), "npm ci has not brought axe-core"
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("selector => axe.run(selector, {resultTypes: ['violations']})", selector)["violations"]
    return [f"{v['id']}: {v['help']} {[n['html'][:200] for n in v['nodes'][:3]]}" for v in found if v["impact"] in ("serious", "critical")]


def show(page, screenshots: Path, name: str) -> None:
    page.mouse.move(2, 2)
    page.screenshot(path=screenshots/f"notebook-{name}.png")


def test_devices_taken_a_function_launched_and_given_back_without_typing_code(server, page, folder, screenshots):
    notebook = opened(page, server, folder, "train", TRAIN)
    says(page, "no devices")
    show(page, screenshots, "none")
    page.locator(ITEM).click()
    show(page, screenshots, "menu-none")
    page.keyboard.press("Escape")
    choose(page, "Take Devices")
    show(page, screenshots, "take")
    assert not violations(page, ".jp-lb-nb-TakeDialog")
    count = page.locator("#jp-lb-nb-take-count")
    count.fill("many")
    until(lambda: "whole number" in page.locator(".jp-lb-nb-TakeDialog").inner_text(), "it says what is wrong", 5)
    show(page, screenshots, "take-wrong")
    page.keyboard.press("Enter")
    assert page.locator(".jp-lb-nb-TakeDialog").count() == 1 and count.get_attribute("aria-invalid") == "true"
    count.fill("2")
    page.keyboard.press("Enter")
    says(page, r"2 × cpu · [\w-]+ · idle")
    until(lambda: any(".attach(" in s for s in sources(notebook)), "the cell is inserted", 20, lambda: sources(notebook))
    name = re.search(r"· ([\w-]+) ·", said(page))[1]
    assert sources(notebook)[1] == f'import lepton_bench as lb\nalloc = lb.attach("{name}")\nalloc'
    until(lambda: f"Allocation {name}: 2 ranks" in notebook.output(".attach("), "it has run", 30, notebook.errors)
    show(page, screenshots, "idle")

    notebook.cell(".attach(").locator(".cm-content").click()
    dialog = launch_dialog(page)
    dialog.locator("#jp-lb-nb-argument-go").wait_for(timeout=60_000)
    show(page, screenshots, "launch")
    assert not violations(page, ".jp-lb-nb-LaunchDialog")
    text = dialog.inner_text()
    assert all(t in text for t in ("passes over the data", "Train a net", "*rest, **more", f"{name} (2 × cpu, idle, this notebook")), text
    page.locator(".jp-Dialog .jp-mod-accept").click()
    until(lambda: "is needed" in dialog.inner_text(), "what is missing is said", 10)
    dialog.locator("#jp-lb-nb-argument-go").fill("stop-train")
    dialog.locator("#jp-lb-nb-argument-epochs").fill("2.5")
    dialog.locator("#jp-lb-nb-argument-widths").fill("[1, 2")
    until(lambda: "is not a whole number" in dialog.inner_text() and "is not Python" in dialog.inner_text(), "what is wrong is said", 10, dialog.inner_text)
    show(page, screenshots, "launch-wrong")
    dialog.locator("#jp-lb-nb-argument-epochs").fill("3")
    dialog.locator("#jp-lb-nb-argument-widths").fill("[1, 2]")
    until(lambda: " is not " not in dialog.inner_text(), "nothing is wrong any more", 10)  # what is below moves up then
    dialog.locator("#jp-lb-nb-argument-optimizer").select_option("'adam'")
    dialog.locator("#jp-lb-nb-argument-amp").check()
    dialog.locator("summary").click()
    dialog.locator("#jp-lb-nb-run-name").fill("a first try")
    code = 'run = alloc.options(name="a first try").launch(train, go=\'stop-train\', epochs=3, optimizer=\'adam\', widths=[1, 2], amp=True)\nrun'
    until(lambda: dialog.locator("pre").inner_text() == code, "the code is shown", 10, dialog.locator("pre").inner_text)
    show(page, screenshots, "launch-filled")
    page.locator(".jp-Dialog .jp-mod-accept").dblclick()
    dialog.wait_for(state="detached", timeout=60_000)
    says(page, r"running a first try \d+ %")
    assert [s for s in sources(notebook) if ".launch(" in s] == [code], "two clicks, one cell"
    assert sources(notebook).index(code) == 2, "below the active one"
    says(page, "45 %")
    page.locator(".Toastify__toast", has_text="has begun").wait_for(timeout=60_000)
    show(page, screenshots, "running")
    page.locator(ITEM).click()
    show(page, screenshots, "menu-running")
    page.keyboard.press("Escape")
    notebook.theme(True)
    show(page, screenshots, "running-dark")
    page.locator(ITEM).click()
    show(page, screenshots, "menu-running-dark")
    page.keyboard.press("Escape")
    dialog = launch_dialog(page)
    dialog.locator("#jp-lb-nb-argument-go").wait_for(timeout=60_000)
    assert not violations(page, ".jp-lb-nb-LaunchDialog") and "waits in line" in dialog.locator("#jp-lb-nb-place").inner_text()
    dialog.locator("#jp-lb-nb-argument-epochs").fill("x")
    until(lambda: "whole number" in dialog.inner_text(), "what is wrong is said", 10)
    assert not violations(page, ".jp-lb-nb-LaunchDialog")
    show(page, screenshots, "launch-dark")
    page.keyboard.press("Escape")
    notebook.theme(False)

    choose(page, "Release")
    page.locator(".jp-Dialog .jp-mod-warn").wait_for(timeout=60_000)
    show(page, screenshots, "give-back-asks")
    page.keyboard.press("Escape")
    choose(page, "Stop Run")
    says(page, rf"{name} · idle", 60)
    choose(page, "Release")
    says(page, "no devices", 60)


def test_new_devices_in_the_cell_itself_and_a_renamed_notebook_whose_kernel_another_one_shares(server, page, folder, screenshots):
    (folder/"stop-two").touch()
    notebook = opened(page, server, folder, "two", "def work(*, path='stop-two'):\n    return path", "run = 'mine'\nlb = 'pounds'")
    dialog = launch_dialog(page)
    dialog.locator("#jp-lb-nb-count").fill("2")
    page.keyboard.press("Enter")
    until(lambda: any(".launch(" in s for s in sources(notebook)), "the cell is inserted", 10)
    assert sources(notebook)[-1] == "import lepton_bench\nalloc = lepton_bench.allocate(2)\nrun_2 = alloc.launch(work)\nrun_2"
    says(page, r"2 × cpu · [\w-]+ · idle")
    page.locator(".Toastify__toast button", has_text="Open dashboard").click()
    page.locator(".lm-TabBar-tabLabel", has_text=re.compile("^work")).wait_for(timeout=60_000)
    page.locator(".lm-TabBar-tabLabel", has_text="two.ipynb").click()
    notebook.menu("File", "Rename Notebook…")
    page.locator(".jp-Dialog input").fill("renamed.ipynb")
    page.keyboard.press("Enter")
    page.locator(".lm-TabBar-tabLabel", has_text="renamed.ipynb").first.wait_for(timeout=60_000)
    says(page, r"2 × cpu")
    dialog = launch_dialog(page)
    until(lambda: "run_2 = alloc.launch(work)\nrun_2" == dialog.locator("pre").inner_text(), "the allocation in hand is used", 20, dialog.inner_text)
    page.keyboard.press("Escape")


def share_kernel(page, server: str, first: str, second: str) -> None:
    "Another notebook with the kernel of the first one, as “Use Kernel from Other Session” does it."
    share = """async ([first, second]) => {
        const cookie = document.cookie.match(/_xsrf=([^;]*)/)?.[1];
        const sessions = await (await fetch('/api/sessions')).json();
        const {kernel} = sessions.find(s => s.path === first);
        const body = JSON.stringify({path: second, name: second, type: 'notebook', kernel: {id: kernel.id}});
        return (await fetch('/api/sessions', {method: 'POST', body, headers: {'X-XSRFToken': cookie, 'Content-Type': 'application/json'}})).status;
    }"""
    assert page.evaluate(share, [first, second]) == 201


def test_waiting_in_line_and_two_notebooks_with_one_kernel(server, page, place, folder, screenshots):
    opened(page, server, folder, "first", "import lepton_bench as lb", "alloc = lb.allocate(2)")
    says(page, "2 × cpu")
    name = re.search(r"· ([\w-]+) ·", said(page))[1]
    write_notebook(folder/"shared.ipynb", ["x = 1"])
    share_kernel(page, server, "first.ipynb", "shared.ipynb")
    Notebook(page, server, "shared.ipynb")
    says(page, r"2 × cpu · [\w-]+ · idle")
    second = opened(page, server, folder, "second", "import math")
    says(page, "no devices")
    take(page, 1)
    says(page, "waiting")
    until(lambda: "0 of 2 free" in (page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {ITEM}").get_attribute("title") or ""), "the line says why", 30)
    page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {ITEM}").click()
    show(page, screenshots, "menu-waiting")
    page.locator(".lm-Menu-itemLabel:visible", has_text="Stop Waiting").click()
    says(page, "no devices")
    take(page, 1)
    says(page, "waiting")
    assert not any("attach" in s for s in sources(second))
    release(place.environment(), name)
    says(page, r"1 × cpu · [\w-]+ · idle")
    until(lambda: any(".attach(" in s for s in sources(second)), "the cell is inserted when the turn has come", 20, lambda: sources(second))


def test_a_kernel_restarted_in_the_middle_of_a_run(server, page, folder, screenshots):
    launch = "import lepton_bench as lb\nalloc = lb.allocate(2)\nrun = alloc.launch(train, 'stop-restarted')"
    notebook = opened(page, server, folder, "restarted", TRAIN, launch, "print('launched')")
    says(page, "running train 45 %")
    notebook.menu("Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    says(page, "running train 45 % · not attached")
    show(page, screenshots, "left")
    dialog = launch_dialog(page)
    until(lambda: "no function to launch yet" in dialog.inner_text(), "the fresh kernel has none", 30, dialog.inner_text)
    page.keyboard.press("Escape")
    choose(page, "Attach to")
    says(page, "running train 45 %$")
    (folder/"stop-restarted").touch()
    says(page, "idle")


LONG = '''def a_function_with_a_name_that_somebody_must_have_thought_about_for_a_very_long_time(
        an_argument_with_a_name_that_is_much_longer_than_any_column=1,  # {words}
        path="/data/{path}"):
    """{words}"""
    return 5
def nothing(): "Takes nothing."'''


def test_long_names_and_docs_and_a_function_without_arguments(server, page, folder, screenshots):
    opened(page, server, folder, "long", LONG.format(words="many words " * 60, path="folder/" * 30))
    dialog = launch_dialog(page)
    until(lambda: "It takes none." in dialog.inner_text(), "no arguments", 20, dialog.inner_text)
    assert dialog.locator("pre").inner_text() == "import lepton_bench as lb\nalloc = lb.allocate(1)\nrun = alloc.launch(nothing)\nrun"
    dialog.locator("#jp-lb-nb-function").select_option(index=0)
    dialog.locator("#jp-lb-nb-argument-path").wait_for(timeout=5000)
    for name, width in (("long", 1280), ("long-narrow", 560)):
        page.set_viewport_size({"width": width, "height": 800})
        show(page, screenshots, name)
        assert dialog.locator(".jp-Dialog-content").evaluate("n => n.scrollWidth <= n.clientWidth + 1 && n.getBoundingClientRect().right <= innerWidth")
        assert dialog.locator(".jp-mod-accept").is_visible()
    assert not violations(page, ".jp-lb-nb-LaunchDialog")


def test_what_stands_in_the_way_is_said(server, page, folder, screenshots):
    busy = "while not Path('go-states').exists(): time.sleep(.05)  # busy"
    notebook = opened(page, server, folder, "states", "import os, time\nfrom pathlib import Path", busy, run=False)
    dialog = launch_dialog(page)
    until(lambda: "no function to launch yet" in dialog.inner_text(), "it says what to do", 30, dialog.inner_text)
    show(page, screenshots, "empty")
    assert not violations(page, ".jp-lb-nb-LaunchDialog") and page.locator(".jp-Dialog .jp-mod-accept").is_disabled()
    page.keyboard.press("Escape")

    notebook.run_all()
    until(lambda: notebook.cell("# busy").locator(".jp-InputPrompt").inner_text() == "[*]:", "the cell is running", 20)
    dialog = launch_dialog(page)
    until(lambda: "The kernel is busy" in dialog.inner_text(), "it says that it waits", 10, dialog.inner_text)
    show(page, screenshots, "busy")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached", timeout=5000)
    dialog = launch_dialog(page)
    until(lambda: "The kernel is busy" in dialog.inner_text(), "it says that it waits", 10, dialog.inner_text)
    (folder/"go-states").touch()
    until(lambda: "no function to launch yet" in dialog.inner_text(), "it goes on when the kernel is free", 20, dialog.inner_text)
    page.keyboard.press("Escape")


def test_a_kernel_killed_under_the_dialog(server, page, folder, screenshots):
    tell = "Path('pid').write_text(str(os.getpid()))"
    opened(page, server, folder, "killed", "import os\nfrom pathlib import Path", "def train(epochs=5): ...", tell)
    dialog = launch_dialog(page)
    dialog.locator("#jp-lb-nb-argument-epochs").fill("7")
    os.kill(int((folder/"pid").read_text()), signal.SIGKILL)
    until(lambda: "The kernel has died" in dialog.inner_text(), "it says so", 30, dialog.inner_text)
    show(page, screenshots, "died")
    assert not violations(page, ".jp-lb-nb-LaunchDialog") and page.locator(".jp-Dialog .jp-mod-accept").is_disabled()
    dialog.locator(".jp-lb-nb-again").click()
    until(lambda: "no function to launch yet" in dialog.inner_text(), "a fresh kernel has none", 60, dialog.inner_text)


def test_a_kernel_without_the_library_and_one_that_is_none(server, page, folder, screenshots):
    hide = "import sys\nsys.modules['lepton_bench'] = None\ndef train(): ..."
    notebook = opened(page, server, folder, "without", hide)
    dialog = launch_dialog(page)
    until(lambda: "%pip install lepton_bench" in dialog.inner_text(), "it says how to install it", 30, dialog.inner_text)
    show(page, screenshots, "not-installed")
    page.keyboard.press("Escape")
    notebook.menu("Kernel", "Shut Down Kernel")
    until(lambda: "No Kernel" in page.locator(".jp-NotebookPanel-toolbar").inner_text(), "there is no kernel", 30)
    dialog = launch_dialog(page)
    until(lambda: "has no kernel" in dialog.inner_text(), "it says so", 30, dialog.inner_text)
    show(page, screenshots, "no-kernel")
