"""The wheel as somebody installs it: JupyterLab has the extension, with no Node on the machine."""
import os
import shutil
import subprocess
import sys
import tarfile
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
    "A new folder with the programs of PATH, but Node's."
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            link = folder/program.name
            if program.name not in ("node", "nodejs", "npm", "npx", "corepack") and not link.is_symlink(): link.symlink_to(program)
    return str(folder)


def build(root: Path, kind: str, out: Path, **env: str) -> subprocess.CompletedProcess:
    "What pip calls, with PATH and variables of our choice."
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    return subprocess.run(command, cwd=root, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def no_node(tmp_path_factory) -> str: return path_without_node(tmp_path_factory.mktemp("no-node")/"path")


@pytest.fixture
def clone(tmp_path) -> Path:
    "What `pip install git+...` or a fresh clone builds from: the files in git and those that will be, nothing that was built."
    names = call("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "extension", "lepton_bench", "jupyter-config", "*.md", "*.toml",
                 "LICENSE", "Makefile", "constraints.txt", "settings.ini", ".gitignore", cwd=REPOSITORY)
    for name in filter(None, names.split("\0")):
        if not (REPOSITORY/name).is_file(): continue
        (tmp_path/"clone"/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY/name, tmp_path/"clone"/name)
    return tmp_path/"clone"


def with_what_is_built(clone: Path) -> Path:
    shutil.copytree(EXTENSION, clone/"lepton_bench"/"labextension", dirs_exist_ok=True)
    (clone/"lepton_bench"/"static").mkdir(exist_ok=True)
    shutil.copy(REPOSITORY/"lepton_bench"/"static"/"plot.js", clone/"lepton_bench"/"static")  # copied last: it is newer than the sources
    return clone


def test_a_clone_without_node_says_why_there_is_no_wheel(clone, tmp_path, no_node):
    for kind in ("wheel", "sdist"):
        done = build(clone, kind, tmp_path/"out", PATH=no_node)
        assert done.returncode != 0 and not list(tmp_path.glob("out/*.*")), "no file without panels is made"
        assert "Traceback" not in done.stderr and "Node 20 or newer is not on PATH" in done.stderr and "lepton_bench/labextension" in done.stderr


@pytest.mark.parametrize("version, said", [("v18.20.4", "is v18.20.4"), ("", "is not working"), ("v22.1.0", "npm is not on PATH")])
def test_a_node_that_does_not_do_is_named(clone, tmp_path, no_node, version, said):
    node = tmp_path/"bin"/"node"
    node.parent.mkdir()
    node.write_text(f"#!/bin/sh\necho {version}\n")
    node.chmod(0o755)
    done = build(clone, "wheel", tmp_path/"out", PATH=f"{node.parent}{os.pathsep}{no_node}")
    assert done.returncode != 0 and said in done.stderr and str(node) in done.stderr


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not here")
def test_a_build_that_fails_is_quoted(clone, tmp_path):
    (clone/"extension"/"package.json").write_text("no JSON")
    done = build(clone, "wheel", tmp_path/"out")
    assert done.returncode != 0 and "`npm ci" in done.stderr and "EJSONPARSE" in done.stderr


def test_sources_newer_than_what_is_built_are_noticed(clone, tmp_path, no_node):
    with_what_is_built(clone)
    assert build(clone, "wheel", tmp_path/"out", PATH=no_node).returncode == 0
    source = clone/"extension"/"src"/"index.ts"
    later = (clone/"lepton_bench"/"static"/"plot.js").stat().st_mtime + 60
    os.utime(source, (later, later))
    done = build(clone, "wheel", tmp_path/"again", PATH=no_node)
    assert done.returncode != 0 and "extension/src/index.ts is newer" in done.stderr


def test_without_panels_on_purpose(clone, tmp_path, no_node):
    done = build(clone, "wheel", tmp_path/"out", PATH=no_node, LEPTON_BENCH_WITHOUT_PANELS="1")
    assert done.returncode == 0 and "without JupyterLab's panels" in done.stderr
    assert not [n for n in zipfile.ZipFile(next(tmp_path.glob("out/*.whl"))).namelist() if "remoteEntry" in n]


def test_an_sdist_makes_the_same_wheel_without_node(wheel, clone, tmp_path, no_node):
    assert build(with_what_is_built(clone), "sdist", tmp_path/"out", PATH=no_node).returncode == 0
    with tarfile.open(next(tmp_path.glob("out/*.tar.gz"))) as file: file.extractall(tmp_path/"unpacked", filter="data")
    root = next((tmp_path/"unpacked").iterdir())
    for number, path in enumerate(sorted(root.rglob("*"))): os.utime(path, (1e9 + number, 1e9 + number))  # as pip does, which does not keep the times
    assert build(root, "wheel", tmp_path/"again", PATH=no_node).returncode == 0
    again = next(tmp_path.glob("again/*.whl"))
    names, expected = (set(zipfile.ZipFile(w).namelist()) for w in (again, wheel))
    assert names == expected


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
