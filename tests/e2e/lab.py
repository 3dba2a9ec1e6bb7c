"""A JupyterLab of its own, and a browser that uses it as a person does: through menus, cells and what is on the screen.

The tests and `docs/pictures/make.py` share it. Chromium is the system's: nothing is downloaded here.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.waiting import until  # noqa: F401  # for the tests in this folder

REPOSITORY = Path(__file__).resolve().parents[2]
EXTENSION = REPOSITORY/"lepton_bench"/"labextension"
AXE = REPOSITORY/"extension"/"node_modules"/"axe-core"/"axe.min.js"
QUICKSTART = REPOSITORY/"nbs"/"tutorials"/"90_quickstart.ipynb"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SETTINGS = {  # of JupyterLab: nothing that asks the network or stands in the picture; every cell is drawn
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


def chromium() -> str | None:
    "The system's Chromium, or None."
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


def write_notebook(path: Path, cells: list[str]) -> Path:
    "A notebook of code cells."
    from nbformat import write
    from nbformat.v4 import new_code_cell, new_notebook
    kernel = {"display_name": "python3", "language": "python", "name": "python3"}
    write(new_notebook(cells=[new_code_cell(c) for c in cells], metadata={"kernelspec": kernel}), path)
    return path


def copy_quickstart(folder: Path, **parameters: Any) -> Path:
    "The quickstart without outputs, with other parameters, as a person would type them."
    notebook = json.loads(QUICKSTART.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code": cell["outputs"], cell["execution_count"] = [], None
        if "parameters" not in cell["metadata"].get("tags", []): continue
        lines = "".join(cell["source"])
        for name, value in parameters.items():
            lines, n = re.subn(rf"(?m)^{name} = \S+", f"{name} = {value!r}", lines)
            assert n == 1, f"the quickstart has no parameter {name}"
        cell["source"] = lines
    path = folder/QUICKSTART.name
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def environment(place: Any,  # Isolation
                folder: Path,  # JupyterLab's
                enabled: bool = True,  # the server extension
                ) -> dict[str, str]:
    "Of a server with this folder's extension, whatever is installed; a page hands its commands to the test."
    extensions, config, page = (folder/name for name in (".share/labextensions", ".etc/jupyter_server_config.d", ".etc/labconfig"))
    for made in (extensions, config, page): made.mkdir(parents=True, exist_ok=True)
    (page/"page_config.json").write_text('{"buildAvailable": false, "buildCheck": false}')  # whether JupyterLab itself has to be built is no question here
    if not (extensions/"lepton-bench").exists(): (extensions/"lepton-bench").symlink_to(EXTENSION)
    (config/"lepton_bench.json").write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"lepton_bench": enabled}}}))
    for name, app in (("lab", "LabApp"), ("notebook", "JupyterNotebookApp")):
        (config.parent/f"jupyter_{name}_config.py").write_text(f"c.{app}.expose_app_in_browser = True\n")
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**place.environment(), "PYTHONPATH": path, "JUPYTER_PATH": str(extensions.parent), "JUPYTER_CONFIG_PATH": str(config.parent)}


def release(env: Mapping[str, str], name: str = "--all") -> None:
    "Give devices back: an allocation outlives its kernel by design."
    command = [Path(sys.executable).parent/"lepton-bench", "release", name]
    subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=False)


def saved(page: Any, file: Path) -> dict:
    "The notebook's file, after Ctrl+S."
    before = file.stat().st_mtime_ns

    def stored() -> dict | None:
        if file.stat().st_mtime_ns == before: return None
        try: return json.loads(file.read_text(encoding="utf-8"))
        except ValueError: return None  # it is being written
    page.keyboard.press("Control+s")
    return until(stored, "the notebook is saved", 20)


KERNEL = """() => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""


def kernel_ready(page: Any) -> None:
    "Waits for the notebook's kernel: cells that are run before it is there are lost, and Notebook 7 calls a kernel idle that it does not have yet."
    page.wait_for_function(KERNEL, timeout=60_000)


class LabServer:
    "JupyterLab, its root being `folder`; it can be stopped and started again."

    def __init__(self, folder: Path, env: dict[str, str], token: str = "looking", python: str | Path = sys.executable,
                 module: str = "jupyterlab",  # or "notebook"
                 ) -> None:
        self.folder, self.token, self.python, self.module, self.place = folder, token, python, module, folder/".lab"
        for name, values in SETTINGS.items():
            file = self.place/"settings"/f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        self.env = {**env, "JUPYTERLAB_SETTINGS_DIR": str(self.place/"settings"), "JUPYTERLAB_WORKSPACES_DIR": str(self.place/"workspaces"),
                    "JUPYTER_RUNTIME_DIR": str(self.place/"runtime")}

    def start(self, port: int = 0  # 0: a free one
              ) -> str:
        "Its address, once it answers."
        command = [str(self.python), "-m", self.module, "--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--ServerApp.root_dir={self.folder}",
                   f"--IdentityProvider.token={self.token}", "--ServerApp.ip=127.0.0.1"]
        with (self.place/"server.log").open("a") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        found = until(lambda: _answers(self.place/"runtime", self.process), "JupyterLab answers", 60, (self.place/"server.log").read_text)
        return f"{found}{'lab' if self.module == 'jupyterlab' else 'tree'}?token={self.token}"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: self.process.kill()
        self.process.wait()


@contextmanager
def lab_server(folder: Path, env: dict[str, str], **options: Any) -> Iterator[str]:
    "JupyterLab on a free port: the address. It ends with the block."
    server = LabServer(folder, env, **options)
    try: yield server.start()
    finally: server.stop()


def _answers(runtime: Path, server: subprocess.Popen) -> str | None:
    "The server's address, once it answers."
    assert server.poll() is None, f"JupyterLab ended with {server.returncode}"
    for file in runtime.glob("jpserver-*.json"):
        try:
            url = json.loads(file.read_text())["url"]
            with urllib.request.urlopen(f"{url}api", timeout=2): return url
        except (OSError, ValueError, KeyError): continue
    return None


_browser: list[Any] = []  # the one that is there
pictures = True  # False: nobody will look at them, and none is taken


@contextmanager
def one_browser() -> Iterator[Any]:
    "A headless browser. Every page until its end is one of it, with cookies, storage and cache of its own: as fresh as a new browser's, without its start."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        _browser.append(playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS))
        try: yield _browser[0]
        finally: _browser.pop().close()


@contextmanager
def browser_page(size: tuple[int, int] = (1280, 900)) -> Iterator[Any]:
    "A fresh page, in a fresh headless browser if there is none."
    with nullcontext(_browser[0]) if _browser else one_browser() as browser:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        context.set_default_timeout(60_000)
        page = context.new_page()
        if not pictures: page.screenshot = lambda **_: b""
        try: yield page
        finally: context.close()


class Notebook:
    "One notebook in the page."

    def __init__(self, page: Any, address: str, name: str):
        self.page = page
        base, _, token = address.partition("?")
        page.goto(f"{base}/tree/{name}?reset&{token}")
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.panel.locator(".jp-Cell").first.wait_for(timeout=60_000)
        # running cells before the kernel is there makes JupyterLab ask for one
        page.locator(".jp-StatusBar-TextItem, .jp-StatusBar-Widget", has_text=re.compile(r"^Python 3.*\| Idle$")).first.wait_for(timeout=60_000)

    def menu(self, *labels: str) -> None:
        "Clicks through a menu: Run, Run All Cells."
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{labels[0]}$")).click()
        for label in labels[1:-1]: self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{label}$")).hover()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{labels[-1]}$")).click()

    def run_all(self) -> None: self.menu("Run", "Run All Cells")

    def theme(self, dark: bool) -> None:
        name = f"JupyterLab {'Dark' if dark else 'Light'}"
        self.menu("Settings", "Theme", name)
        self.page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached", timeout=60_000)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)

    def cell(self, text: str) -> Any:
        "The code cell with that text in its source."
        return self.panel.locator(".jp-CodeCell").filter(has=self.page.locator(".jp-InputArea", has_text=text)).first

    def output(self, text: str) -> str:
        "What stands below a cell."
        areas = self.cell(text).locator(".jp-OutputArea-output")
        return "\n".join(areas.all_inner_texts())

    def errors(self) -> list[str]:
        "What is shown in red."
        return self.panel.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()

    def pictures(self, text: str) -> list[list[int]]:
        "Width and height of the pictures below a cell, as they are in the file."
        return self.cell(text).locator(".jp-OutputArea-output img").evaluate_all("all => all.map(i => [i.naturalWidth, i.naturalHeight])")

    def finished(self, text: str) -> bool:
        "Whether a cell has run."
        return bool(re.search(r"\[\d+\]", self.cell(text).locator(".jp-InputPrompt").inner_text()))

    def show(self, text: str, file: Path | None = None) -> bytes:
        "A picture of the window, this cell at the top."
        self.page.mouse.move(2, 2)  # nothing is lit up because the mouse happens to be there
        self.cell(text).evaluate("cell => cell.scrollIntoView({block: 'start'})")
        return self.page.screenshot(path=file)
