"""A kernel with a device, from JupyterLab's launcher: its device is listed with the notebook's name, over a restart, until it is shut down."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from lab import kernel_ready, until  # noqa: E402


def test_from_the_launcher(page, server, screenshots):
    page.goto(server)
    page.locator(".jp-LauncherCard[title='Python (lepton)']").first.wait_for(timeout=60_000)
    page.locator(".jp-LauncherCard[title='Python (lepton, 1 device)']").first.click()
    kernel_ready(page)
    page.locator("[data-id='lepton-bench-sidebar']").click()
    sidebar = page.locator("#lepton-bench-sidebar")
    until(lambda: "Untitled.ipynb" in sidebar.inner_text(), "the device is listed with the notebook's name", 30, sidebar.inner_text)
    assert sidebar.inner_text().count("Untitled.ipynb") == 1 and "kernel" in sidebar.inner_text()
    page.locator(".jp-NotebookPanel:visible .jp-Cell .cm-content").first.click()
    page.keyboard.type("import torch, os; print(torch.ones(2).sum(), os.environ['LEPTON_BENCH_HELD'].split('=')[0])")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").first
    output.wait_for(timeout=60_000)
    assert "tensor(2.) " in output.inner_text()
    page.screenshot(path=screenshots/"kernel-with-a-device.png")
    held = output.inner_text().split()[-1]
    page.evaluate("void window.jupyterapp.commands.execute('kernelmenu:restart')")
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    kernel_ready(page)
    assert "Untitled.ipynb" in sidebar.inner_text(), "the device is kept over a restart"
    page.locator(".jp-NotebookPanel:visible .jp-Cell .cm-content").last.click()
    page.keyboard.type("import os; print('again', os.environ['LEPTON_BENCH_HELD'].split('=')[0])")
    page.keyboard.press("Shift+Enter")
    until(lambda: f"again {held}" in page.locator(".jp-NotebookPanel:visible").inner_text(), "a cell after the restart", 30)
    page.evaluate("void window.jupyterapp.commands.execute('kernelmenu:shutdown')")
    until(lambda: "Untitled.ipynb" not in sidebar.inner_text(), "the device is free", 30, sidebar.inner_text)
