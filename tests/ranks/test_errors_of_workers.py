"""A rank that waits for a worker which has printed an error and delivers nothing is found soon, with that error as the reason."""
import threading
import time

import pytest
from support.waiting import until

import lepton_bench as lb


class Unsendable:
    "Data whose batches cannot leave a worker."
    def __len__(self): return 2
    def __getitem__(self, i): return threading.Lock()


def load():
    from torch.utils.data import DataLoader
    return list(DataLoader(Unsendable(), num_workers=1, collate_fn=lambda batch: batch))


def wait_for_a_thread():
    def work(): raise ValueError("in a thread")
    threading.Thread(target=work).start()
    threading.Event().wait()


def wait_for_a_child():
    import multiprocessing
    queue = multiprocessing.Queue()
    multiprocessing.Process(target=lambda: queue.put(1/0), daemon=True).start()
    queue.get()


def compute():
    print("Traceback (most recent call last):\n  File 'x', line 1, in x\nValueError: caught and printed\nand the work goes on")
    threading.Event().wait()


@pytest.fixture(scope="module")
def alloc():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "1")
        with lb.allocate(1) as alloc: yield alloc


@pytest.mark.parametrize("function, error", [(load, "TypeError: cannot pickle '_thread.lock' object"), (wait_for_a_thread, "ValueError: in a thread"),
                                             (wait_for_a_child, "ZeroDivisionError: division by zero")])
def test_the_error_of_a_worker_is_the_reason(alloc, function, error):
    run = alloc.options(stall_after=60., output=False).launch(function)
    until(lambda: run.status == "stalled", "stalled", 50)  # long before its time
    record = run.record
    assert error in record.reason and error in repr(run) and error in record.extra["stall"]["error"]
    assert run.stop(60).record.reason == "stopped"


def test_output_after_an_error_is_a_sign_of_life(alloc):
    run = alloc.options(stall_after=4., output=False).launch(compute)
    until(lambda: run.status == "stalled", "stalled", 20)
    stall = run.record.extra["stall"]
    assert not run.record.reason and not stall["error"] and time.time() - stall["since"] >= 4
    run.stop(60)
