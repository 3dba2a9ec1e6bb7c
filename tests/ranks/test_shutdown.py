"""`lepton-bench shutdown` ends the forkservers of its own environment and says which; with --all those of others too."""
import os
import subprocess
import sys
import venv
from pathlib import Path

BENCH = str(Path(sys.executable).parent/"lepton-bench")
START = "from lepton_bench.processes.forkserver import connect_forkserver as c; c().close()"


def test_its_own_unless_all(new_place, tmp_path):
    venv.create(tmp_path/"other", symlinks=True)  # another environment, which finds the packages of this one
    packages = [p for p in sys.path if "site-packages" in p or (Path(p)/"lepton_bench").is_dir()]
    other = {**new_place.environment(), "PYTHONPATH": os.pathsep.join(packages)}
    for python, env in ((sys.executable, new_place.environment()), (str(tmp_path/"other"/"bin"/"python"), other)):
        subprocess.run([python, "-c", START], env=env, check=True, timeout=120)

    def shutdown(*options):
        env = new_place.environment()
        return subprocess.run([BENCH, "shutdown", *options], env=env, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    said = shutdown()
    assert f"ended: forkserver of {sys.prefix} (process" in said[0] and f"goes on: forkserver of {tmp_path/'other'} (process" in said[1], said
    assert said[2] == "1 forkserver ended; 1 forkserver of other environments left, which --all ends"
    assert shutdown("--all")[1] == "1 forkserver ended" and shutdown() == ["0 forkservers ended"]


def test_the_version_and_the_package_as_a_program():
    from importlib.metadata import version
    for command in ([BENCH], [sys.executable, "-m", "lepton_bench"]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, f"lepton-bench {version('lepton_bench')}\n"), done
    done = subprocess.run([sys.executable, "-m", "lepton_bench", "devices", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("["), done
