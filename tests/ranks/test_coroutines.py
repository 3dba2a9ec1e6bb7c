"""`async def` runs to its end wherever a function is launched, generators are refused, and `%%ranks` cells may have `await`."""
from collections.abc import Iterator

import pytest
from support.live_kernel import Kernel

DEFINITIONS = """
import asyncio, contextlib, functools, time, types
import lepton_bench as lb
async def train(x=1):
    lb.log(step=x, loss=x)
    await asyncio.sleep(0)
    return x + 1
class Trainer:
    async def __call__(self, x): return await train(x)
    async def fit(self, x): return await train(x)
    def batches(self): yield 1
def logged(f):
    def inner(*args, **kwargs): return f(*args, **kwargs)
    return inner
def lines():
    print("a line")
    yield 1
async def stream(): yield 1
alloc = lb.allocate(1)
launch = alloc.options(output=False).launch
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel(env={"LEPTON_BENCH_SIMULATED": "1"})
    try:
        kernel.run(DEFINITIONS)
        yield kernel
        kernel.run("alloc.release()")
    finally: kernel.close()


def test_every_form_of_a_coroutine_function_runs(kernel):
    kernel.run("""
for f in (train, functools.partial(train, 1), Trainer(), Trainer().fit, logged(train), lambda x: train(x)):
    run = launch(f) if isinstance(f, functools.partial) else launch(f, 1)
    assert run.result(60) == 2, f
assert launch(train).metrics().num_rows in (0, 1)
async def fails(): await asyncio.sleep(0); raise ValueError("of the coroutine")
run = launch(fails).wait(60)
assert run.status == "failed" and "asyncio/" not in run.record.error["traceback"] and "of the coroutine" in run.record.error["traceback"], run.record.error
async def leaves(): raise SystemExit(0)
assert launch(leaves).wait(60).status == "done"
""")


def test_a_generator_is_refused_with_what_to_do(kernel):
    kernel.run("""
for f in (lines, stream, functools.partial(lines), Trainer().batches, functools.partial(functools.partial(stream))):
    for go in (launch, lb.widgets.Launcher):
        try: go(f)
        except lb.BenchError as e: assert "Launch a function that goes through it" in str(e)
        else: raise AssertionError(f)
for f in (logged(lines), functools.wraps(lines)(logged(lines)), logged(logged(stream))):
    run = launch(f).wait(60)
    assert run.status == "failed" and "goes through it" in run.record.error["message"], run
run = launch(lambda: (x for x in [1])).wait(60)
assert run.status == "done", "it has run; only its value cannot travel"
""")


@pytest.mark.parametrize("wait", ["time.sleep(.01)", "await asyncio.sleep(.01)"], ids=["computing", "waiting"])
def test_a_stop_ends_a_coroutine_as_any_function(kernel, wait):
    "At once, not after the grace time, which is a kill without `finally`; the next launch works."
    kernel.run(f"""
async def forever():
    try:
        while True:
            lb.log(step=1, a=1)
            {wait}
    finally: print("its finally has run")
run = launch(forever)
while not run.metrics().num_rows: time.sleep(.01)
run.stop(60)
assert run.status == "stopped" and "its finally has run" in run.logs(), run.logs()
assert launch(train, 1).result(60) == 2
""")


def test_a_coroutine_is_resumed(kernel):
    kernel.run("""
async def counted():
    state = lb.load_checkpoint()
    if state: return state["n"]
    lb.save_checkpoint({"n": 5}, 1)
    raise RuntimeError
run = launch(counted).wait(60)
assert run.status == "failed" and run.resume(alloc).result(60) == 5
""")


def test_cells_on_ranks_may_await(kernel):
    kernel.run("%%ranks\nimport asyncio\nlock = asyncio.Lock()\nasync def f(): return 7\nasync with lock: pass\nx = await f()")
    assert "7" in kernel.run("%%ranks\nawait asyncio.sleep(0)\nasync with lock: y = 1\nassert y\nawait f()")
    assert "'return' outside function" in kernel.run("%%ranks\nreturn 1", check=False)
    said = kernel.run("%%ranks\nawait asyncio.sleep(0)\nraise ValueError('after it')", check=False)
    assert "ValueError: after it" in said and "run_until_complete" not in said
