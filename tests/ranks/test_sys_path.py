"""`sys.path` of a launched script or module is what `python script.py` and `python -m module` give, however it is launched."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lepton_bench as lb

BENCH = str(Path(sys.executable).parent/"lepton-bench")


pytestmark = pytest.mark.simulated(2)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path/"project"/"inner"
    folder.mkdir(parents=True)
    (folder/"__init__.py").touch()
    (folder/"show.py").write_text("import json, sys; print('@' + json.dumps(sys.path) + '@')")
    return folder


def path_of(*command, cwd, **variables) -> list[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, cwd=cwd, stdin=subprocess.DEVNULL, env={**os.environ, **variables})
    assert done.returncode == 0, done
    return json.loads(done.stdout.split("@")[1])


@pytest.mark.parametrize("what", [("inner/show.py",), ("-m", "inner.show")], ids=["script", "module"])
def test_from_the_command_line(package, what):
    cwd = package.parent
    expected = path_of(sys.executable, *what, cwd=cwd)
    assert path_of(BENCH, "launch", *what, cwd=cwd) == expected
    assert path_of(sys.executable, "-m", "lepton_bench", "launch", *what, cwd=cwd) == expected


def test_without_a_forkserver_and_with_a_path_of_ones_own(package):
    own = {"PYTHONPATH": str(package.parent/"more")}
    expected = path_of(sys.executable, "inner/show.py", cwd=package.parent, **own)
    assert own["PYTHONPATH"] in expected
    assert path_of(BENCH, "launch", "inner/show.py", cwd=package.parent, **own, LEPTON_BENCH_FORKSERVER="0") == expected


def test_from_a_notebook(package, new_kernel):
    expected = path_of(sys.executable, "inner/show.py", cwd=package.parent)
    kernel = new_kernel(cwd=package.parent)
    kernel.run("import lepton_bench as lb\nalloc = lb.allocate(1)")
    shown = kernel.run("run = alloc.launch('inner/show.py'); run.wait(60); print(run.logs(0))")
    assert json.loads(shown.split("@")[1]) == expected
    kernel.run("import sys; sys.path.append('/somewhere')")
    shown = kernel.run("run = alloc.launch('inner/show.py'); run.wait(60); print(run.logs(0))")
    assert json.loads(shown.split("@")[1]) == [*expected, "/somewhere"], "what a person has added is the ranks' as well"
    found = kernel.run("print(alloc.launch(lambda: __import__('inner').__name__).result(60))")
    assert found.strip().endswith("inner"), "a function finds what is beside the notebook"
    kernel.run("alloc.release()")


def test_from_a_script(package):
    "A program in another folder launches the script: its own folder is not the script's."
    program = package.parent/"elsewhere"/"program.py"
    program.parent.mkdir()
    launch = f"run = a.launch({str(package/'show.py')!r}); run.wait(60); print(run.logs(0))"
    program.write_text(f"import lepton_bench as lb\nwith lb.allocate(1) as a: {launch}")
    assert path_of(sys.executable, program, cwd=package) == path_of(sys.executable, package/"show.py", cwd=package)
    assert lb.allocations() == []
