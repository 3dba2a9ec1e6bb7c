"""Variables that an interpreter or a library reads only at its start: set and seen, unset and not seen, whoever started the forkserver."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.headless_notebooks import read_text, write_notebook
from support.isolation import Isolation

import lepton_bench as lb
from lepton_bench.processes.forkserver import connect_forkserver, forkserver_path, neutral_environment
from lepton_bench.processes.start_variables import kind_of

BENCH = str(Path(sys.executable).parent/"lepton-bench")

LOOK = '''
import json
def look():
    import faulthandler, os, sys, tempfile, time, warnings
    import torch, torch.distributed
    def warned():
        with warnings.catch_warnings(record=True) as heard:
            try: warnings.warn("a look", stacklevel=1)
            except UserWarning: return "raised"
            return len(heard)
    return {"hash": hash("lepton") if os.environ.get("PYTHONHASHSEED") else None, "random": sys.flags.hash_randomization, "optimize": sys.flags.optimize,
            "dev": sys.flags.dev_mode, "bytecode": sys.dont_write_bytecode, "digits": sys.get_int_max_str_digits(), "warned": warned(),
            "options": sys.warnoptions, "faults": faulthandler.is_enabled(), "zone": list(time.tzname), "temp": tempfile.gettempdir(),
            "jit": torch.jit._state._enabled.enabled,
            "compile": compiler.config.disable if (compiler := sys.modules.get("torch._dynamo")) else os.environ.get("TORCH_COMPILE_DISABLE") == "1",
            "debug": torch.distributed.get_debug_level().name,
            "logs": __import__("logging").getLogger("torch._dynamo").getEffectiveLevel()}
'''
APPLIED = {"PYTHONWARNINGS": "error::UserWarning", "PYTHONFAULTHANDLER": "1", "PYTHONINTMAXSTRDIGITS": "1000", "TZ": "Asia/Tokyo", "TMPDIR": "/var/tmp",
           "TORCH_DISTRIBUTED_DEBUG": "DETAIL"}
FIXED = {"PYTHONHASHSEED": "7", "PYTORCH_JIT": "0", "TORCH_COMPILE_DISABLE": "1", "TORCH_LOGS": "+dynamo"}


@pytest.fixture(scope="module", autouse=True)
def place():
    "A place of this file's own, where no forkserver runs at the beginning; its tests share those that they start, which import torch each."
    place = Isolation.new()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**place.variables(), "LEPTON_BENCH_SIMULATED": "2"}.items(): patch.setenv(name, value)
        yield place
    left = place.shut_down()
    place.remove()
    assert not left, "left behind:\n  " + "\n  ".join(left)


def variants(place) -> set[str]:
    "The forkservers that run for variables of their own."
    return {p.name.split("-")[2] for p in (place.root/"sockets").glob("fs-*-*") if not p.suffix} - {"kernels"}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("look")/"look.py"
    path.write_text(f"{LOOK}\nif __name__ == '__main__': print('@' + json.dumps(look()) + '@')\n")
    return path


def run(*command, **variables) -> dict:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, env={**os.environ, **variables})
    assert done.returncode == 0, done
    return json.loads(done.stdout.split("@")[1])


@pytest.fixture(scope="module")
def truth(script):
    "What a plain interpreter sees, with and without the variables."
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(run, sys.executable, script, **given) for given in ({}, {**APPLIED, **FIXED})]
        return {given: x.result() for given, x in zip((False, True), found)}


def test_the_first_asker_leaves_nothing(place, script, truth):
    "A script sees what a plain interpreter sees: what the first one has set starts a forkserver, and is not seen by the second."
    assert truth[True] != truth[False] and not list((place.root/"sockets").glob("fs-*"))
    assert run(BENCH, "launch", script, **APPLIED, **FIXED, MPLBACKEND="pdf") == truth[True]
    files = [p for p in (place.root/"sockets").glob("fs-*") if not p.suffix]
    assert len(files) == 1 and files[0].name.count("-") == 2, f"a variant, and no other: {files}"
    assert run(BENCH, "launch", script) == truth[False]


def test_without_a_forkserver_it_is_the_same(script, truth):
    assert run(BENCH, "launch", script, LEPTON_BENCH_FORKSERVER="0", **APPLIED, **FIXED) == truth[True]


# --- warm ranks -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def look(script):
    sys.path.insert(0, str(script.parent))
    yield __import__("look").look
    sys.path.remove(str(script.parent))


def test_warm_ranks_see_what_the_caller_has_set_after_allocate(look, truth, monkeypatch):
    with lb.allocate(2) as alloc:
        pids = alloc.launch(os.getpid).results(60)
        assert alloc.launch(look).results(60) == [truth[False]]*2 and alloc.launch(os.getpid).results(60) == pids
        for name, value in {**APPLIED, **FIXED}.items(): monkeypatch.setenv(name, value)
        run = alloc.launch(look)
        assert run.results(120) == [truth[True]]*2
        said = [line for line in run.logs(0).splitlines() if line.startswith("lepton:")]
        assert len(said) == 1 and all(name in said[0] for name in FIXED), said
        fresh = alloc.launch(os.getpid).results(60)
        assert not set(fresh) & set(pids) and alloc.launch(os.getpid).results(60) == fresh, "and stay warm"
        for name in {**APPLIED, **FIXED}: monkeypatch.delenv(name)
        assert alloc.launch(look).results(120) == [truth[False]]*2


def test_what_can_be_applied_keeps_the_ranks(monkeypatch):
    def looks():
        import faulthandler
        import sys
        import tracemalloc

        import torch
        print("no end of line", end="")
        with open("/proc/self/fd/1", "rb") as file: text = file.read()
        traced = faulthandler.is_enabled() and tracemalloc.is_tracing()
        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], traced, sys.stdout.encoding, text.endswith(b"end of line")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with lb.allocate(1) as alloc:
        pid, usual = alloc.launch(os.getpid).result(60), alloc.launch(looks).result(60)
        given = {"OMP_NUM_THREADS": "3", "PYTHONFAULTHANDLER": "1", "PYTHONTRACEMALLOC": "1", "PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": "1"}
        for name, value in given.items(): monkeypatch.setenv(name, value)
        assert alloc.launch(looks).result(60) == (3, "3", True, "latin-1", True)
        for name in given: monkeypatch.delenv(name)
        assert alloc.launch(looks).result(60) == usual and not usual[4] and usual[3] == "utf-8"
        assert alloc.launch(os.getpid).result(60) == pid


def test_what_a_process_reads_once_means_fresh_forks(monkeypatch):
    with lb.allocate(1) as alloc:
        pid = alloc.launch(os.getpid).result(60)
        monkeypatch.setenv("NCCL_DEBUG", "WARN")
        run = alloc.launch(os.getpid)
        assert run.result(60) != pid and "NCCL_DEBUG changed" in run.logs(0)
        monkeypatch.setenv("TORCHELASTIC_SOMETHING", "1")
        assert alloc.launch(os.getpid).result(60) == run.result(), "one that is read whenever it is needed"


def test_cells_keep_their_ranks_and_are_told(monkeypatch, new_kernel):
    kernel = new_kernel(env={"LEPTON_BENCH_SIMULATED": "2"})
    kernel.run("import lepton_bench as lb, os\n%load_ext lepton_bench\nalloc = lb.allocate(1)")
    kernel.run("%%ranks\nkept = 7")
    kernel.run(f"os.environ.update({FIXED!r})")
    assert "PYTHONHASHSEED and" in (told := kernel.run("%%ranks\nprint(kept)")) and "7" in told and "alloc.restart()" in told
    assert "PYTHONHASHSEED" not in kernel.run("%%ranks\nprint(kept)"), "once"
    kernel.run("alloc.restart()")
    answer = kernel.run("%%ranks\nprint(hash('lepton'), 'kept' in globals())", timeout=120)
    plain = subprocess.run([sys.executable, "-c", "print(hash('lepton'))"], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "7"}).stdout
    assert f"{plain.strip()} False" in answer, answer
    kernel.run("alloc.release()")


# --- kernels, notebooks ---------------------------------------------------------------------------

def test_a_kernel_sees_its_own(script, truth, new_kernel):
    code = f"{LOOK}\nprint('@' + json.dumps(look()) + '@')"
    def seen(kernel): return json.loads(kernel.run(code).split("@")[1])
    def of_a_kernel(found): return {k: v for k, v in found.items() if k != "warned"}  # ipykernel has filters of its own
    assert of_a_kernel(seen(new_kernel(name="lepton", env={**APPLIED, **FIXED}))) == of_a_kernel(truth[True])
    assert of_a_kernel(seen(new_kernel(name="lepton"))) == of_a_kernel(truth[False])


def test_a_trial_of_a_sweep_sees_them(tmp_path, truth, monkeypatch):
    for name, value in {**FIXED, "PYTHONINTMAXSTRDIGITS": "1000"}.items(): monkeypatch.setenv(name, value)
    look = "import sys, torch\nprint(hash('lepton'), torch.jit._state._enabled.enabled, sys.get_int_max_str_digits())"
    notebook = write_notebook(tmp_path/"trial.ipynb", "x = 1", look, kernel="lepton")
    done = lb.sweep(notebook, {"x": [1]}, devices_each=0).wait(120)
    assert done.status == "done"
    assert f"{truth[True]['hash']} False 1000" in read_text(next(p for p in tmp_path.rglob("*.ipynb") if p != notebook))


# --- nothing unclassified -------------------------------------------------------------------------

READS = '''
import os
read = set()
def spy(name):
    original = getattr(type(os.environ), name)
    def get(self, key):
        if isinstance(key, str): read.add(key)
        return original(self, key)
    setattr(type(os.environ), name, get)
spy("__getitem__")
from lepton_bench.processes import forkserver
forkserver.preload(); forkserver.preload_rest()
print("@" + " ".join(sorted(read)) + "@")
'''
# login names, a distribution of Python, torch's own tests
ELSEWHERE = set("LNAME USER LOGNAME USERNAME SAGE_ROOT MPMATH_SAGE CI _PYTHON_PROJECT_BASE _PYTHON_SYSCONFIGDATA_NAME".split())


def test_all_that_torch_reads_while_it_is_imported_is_known(tmp_path):
    "What the forkserver's imports look up in the environment is either no asker's choice, or of a kind that the asker's value is seen."
    (tmp_path/"reads.py").write_text(READS)
    done = subprocess.run([sys.executable, tmp_path/"reads.py"], capture_output=True, text=True, timeout=120, env=neutral_environment())
    names = done.stdout.split("@")[1].split()
    assert "TORCH_COMPILE_DISABLE" in names and "PYTORCH_JIT" in names, done.stderr
    unknown = [n for n in names if not kind_of(n) and n not in neutral_environment() and n not in ELSEWHERE]
    assert unknown == [], unknown


# --- the bound ------------------------------------------------------------------------------------

def test_a_sitecustomize_that_misses_a_variable_is_named(tmp_path, capfd):
    (tmp_path/"sitecustomize.py").write_text("import os\nos.environ['TRACER_URL']\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "TRACER_URL": "http://tracer"}
    end = start_stopped(env)
    end()
    said = capfd.readouterr().err
    assert "sitecustomize: KeyError: 'TRACER_URL'" in said and "LEPTON_BENCH_FORKSERVER=0" in said


def start_stopped(env: dict[str, str]) -> Callable[[], None]:  # ends it
    "A forkserver that listens, stopped before it imports torch, which is not looked at."
    stream = connect_forkserver(env=env)
    pid = struct.unpack("3i", stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    os.kill(pid, signal.SIGSTOP)
    stream.close()

    def end() -> None:
        os.kill(pid, signal.SIGKILL)
        forkserver_path(env=env).unlink()
    return end


@pytest.fixture
def full(place):
    "Three forkservers with variables of their own."
    ends = [start_stopped({**os.environ, "PYTHONHASHSEED": str(seed)}) for seed in range(1, 4 - len(variants(place)))]
    yield variants(place)
    for end in ends: end()


def test_a_grid_leaves_few_forkservers_and_says_so(place, full, tmp_path):
    "Each value of PYTHONHASHSEED would be a forkserver; beyond three there is a plain interpreter, which sees its value as well."
    (script := tmp_path/"hash.py").write_text("print(f'@{hash(\"lepton\")}@')\n")
    done = subprocess.run([BENCH, "launch", str(script)], capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": "9"})
    assert json.loads(done.stdout.split("@")[1]) == run(sys.executable, script, PYTHONHASHSEED="9"), done
    assert "PYTHONHASHSEED can be set only for a new interpreter" in done.stderr and "without a forkserver" in done.stderr
    assert variants(place) == full and len(full) == 3
