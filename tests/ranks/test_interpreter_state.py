"""What a run does to the interpreter of warm ranks is not there for the next one; what cannot be undone means fresh ranks, and a line that says why."""
import os
import time

import pytest

import lepton_bench as lb


@pytest.fixture(scope="module")
def alloc():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "2")
        with lb.allocate(2, name="careless") as found: yield found


def look():
    "Everything that a run might have changed."
    import asyncio
    import builtins
    import codecs
    import copyreg
    import csv
    import decimal
    import faulthandler
    import gc
    import glob  # noqa: F401
    import json
    import locale
    import logging
    import multiprocessing
    import random
    import resource
    import signal
    import socket
    import ssl
    import sys
    import threading
    import time
    import tracemalloc
    import urllib.request
    import warnings

    import numpy as np
    import torch
    streams = [type(s).__name__ for s in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__)]
    hooks = [h.__module__ for h in (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook, warnings.showwarning)]
    loggers = {name: (len(x.handlers), x.level, x.propagate) for name in ("", "train", "torch") for x in [logging.getLogger(name)]}
    os.umask(mask := os.umask(0o22))
    python = dict(streams=streams, hooks=hooks, loggers=loggers, umask=mask,
                  disable=logging.root.manager.disable, argv=sys.argv[:1], filters=[str(f) for f in warnings.filters],
                  sleep=time.sleep is sys.modules["time"].__dict__["sleep"] and type(time.sleep).__name__,
                  print=type(print).__name__, open=type(open).__name__,
                  new=hasattr(builtins, "best"), recursion=sys.getrecursionlimit(),
                  gc=(gc.isenabled(), gc.get_threshold()), locale=locale.setlocale(locale.LC_ALL),
                  term=signal.getsignal(signal.SIGTERM), alarm=signal.getitimer(signal.ITIMER_REAL)[0],
                  files=resource.getrlimit(resource.RLIMIT_NOFILE),
                  trace=(sys.gettrace(), sys.getprofile()), meta=len(sys.meta_path), decimal=decimal.getcontext().prec,
                  numpy=(np.geterr(), np.get_printoptions()),
                  limits=(sys.getdlopenflags(), sys.getswitchinterval(), csv.field_size_limit(), socket.getdefaulttimeout()), zone=time.tzname,
                  faults=faulthandler.is_enabled(), traced=tracemalloc.is_tracing(), opener=type(urllib.request._opener).__name__,
                  coroutines=(*sys.get_asyncgen_hooks(), sys.get_coroutine_origin_tracking_depth()), errors=codecs.lookup_error("strict").__name__,
                  policy=type(asyncio.events._event_loop_policy).__name__, method=multiprocessing.get_start_method(allow_none=True),
                  modules=(type(sys.modules["csv"]).__name__, "never_installed" in sys.modules, "glob" in sys.modules), table=complex in copyreg.dispatch_table,
                  ssl=ssl._create_default_https_context.__name__, encoder=json.JSONEncoder.default.__module__, environ=type(os.environ).__name__,
                  cwd=os.getcwd(), environment=os.environ.get("LEFT_BEHIND"), choice=type(random.choice).__name__,
                  affinity=os.sched_getaffinity(0), capture=logging._warnings_showwarning)
    return python | dict(
        dtype=torch.get_default_dtype(), device=torch.get_default_device(), grad=torch.is_grad_enabled(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        threads=torch.get_num_threads(), matmul=torch.get_float32_matmul_precision(),
        benchmark=torch.backends.cudnn.benchmark, anomaly=torch.is_anomaly_enabled(),
        autocast=torch.is_autocast_enabled("cpu"), printing=str(vars(torch._tensor_str.PRINT_OPTS)), tiny=1e-310*1.5 == 0, save=torch.save.__module__,
        hooks_of_modules=len(torch.nn.modules.module._global_forward_hooks), repr=torch.Tensor.__repr__.__module__,
        groups=len(torch.distributed.distributed_c10d._world.pg_map),
        linear=torch.nn.Linear.reset_parameters.__module__, state="state_dict" in vars(torch.nn.Linear),
        tf32=(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.fp32_precision, torch.backends.fp32_precision),
        attention=(torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled(),
                   torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()),
        flags=(torch.backends.cudnn.deterministic, torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction, torch.is_warn_always_enabled(),
               torch._C._is_multithreading_enabled(), len(torch.serialization.get_safe_globals()), torch.backends.opt_einsum.strategy),
        optimizers=len(sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks),
        compiler=(torch._dynamo.config.suppress_errors, torch._dynamo.config.cache_size_limit, torch._inductor.config.max_autotune))


def careless():
    import asyncio
    import builtins
    import codecs
    import copyreg
    import csv
    import decimal
    import faulthandler
    import gc
    import io
    import json
    import locale
    import logging
    import multiprocessing
    import random
    import resource
    import signal
    import socket
    import ssl
    import sys
    import threading
    import time
    import tracemalloc
    import types
    import urllib.request
    import warnings

    import numpy as np
    import torch

    class Tee(io.StringIO): pass
    devnull = open(os.devnull, "w")
    sys.stdout = sys.__stdout__ = Tee()
    sys.stderr, sys.stdin = Tee(), Tee()
    sys.excepthook = sys.displayhook = sys.unraisablehook = threading.excepthook = warnings.showwarning = lambda *_: None
    sys.argv = ["train.py", "--lr", ".1"]
    logging.captureWarnings(True)
    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("train").addHandler(logging.StreamHandler())
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    builtins.print, builtins.open, builtins.best = (lambda *_: None), (lambda *_: 1/0), .9
    time.sleep, random.choice = (lambda _: None), (lambda _: 4)
    torch.save, torch.Tensor.__repr__ = (lambda *_: None), (lambda _: "a tensor")
    sys.meta_path.insert(0, type("Finder", (), {"find_spec": staticmethod(lambda *_: None)})())
    sys.setrecursionlimit(5000); gc.disable(); gc.set_threshold(7); os.umask(0o77); locale.setlocale(locale.LC_ALL, "C")
    signal.signal(signal.SIGTERM, lambda *_: None); signal.alarm(600)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sys.setprofile(lambda *_: None)
    decimal.getcontext().prec = 3; np.seterr(all="raise"); np.set_printoptions(precision=1)
    os.chdir("/"); os.environ["LEFT_BEHIND"] = "1"
    torch.set_default_dtype(torch.float64); torch.set_default_device("meta"); torch.set_grad_enabled(False); torch.use_deterministic_algorithms(True)
    torch.set_num_threads(3); torch.set_float32_matmul_precision("medium"); torch.backends.cudnn.benchmark = True; torch.autograd.set_detect_anomaly(True)
    torch.set_autocast_enabled("cpu", True); torch.set_printoptions(precision=1); torch.set_flush_denormal(True)
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    torch.distributed.new_group([0, 1], backend="gloo")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sys.setdlopenflags(os.RTLD_GLOBAL | os.RTLD_NOW); sys.setswitchinterval(.1); csv.field_size_limit(7); socket.setdefaulttimeout(.01)
    os.environ["TZ"] = "Asia/Tokyo"; time.tzset(); faulthandler.enable(devnull); tracemalloc.start()
    faulthandler.dump_traceback_later(1, exit=True, file=devnull)
    urllib.request.install_opener(urllib.request.build_opener()); sys.set_coroutine_origin_tracking_depth(3)
    codecs.register_error("strict", lambda error: ("", error.end)); asyncio.run(asyncio.sleep(0)); multiprocessing.set_start_method("spawn", force=True)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    sys.modules["csv"], sys.modules["never_installed"] = types.ModuleType("csv"), None
    del sys.modules["glob"]
    copyreg.pickle(complex, lambda x: (complex, (0,)))
    ssl._create_default_https_context, json.JSONEncoder.default = ssl._create_unverified_context, (lambda self, value: str(value))
    torch.nn.Linear.reset_parameters = torch.nn.Linear.state_dict = lambda self: None
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.fp32_precision = True, False, "tf32"
    for name in ("flash", "math", "mem_efficient", "cudnn"): getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)
    torch.backends.mha.set_fastpath_enabled(False); torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.set_warn_always(True); torch._C._set_multithreading_enabled(False); torch.serialization.add_safe_globals([Tee])
    torch.backends.opt_einsum.strategy = "optimal"; sys.modules["torch.optim.optimizer"].register_optimizer_step_pre_hook(lambda *_: None)
    torch._dynamo.config.suppress_errors, torch._dynamo.config.cache_size_limit, torch._inductor.config.max_autotune = True, 77, True
    vars(os)["environ"] = dict(os.environ)


def test_a_careless_run_leaves_nothing(alloc):
    pids, before = alloc.launch(os.getpid).results(60), alloc.launch(look).results(60)
    run = alloc.launch(careless)
    assert run.wait(60).status == "done" and "lepton:" not in run.logs(0), run.logs(0)
    after = alloc.launch(look)
    for rank, (was, now) in enumerate(zip(before, after.results(60))): assert {k: (was[k], now[k]) for k in was if now[k] != was[k]} == {}, rank
    run = alloc.launch(lambda: print("heard"))
    run.wait(60)
    assert run.logs(0).strip() == "heard"
    assert alloc.launch(os.getpid).results(60) == pids, "the same ranks"


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_stream_that_was_closed_is_opened_again(alloc, how):
    def close(how):
        import sys
        print("before")
        getattr(sys.stdout, how)(); getattr(sys.stderr, how)()
    pids = alloc.launch(os.getpid).results(60)
    run = alloc.launch(close, how)
    assert run.wait(60).status == "done" and run.logs(0).strip() == "before", run.logs(0)
    again = alloc.launch(lambda: print("heard"))
    assert again.wait(60).status == "done" and again.logs(0).strip() == "heard" and alloc.launch(os.getpid).results(60) == pids


def test_a_signal_and_a_timer_of_the_run_before_end_nothing(alloc, tmp_path):
    "SIGUSR2 is how `run.stacks()` asks; a timer of faulthandler would end the process."
    def leave():
        import faulthandler
        import signal
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        faulthandler.dump_traceback_later(.3, exit=True)

    def hold():
        import threading
        until = time.monotonic() + 1
        while time.monotonic() < until or not (tmp_path/"asked").exists(): threading.Event().wait(.02)
    alloc.launch(leave).results(60)
    run = alloc.launch(hold)
    stacks = run.stacks()
    while "hold" not in str(stacks): stacks = run.stacks()
    (tmp_path/"asked").touch()
    assert run.wait(60).status == "done"


def test_what_can_be_set_only_once_means_fresh_ranks(alloc):
    def leave():
        import torch
        torch.set_num_interop_threads(3)
    pids = alloc.launch(os.getpid).results(60)
    run, after = alloc.launch(leave), alloc.launch(os.getpid)
    assert not set(after.results(60)) & set(pids) and "threads between operations cannot be put back" in run.logs(0)


def test_random_numbers_do_not_go_on(alloc):
    def draw(seed):
        import random

        import numpy
        import torch
        if seed: random.seed(seed); numpy.random.seed(seed); torch.manual_seed(seed)
        return random.random(), numpy.random.rand(), torch.rand(1).item()
    chosen = alloc.launch(draw, 7).results(60)
    assert chosen[0] == chosen[1] == alloc.launch(draw, 7).result(60)
    free = alloc.launch(draw, 0).results(60)
    assert all(a != b for a, b in zip(*free)), "each rank its own"


def test_functions_for_the_end_are_called_at_the_end_of_the_run(alloc):
    def register():
        import atexit
        atexit.register(print, "written at the end")
        print("in the run")
    for _ in range(2):
        run = alloc.launch(register)
        assert run.wait(60).status == "done" and run.logs(0).splitlines() == ["in the run", "written at the end"]


def _thread():
    import threading
    threading.Thread(target=lambda: threading.Event().wait(), name="watcher", daemon=True).start()


def _process():
    import subprocess
    subprocess.Popen(["sleep", "600"])


def _inference():
    import sys

    import torch
    sys.kept = torch.inference_mode()
    sys.kept.__enter__()


@pytest.mark.parametrize("leave, words", [(_thread, "thread 'watcher' still runs"), (_process, "(sleep 600) still runs"), (_inference, "inference mode")])
def test_what_cannot_be_undone_means_fresh_ranks(alloc, leave, words):
    pids = alloc.launch(os.getpid).results(60)
    run = alloc.launch(leave)
    assert run.wait(60).status == "done"
    said = [line for line in run.logs(0).splitlines() if line.startswith("lepton:")]
    assert len(said) == 1 and words in said[0] and "fresh ranks" in said[0], run.logs(0)
    assert not set(alloc.launch(os.getpid).results(60)) & set(pids)


def test_what_is_just_ending_and_what_libraries_keep_is_no_reason(alloc):
    def work():
        import subprocess
        import threading
        from concurrent.futures import ThreadPoolExecutor

        import torch
        threading.Thread(target=lambda: time.sleep(.02)).start()
        subprocess.Popen(["true"])
        pool = ThreadPoolExecutor(2)
        list(pool.map(abs, [1, 2]))
        return list(torch.utils.data.DataLoader([1, 2], num_workers=1))[0].item()
    pids = alloc.launch(os.getpid).results(60)
    run = alloc.launch(work)
    assert run.result(60) == 1 and "lepton:" not in run.logs(0), run.logs(0)
    assert alloc.launch(os.getpid).results(60) == pids


def test_what_a_library_does_when_it_is_imported_stays_with_it(alloc, tmp_path, monkeypatch):
    "A package that is installed, brings an import hook and a handler, and is imported by one run, works in the next."
    package = tmp_path/"site-packages"/"hooked"
    package.mkdir(parents=True)
    (package/"__init__.py").write_text("""
import logging, sys, types
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        import importlib.machinery
        return importlib.machinery.ModuleSpec(name, Loader) if name == "hooked_moves" else None
class Loader:
    create_module = staticmethod(lambda spec: None)
    @staticmethod
    def exec_module(module): module.answer = 42
sys.meta_path.append(Finder)
logging.getLogger("hooked").addHandler(logging.StreamHandler())
""")
    monkeypatch.syspath_prepend(str(package.parent))

    def first():
        import hooked  # noqa: F401

    def second():
        import logging

        import hooked  # noqa: F401
        import hooked_moves
        return hooked_moves.answer, len(logging.getLogger("hooked").handlers)
    pids = alloc.launch(os.getpid).results(60)
    alloc.launch(first).results(60)
    assert alloc.launch(second).result(60) == (42, 1) and alloc.launch(os.getpid).results(60) == pids


def test_cells_keep_what_they_set_and_a_run_starts_clean(new_kernel):
    kernel = new_kernel(env={"LEPTON_BENCH_SIMULATED": "3"})  # two are taken by the allocation above
    kernel.run("import lepton_bench as lb\n%load_ext lepton_bench\nalloc = lb.allocate(1)")
    kernel.run("def dtype():\n    import torch\n    return str(torch.get_default_dtype())")
    kernel.run("%%ranks\nimport torch, warnings; torch.set_default_dtype(torch.float64); warnings.simplefilter('error'); x = 3")
    assert "float64" in kernel.run("%%ranks\ntorch.get_default_dtype()"), "as in a notebook"
    assert kernel.run("print(alloc.launch(dtype).result(60))").strip().endswith("float32")
    assert "float32 3" in kernel.run("%%ranks\nprint(torch.get_default_dtype(), x)"), "a cell after a run starts clean, its variables are there"
    kernel.run("alloc.release()")
