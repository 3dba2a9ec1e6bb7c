"""No run begins on ranks that have not yet undone what the run before it has left, or that cannot."""
import os
import sys
from pathlib import Path

import pytest

import lepton_bench as lb


@pytest.fixture(scope="module")
def alloc():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "2")
        with lb.allocate(2, name="tidy") as found: yield found


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    "A library of that name with a run that is not finished, as rank 1 finds out when it looks, which takes a while."
    package = tmp_path/"site-packages"/"wandb"
    package.mkdir(parents=True)
    (package/"__init__.py").write_text('''
import os, threading
def __getattr__(name):
    if name != "run" or os.environ["RANK"] == "0": raise AttributeError(name)
    threading.Event().wait(1)
    return "not finished"
''')
    monkeypatch.syspath_prepend(str(package.parent))


def begin(folder):
    import torch.distributed as dist
    with open(f"{folder}/begun-{dist.get_rank()}", "a") as file: file.write(f"{os.getpid()}\n")
    return os.getpid()


def test_launches_that_are_there_at_once_begin_on_no_rank_before_all_are_clean(alloc, unfinished, tmp_path):
    def leave():
        import wandb  # noqa: F401
        return os.getpid()
    for _ in range(2):
        first, second, third = alloc.launch(leave), alloc.launch(begin, tmp_path), alloc.launch(begin, tmp_path)
        before, pids = first.results(60), second.results(60)
        assert not set(before) & set(pids) and third.results(60) == pids
        assert "wandb: a run that is not finished" in first.logs(1) and "fresh ranks" in first.logs(1)
        for rank in range(2): assert Path(tmp_path/f"begun-{rank}").read_text().split()[-2:] == [str(pids[rank])]*2, "no rank has begun it twice"
    assert sum(len(path.read_text().split()) for path in tmp_path.glob("begun-*")) == 8


@pytest.mark.parametrize("how", ["stop", "restart"])
def test_stop_and_restart_reach_ranks_that_are_not_clean_yet(alloc, unfinished, tmp_path, how):
    def leave():
        import wandb  # noqa: F401
        return os.getpid()
    first = alloc.launch(leave)
    before, waiting = first.results(60), alloc.launch(begin, tmp_path)
    if how == "stop": waiting.stop()
    else: alloc.restart()
    assert waiting.wait(60).status == ("stopped" if how == "stop" else "done")
    assert not set(before) & set(alloc.launch(os.getpid).results(60)), "rank 1 could not be cleaned"
    if how == "stop": assert not list(tmp_path.glob("begun-*"))


def test_a_rank_that_dies_while_it_undoes_is_replaced(alloc, tmp_path):
    def leave():
        class Deadly:
            def __del__(self):
                if os.environ["RANK"] == "1": os._exit(3)
        found = Deadly()
        found.itself = found  # only the collector ends it
        return os.getpid()
    first, second = alloc.launch(leave), alloc.launch(begin, tmp_path)
    before, after = first.results(60), second.results(60)
    assert second.wait(60).status == "done" and not set(before) & set(after)
    assert sum(len(path.read_text().split()) for path in tmp_path.glob("begun-*")) == 2


def test_what_finalizers_do_is_undone_too(alloc):
    def leave():
        class Restoring:
            def __del__(self): sys.setrecursionlimit(4321)
        found = Restoring()
        found.itself = found
    usual = alloc.launch(sys.getrecursionlimit).results(60)
    first, second = alloc.launch(leave), alloc.launch(sys.getrecursionlimit)
    first.wait(60)
    assert second.results(60) == usual != [4321]*2


def test_what_cells_leave_is_named_in_the_run_that_finds_it(unfinished, new_kernel):
    kernel = new_kernel(env={"LEPTON_BENCH_SIMULATED": "4"})
    kernel.run("import lepton_bench as lb, os\n%load_ext lepton_bench\nalloc = lb.allocate(2)")
    kernel.run(f"import sys; sys.path.insert(0, {sys.path[0]!r})")
    kernel.run("%%ranks\nimport wandb")
    said = kernel.run("run = alloc.launch(os.getpid); run.wait(60); print(run.logs(1))")
    assert "cells have left what this run sees: wandb: a run that is not finished" in said
    kernel.run("alloc.release()")
