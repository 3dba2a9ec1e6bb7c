"""The wheel as somebody installs it: JupyterLab has the extension, with no Node on the machine."""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab import EXTENSION, REPOSITORY, browser_page, lab_server  # noqa: E402

DATA = "share/jupyter/labextensions/lepton-bench"


def call(*command: str | Path, **options) -> str:
    found = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, **options)
    assert found.returncode == 0, f"{command}:\n{found.stdout}\n{found.stderr}"
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=REPOSITORY)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    "A Python that has the wheel, and everything else from this one."
    folder = tmp_path_factory.mktemp("installed")/"venv"
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    site = Path(call(folder/"bin"/"python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    packages = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    (site/"others.pth").write_text("\n".join(packages))  # their own .pth files, the editable install's too, do not count there
    call(sys.executable, "-m", "pip", "--python", folder/"bin"/"python", "install", "--no-deps", "--no-index", "--ignore-installed", "--quiet", wheel)
    return folder


def path_without_node(folder: Path) -> str:
    "A folder with the programs of PATH, but Node's."
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder/program.name
            if program.name not in ("node", "nodejs", "npm", "npx", "corepack") and not link.is_symlink(): link.symlink_to(program)
    return str(folder)


def test_the_wheel_contains_the_extension(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = [n.partition(".data/data/")[2] for n in names if ".data/data/" in n]
    assert {f"{DATA}/package.json", f"{DATA}/install.json", f"{DATA}/schemas/lepton-bench/plugin.json"} <= set(inside)
    assert any(n.startswith(f"{DATA}/static/remoteEntry.") for n in inside)
    assert "etc/jupyter/jupyter_server_config.d/lepton_bench.json" in inside
    assert "lepton_bench/static/plot.js" in names and not any(n.startswith("lepton_bench/labextension") for n in names), "nothing is there twice"


def test_it_is_under_300_kb():
    import gzip
    size = sum(len(gzip.compress(p.read_bytes())) for p in (EXTENSION/"static").glob("*.js"))
    assert size < 300_000, f"{size:,} bytes gzipped"


def test_it_loads_without_node(installed, place, tmp_path):
    (tmp_path/"path").mkdir()
    (tmp_path/"lab").mkdir()
    env = {**place.environment(), "PATH": path_without_node(tmp_path/"path"), "JUPYTERLAB_DIR": str(Path(sys.prefix)/"share"/"jupyter"/"lab")}
    env.pop("PYTHONPATH", None)
    where = call(installed/"bin"/"python", "-c", "import lepton_bench; print(lepton_bench.__file__)", env=env, cwd=tmp_path)
    assert where.startswith(str(installed)), "the wheel, not this folder"
    with lab_server(tmp_path/"lab", env, python=installed/"bin"/"python") as address, browser_page() as page:
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.goto(address)
        page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").first.wait_for(timeout=60_000)
        page.locator(".jp-SideBar [data-id='lepton-bench-sidebar']").first.click()
        page.locator("#lepton-bench-sidebar", has_text="cpu-0").wait_for(timeout=60_000)
        assert not [url for url in failed if "lepton" in url]
