"""The panels of the extension, taken while a person's clicks take two CPU slots and train a small network there.

Each function of `PANELS` makes a few pictures, light and dark; `make.py` calls them.
"""
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.isolation import Isolation, mirror
from lab import Notebook, browser_page, environment, lab_server, release, until, write_notebook

Save = Callable[[str, bytes], None]  # name without ".png", picture
IMPORTS = """from typing import Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lepton_bench as lb
from lepton_bench.data.vision import fashion_mnist"""
TRAIN = '''def train(epochs: int = 3,  # passes over the data
          batch: int = 64,  # images per step and rank
          learning_rate: float = 1e-3,  # at the beginning; it falls to zero
          optimizer: Literal["adam", "sgd"] = "adam",
          widths: list[int] = [128, 64],  # of the hidden layers
          augment: bool = False):  # mirror half of the images
    "Train a small network on pictures of clothes."
    torch.manual_seed(0)
    rank, world = dist.get_rank(), dist.get_world_size()
    (images, labels), (seen, truth) = fashion_mnist("train"), fashion_mnist("test")
    images, seen = images.float()/255 - .286, seen.float()/255 - .286
    layers, width = [nn.Flatten()], 784
    for w in widths:
        layers += [nn.Linear(width, w), nn.ReLU()]
        width = w
    model = DistributedDataParallel(nn.Sequential(*layers, nn.Linear(width, 10)))
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    steps = len(images)//(batch*world)
    opt = kind(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs*steps)
    for epoch in range(epochs):
        order = torch.randperm(len(images))[:steps*batch*world].view(steps, world, batch)[:, rank]
        for step, pick in enumerate(order, epoch*steps + 1):
            x = images[pick]
            if augment and step % 2: x = x.flip(-1)
            loss = nn.functional.cross_entropy(model(x), labels[pick])
            opt.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 5.)
            opt.step()
            schedule.step()
            if step % 5 == 0: lb.log(step=step, loss=loss, gradient_norm=norm, learning_rate=schedule.get_last_lr()[0])
            lb.progress(step, epochs*steps)
            if step % 100 == 0:
                with torch.no_grad(): scores = model.module(seen[rank::world])
                right = (scores.argmax(1) == truth[rank::world]).float().mean().item()
                lb.log(step=step, accuracy=right, test_loss=nn.functional.cross_entropy(scores, truth[rank::world]))
                print(f"epoch {epoch + 1}, step {step}: loss {loss:.3f}, accuracy {right:.3f}")
        lb.save_checkpoint(model.module.state_dict(), step)
    return right'''
EARLIER = """
with lb.allocate(2, name="earlier") as alloc:
    for name, options in (("plain sgd", dict(optimizer="sgd", learning_rate=.05)), ("too bold", dict(learning_rate=.03)),
                          ("narrow", dict(widths=[32]))):
        alloc.options(name=name, output=False).launch(train, epochs=1, batch=256, **options).wait()
"""
MANY = """
import time
held = [lb.allocate(count, name=name) for count, name in ((4, "vision"), (2, "baseline"), (1, "notebook"))]
for alloc, name in zip(held, ("wide net", "first try")):
    print(alloc.options(name=name, output=False).launch(train, epochs=100, batch=256, widths=[32]).id, flush=True)
while True: time.sleep(1)
"""
PARAMETERS = """learning_rate = 1e-3  # of the optimizer
width = 64  # of the hidden layer
optimizer = "adam"  # or "sgd"
augment = False  # mirror half of the images"""
HEADLESS = """import torch
from torch import nn

import lepton_bench as lb
from lepton_bench.data.vision import fashion_mnist

torch.manual_seed(0)
(images, labels), (seen, truth) = fashion_mnist("train"), fashion_mnist("test")
images, seen = images.float()/255 - .286, seen.float()/255 - .286
model = nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))"""
FIT = """opt = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](model.parameters(), lr=learning_rate)
for pick in (pick for epoch in range(3) for pick in torch.randperm(len(images)).split(32)):
    x = images[pick].flip(-1) if augment and torch.rand(()) < .5 else images[pick]
    loss = nn.functional.cross_entropy(model(x), labels[pick])
    opt.zero_grad()
    loss.backward()
    opt.step()"""
SCORE = """with torch.no_grad(): scores = model(seen)
lb.record("accuracy", (scores.argmax(1) == truth).float().mean().item())
lb.record("loss", nn.functional.cross_entropy(scores, truth).item())"""


class Shots:
    "A page, and its pictures in both themes."

    def __init__(self, page: Any, save: Save) -> None: self.page, self.save = page, save

    def command(self, name: str, **arguments: Any) -> None:
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => 1)", [name, arguments])

    def theme(self, dark: bool) -> None:
        name = f"JupyterLab {'Dark' if dark else 'Light'}"
        self.command("apputils:change-theme", theme=name)
        self.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached", timeout=10_000)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=10_000)

    def take(self, name: str, *parts: Any,  # crop to what they cover together; none: the window
             margin: int = 8, ready: Callable[[], Any] = lambda: True) -> None:
        for dark in (True, False):
            self.theme(dark)
            until(ready, f"{name} can be taken")
            self.page.mouse.move(2, 2)
            self.page.wait_for_function("document.fonts.status == 'loaded'")
            self.save(name + ("-dark" if dark else ""), self.page.screenshot(clip=self.around(parts, margin) if parts else None))

    def around(self, parts: tuple, margin: int) -> dict[str, float]:
        boxes, size = [p.bounding_box() for p in parts], self.page.viewport_size
        left, top = (max(0, min(b[k] for b in boxes) - margin) for k in ("x", "y"))
        right = min(size["width"], max(b["x"] + b["width"] for b in boxes) + margin)
        bottom = min(size["height"], max(b["y"] + b["height"] for b in boxes) + margin)
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}

    def size(self, width: int, height: int) -> None: self.page.set_viewport_size({"width": width, "height": height})

    def close_message(self) -> None:
        "The one that a run has begun."
        toast = self.page.locator(".Toastify__toast")
        toast.locator(".jp-Notification-Toast-Close").first.click(timeout=20_000)
        toast.wait_for(state="detached", timeout=20_000)


@contextmanager
def lab(place: Isolation, name: str, size: tuple[int, int] = (1100, 800), **settings: str) -> Iterator[tuple[str, Any, Path, dict[str, str]]]:
    "JupyterLab with the extension: its address, a page, its folder and its environment."
    folder = place.root/name
    folder.mkdir()
    (folder/"data").symlink_to(Path(mirror()).resolve())
    env = {**environment(place, folder), "LEPTON_BENCH_MIRROR": "data", **settings}
    with lab_server(folder, env) as address, browser_page(size) as page:
        try: yield address, page, folder, env
        finally: release(env)


def script(folder: Path, name: str, more: str) -> list[str]:
    "The training and what is done with it, as a program."
    (folder/name).write_text("\n\n".join((IMPORTS, TRAIN, more)))
    return [sys.executable, name]


def run_id(env: dict[str, str], name: str) -> str:
    "Of the newest run with that name."
    def found() -> list[str]:
        records = [json.loads(p.read_text()) for p in (Path(env["LEPTON_BENCH_HOME"])/"runs").glob("*/run.json")]
        return sorted(r["id"] for r in records if r["name"] == name)
    return until(found, f"run {name} is there")[-1]


def opened(page: Any, address: str, name: str) -> Notebook:
    "A notebook whose cells run; the left side is closed."
    notebook = Notebook(page, address, name)
    if page.locator("#jp-left-stack").is_visible(): notebook.menu("View", "Appearance", "Show Left Sidebar")
    notebook.run_all()
    return notebook


def narrow(page: Any, width: int) -> None:
    "Drags the sidebar's edge."
    box = page.locator("#jp-left-stack").bounding_box()
    x, y = box["x"] + box["width"], box["y"] + 300
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(box["x"] + width, y, steps=4)
    page.mouse.up()


def work(place: Isolation, save: Save) -> None:
    "Toolbar, Launch dialog, dashboard and sidebar, in the order in which a person meets them."
    with lab(place, "work") as (address, page, folder, env):
        subprocess.run(script(folder, "earlier.py", EARLIER), cwd=folder, env=env, stdin=subprocess.DEVNULL, check=True, timeout=300)
        (folder/"earlier.py").unlink()
        shots = Shots(page, save)
        write_notebook(folder/"clothes.ipynb", [IMPORTS, TRAIN])
        notebook = opened(page, address, "clothes.ipynb")
        until(lambda: notebook.finished("def train("), "the cells have run", 60, notebook.errors)
        item = notebook.panel.locator(".jp-lb-nb-devices")
        item.click()
        page.locator(".lm-Menu-itemLabel:visible", has_text="Take Devices").click()
        page.locator("#jp-lb-nb-take-count").fill("2")
        page.locator(".jp-Dialog .jp-mod-accept").click()
        until(lambda: notebook.finished(".attach("), "two devices are taken", 60, item.inner_text)
        launch_dialog(shots, notebook)
        until(lambda: re.search(r"small net .*\d+ %", item.inner_text()), "it runs", 60, item.inner_text)
        shots.close_message()
        toolbar(shots, notebook)
        dashboard(shots, Path(env["LEPTON_BENCH_HOME"])/"runs"/run_id(env, "small net"))
        sidebar(shots)


def launch_dialog(shots: Shots, notebook: Notebook) -> None:
    page = shots.page
    shots.size(1100, 940)
    notebook.cell(".attach(").locator(".cm-content").click()
    notebook.panel.locator("[data-jp-item-name='lepton-bench-launch'] .jp-ToolbarButtonComponent").click()
    dialog = page.locator(".jp-lb-nb-LaunchDialog")
    dialog.locator("#jp-lb-nb-argument-epochs").wait_for(timeout=20_000)
    dialog.locator("#jp-lb-nb-argument-epochs").fill("30")
    dialog.locator("#jp-lb-nb-argument-widths").fill("[256, 64]")
    dialog.locator("summary").click()
    dialog.locator("#jp-lb-nb-run-name").fill("small net")
    until(lambda: "small net" in dialog.locator("pre").inner_text(), "the code is shown")
    shots.take("launch", dialog.locator(".jp-Dialog-content"), margin=0)
    page.locator(".jp-Dialog .jp-mod-accept").click()
    dialog.wait_for(state="detached", timeout=10_000)
    shots.size(1100, 800)


def toolbar(shots: Shots, notebook: Notebook) -> None:
    "The item's menu, above the launched cell."
    page = shots.page
    until(lambda: "step 300" in notebook.output(".launch("), "something is printed", 60, lambda: notebook.output(".launch("))
    notebook.cell(".attach(").evaluate("cell => cell.scrollIntoView({block: 'start'})")
    for dark in (True, False):
        shots.theme(dark)
        notebook.panel.locator(".jp-lb-nb-devices").click()
        page.locator(".jp-lb-nb-devices-menu").wait_for()
        page.mouse.move(2, 2)
        shots.save("toolbar" + ("-dark" if dark else ""), page.screenshot())
        page.keyboard.press("Escape")


def dashboard(shots: Shots, folder: Path) -> None:
    page = shots.page
    shots.command("lepton-bench:open-run", run=folder.name)
    board = page.locator(".jp-lb-Dashboard:visible")
    until(lambda: board.locator(".lb-panel canvas").count() == 5, "five curves", 30, board.inner_text)
    until(lambda: "step 2000" in "".join(p.read_text() for p in folder.glob("logs/*")), "the curves have a shape", 120)
    shots.take("dashboard")
    board.get_by_role("tab", name="Logs").click()
    until(lambda: "accuracy" in board.locator(".jp-lb-Log-lines").inner_text(), "the log is there", 20)
    board.get_by_label("search the log").fill("accuracy 0.8")
    page.keyboard.press("Enter")
    until(lambda: board.locator(".jp-mod-current mark").count(), "the match is shown", 20, board.inner_text)
    shots.take("dashboard-logs")
    board.get_by_role("tab", name="About").click()
    until(lambda: "def train" in board.inner_text(), "the source is there", 20, board.inner_text)
    shots.take("dashboard-about")
    board.get_by_role("tab", name="Plots").click()


def sidebar(shots: Shots) -> None:
    "Everything at once: devices that are held, a run, and a request in the queue."
    page = shots.page
    shots.size(1280, 940)
    shots.command("lepton-bench:open-sidebar")
    node = page.locator("#lepton-bench-sidebar")
    node.locator(".jp-lb-tile").first.wait_for(timeout=30_000)
    narrow(page, 360)
    node.get_by_role("button", name="Allocate Devices").first.click()
    form = node.locator(".jp-lb-form")
    form.get_by_label("Devices").fill("1")
    form.get_by_label("Name").fill("later")
    form.get_by_role("button", name="Allocate").click()
    waits = node.locator(".jp-lb-waits")
    waits.wait_for(timeout=20_000)
    until(lambda: "first" in waits.inner_text() or "ahead" in waits.inner_text() or "held" in waits.inner_text(), "it waits", 20, waits.inner_text)
    shots.take("sidebar", node, margin=0)
    shots.take("window")


def widgets(place: Isolation, save: Save) -> None:
    "The three widgets, beside a kernel that is free; clicked as in any front end."
    with lab(place, "widgets", (1100, 1000)) as (address, page, folder, _):
        write_notebook(folder/"widgets.ipynb", [IMPORTS, TRAIN, "lb.widgets.Allocator()", "lb.widgets.Launcher(train)"])
        write_notebook(folder/"watch.ipynb", ["import lepton_bench as lb", "lb.widgets.Monitor(lb.runs()[0])"])
        notebook, shots = opened(page, address, "widgets.ipynb"), Shots(page, save)
        until(lambda: notebook.finished("lb.widgets.Launcher("), "the widgets' cells have run", 60, notebook.errors)
        allocator, launcher = notebook.cell("lb.widgets.Allocator("), notebook.cell("lb.widgets.Launcher(")
        allocator.get_by_label("devices", exact=True).fill("2")
        allocator.get_by_label("name", exact=True).fill("brave-otter")
        allocator.get_by_role("button", name="Allocate", exact=True).click()
        allocator.get_by_role("button", name="Release").wait_for(timeout=60_000)
        launcher.get_by_label("epochs").fill("30")
        until(lambda: "on brave-otter" in launcher.inner_text(), "the launcher knows of it", 20, launcher.inner_text)
        allocator.evaluate("cell => cell.scrollIntoView({block: 'start'})")
        shots.take("widgets", allocator, launcher, margin=0)
        launcher.get_by_role("button", name="Launch", exact=True).click()
        launcher.locator(".lb-plot canvas").first.wait_for(timeout=30_000)
        watch = opened(page, address, "watch.ipynb")
        monitor = watch.cell("lb.widgets.Monitor(")
        monitor.locator(".lb-plot canvas").first.wait_for(timeout=60_000)
        until(lambda: "step 1600" in monitor.inner_text(), "the curves have a shape", 120, monitor.inner_text)
        shots.take("monitor", monitor, margin=0)


def machine(place: Isolation, save: Save) -> None:
    "A larger machine. Its devices are simulated and say so; what trains on them is real."
    with lab(place, "machine", (1100, 1000), LEPTON_BENCH_SIMULATED="8") as (address, page, folder, env):
        program = subprocess.Popen(script(folder, "many.py", MANY), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            shots = Shots(page, save)
            base, _, token = address.partition("?")
            page.goto(f"{base}?reset&{token}")
            page.wait_for_function("window.jupyterapp && window.jupyterapp.commands.hasCommand('lepton-bench:open-sidebar')", timeout=60_000)
            page.evaluate("window.jupyterapp.restored.then(() => 1)")
            page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)
            shots.command("lepton-bench:open-sidebar")
            node = page.locator("#lepton-bench-sidebar")
            narrow(page, 420)
            node.get_by_role("button", name="Devices as a Table").first.click()
            until(lambda: node.locator(".jp-lb-run [role=progressbar]").count() == 2, "both runs go on", 90, node.inner_text)
            until(lambda: "accuracy" in node.inner_text(), "they have logged", 90, node.inner_text)
            shots.take("machine", node, margin=0)
        finally:
            program.kill()
            program.wait()


def sweep(place: Isolation, save: Save) -> None:
    "A notebook over a grid: the dialog, the sidebar while it goes on, the dashboard when it is over."
    with lab(place, "sweep", (1100, 940)) as (address, page, folder, _):
        shots = Shots(page, save)
        cells = json.loads(write_notebook(folder/"clothes.ipynb", [PARAMETERS, HEADLESS, FIT, SCORE]).read_text())
        cells["cells"][0]["metadata"]["tags"] = ["parameters"]
        (folder/"clothes.ipynb").write_text(json.dumps(cells))
        notebook = Notebook(page, address, "clothes.ipynb")
        notebook.panel.locator("[data-jp-item-name='lepton-bench-headless'] .jp-ToolbarButtonComponent").click()
        dialog = page.locator(".jp-lb-hl-HeadlessDialog")
        dialog.get_by_label("learning_rate").fill("0.0003, 0.003, 0.03")
        dialog.get_by_label("width").fill("32, 128")
        until(lambda: "6 sets" in dialog.inner_text(), "it counts the sets", 10, dialog.inner_text)
        shots.take("headless", dialog.locator(".jp-Dialog-content"), margin=0)
        dialog.locator(".jp-mod-accept").click()
        node = page.locator("#lepton-bench-sidebar")
        row = node.locator(".jp-lb-run[data-kind='sweep']")
        row.wait_for(timeout=60_000)
        shots.size(1100, 760)
        narrow(page, 400)
        node.locator(".jp-AccordionPanel-title", has_text=re.compile("Allocations", re.I)).locator(".lm-AccordionPanel-titleLabel").click()
        until(lambda: "2 of 6 sets" in row.inner_text() and node.inner_text().count("of 5 cells") == 2, "two sets are done, two at work", 240, node.inner_text)
        shots.take("sweep", node, margin=0)
        row.get_by_text("clothes").click()
        board = page.locator(".jp-lb-Dashboard:visible")
        until(lambda: board.locator("tbody tr").count() == 6 and "6 sets" in board.inner_text(), "all are done", 240, board.inner_text)
        until(lambda: "running" not in board.inner_text(), "all are done", 120, board.inner_text)
        shots.take("sweep-dashboard", board, margin=0)


PANELS = {"work": work, "widgets": widgets, "machine": machine, "sweep": sweep}
