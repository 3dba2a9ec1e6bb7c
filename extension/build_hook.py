"""What hatchling runs before it packs a wheel or an sdist: the browser's side is built and current, or the build ends with a sentence that says why.

An sdist carries the built files, so a wheel made from one needs no Node. `LEPTON_BENCH_WITHOUT_PANELS=1` packs without them on purpose.
"""
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = 20  # the oldest major version that builds extension/
INPUTS = ("package.json", "package-lock.json", "tsconfig.json", "tsconfig.lab.json", "schema", "src", "style")
OPT_OUT = "LEPTON_BENCH_WITHOUT_PANELS"


def inputs(root: Path) -> Iterator[Path]:
    "The files that the browser's side is made from."
    for name in INPUTS:
        path = root/"extension"/name
        yield from (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def problem(root: Path) -> str:
    "Why what is built cannot be packed; empty: it can."
    extension, plot = root/"lepton_bench"/"labextension", root/"lepton_bench"/"static"/"plot.js"
    missing = [name for name, there in (("lepton_bench/static/plot.js", plot.is_file()), ("lepton_bench/labextension", (extension/"package.json").is_file()),
                                        ("lepton_bench/labextension/static/remoteEntry.*.js", any(extension.glob("static/remoteEntry.*.js")))) if not there]
    if missing: return f"not built yet: {', '.join(missing)}"
    if (root/"PKG-INFO").is_file(): return ""  # an sdist: its built files were packed with its sources, and unpacking sets all times anew
    newer = [p for p in inputs(root) if p.stat().st_mtime > plot.stat().st_mtime]
    return f"{newer[0].relative_to(root)} is newer than what was built" if newer else ""


def missing_tool() -> str:
    "Which tool a build needs and does not find; empty: all are there."
    node, npm = shutil.which("node"), shutil.which("npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip() if node else ""
    found = re.match(r"v(\d+)\.", version)
    if not node: return f"Node {NODE} or newer is not on PATH"
    if not found or int(found[1]) < NODE: return f"Node {NODE} or newer is needed, and {node} is {version or 'not working'}"
    return "" if npm else f"npm is not on PATH beside {node}"


def build(root: Path) -> str:
    "Build the browser's side; what went wrong, or empty."
    for command in (["npm", "ci", "--loglevel=error"], ["npm", "run", "--silent", "build"]):
        done = subprocess.run(command, cwd=root/"extension", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
        if done.returncode: return f"`{' '.join(command)}` in {root/'extension'} failed:\n{done.stdout[-2000:]}"
    (root/"lepton_bench"/"static"/"plot.js").touch()
    return ""


class BrowserSide(BuildHookInterface):
    "Part of each wheel and sdist."
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if not (why := problem(root)): return
        if os.environ.get(OPT_OUT, "0") not in ("", "0"):
            (root/"lepton_bench"/"labextension").mkdir(exist_ok=True)
            return self.app.display_warning(f"lepton_bench: packed without JupyterLab's panels ({why}), since {OPT_OUT} is set")
        tool = missing_tool()
        failure = tool or build(root) or problem(root)
        if failure:
            self.app.abort(f"lepton_bench: JupyterLab's panels and the live plots cannot be packed ({why}): {failure}.\n"
                           f"Install Node {NODE} or newer with npm (https://nodejs.org) and try again, install from an sdist or a wheel, which carry them, "
                           f"or set {OPT_OUT}=1 to go on without them.")
