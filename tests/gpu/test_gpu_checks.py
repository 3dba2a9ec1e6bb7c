"""The GPU checks where there is no GPU: they skip loudly, and as far as CPU slots go they have been run."""
import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import cloudpickle
import pytest
from support.isolation import REPOSITORY

GPU = REPOSITORY/"tests"/"gpu"
has_gpu = bool(glob.glob("/dev/nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None


def load(name: str) -> types.ModuleType:
    "A file beside the checks, as a module of that name."
    spec = importlib.util.spec_from_file_location(name, GPU/f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("work", "checks"): monkeypatch.delitem(sys.modules, name, raising=False)
    return load("checks")


def shell(script: str, *arguments: str, timeout: float = 60., **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(GPU/script), *arguments], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHON": sys.executable, **env})


@pytest.mark.skipif(has_gpu, reason="there is a GPU here: run tests/gpu/run.sh itself")
def test_without_a_gpu_it_says_so_and_skips() -> None:
    done = shell("run.sh")
    assert done.returncode == 0 and done.stdout.startswith("SKIPPED: there is no NVIDIA GPU") and "NOTHING" in done.stdout and "passed" not in done.stdout


def test_the_scripts_are_sound(tmp_path: Path) -> None:
    for script in ("run.sh", "wheels.sh"): subprocess.run(["bash", "-n", str(GPU/script)], check=True, timeout=20)
    done = shell("wheels.sh")
    assert done.returncode == 2 and "usage" in done.stderr
    python = tmp_path/"python"  # an interpreter that has nothing but itself
    python.write_text(f"#!/bin/bash\nexec {sys.executable} -S -E \"$@\"\n")
    python.chmod(0o755)
    done = shell("run.sh", "--", "--cpu", PYTHON=str(python))
    assert done.returncode == 1 and "pyarrow" in done.stdout and "wheels.sh" in done.stdout


def test_every_check_is_one_and_what_it_launches_travels(checks: types.ModuleType) -> None:
    assert {"inventory", "uuid", "forkserver", "world", "launch", "throughput", "killed", "foreign", "oom", "left"} == set(checks.CHECKS)
    assert all(c.__doc__ for c in checks.CHECKS.values()) and list(checks.CHECKS)[-1] == "left"
    for name in ("mark", "describe", "world", "train", "hold", "too_much"):
        assert cloudpickle.loads(cloudpickle.dumps(getattr(sys.modules["work"], name))).__doc__
    for path in GPU.glob("*.py"): compile(path.read_text(), str(path), "exec")


def test_a_check_that_fails_is_a_line_and_an_exit_status(checks: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pretended = {"fine": lambda bench: "seen", "wrong": lambda bench: checks.expect(False, "two\nlines"), "broken": lambda bench: 1 / 0}
    monkeypatch.setattr(checks, "CHECKS", pretended)
    monkeypatch.setattr(checks.Isolation, "remove", lambda self: shutil.rmtree(self.root))
    for name in ("PYTHONPATH", "PATH"): monkeypatch.setenv(name, os.environ.get(name, ""))
    before = dict(os.environ)
    try: assert checks.main(["--cpu"]) == 1
    finally:
        os.environ.clear()
        os.environ.update(before)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok   fine        seen") and lines[1].startswith("FAIL wrong       two") and "lines" in lines[2]
    assert lines[3].startswith("FAIL broken      ZeroDivisionError: division by zero") and lines[-1] == "1 passed, 2 failed"
    assert checks.main(["no-such"]) == 2 and "the checks are fine, wrong" in capsys.readouterr().err


@pytest.mark.skipif(has_gpu, reason="there is a GPU here, and no CPU slots")
def test_the_checks_pass_on_cpu_slots() -> None:
    done = shell("run.sh", "--", "--cpu", "inventory", "uuid", "forkserver", "world", "killed", "oom", "left", timeout=150)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "7 passed, 0 failed", done.stdout + done.stderr
    assert "raised OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB" in done.stdout
