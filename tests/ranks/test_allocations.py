"""The verbs, on real ranks: launch, results, errors, output, repeated and interrupted use."""
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lepton_bench as lb
from lepton_bench.errors import AllocationError, AllocationTimeout, BenchError, DeviceError, LaunchError, RunError, RunStopped
from lepton_bench.processes.identity import ProcessId, descendants
from lepton_bench.api.runs import get_run
from support.waiting import until


@pytest.fixture(scope="module")
def alloc() -> Iterator:
    found = lb.allocate(2, name="tests")
    yield found
    found.release()


@pytest.fixture(autouse=True)
def _quiet(alloc) -> Iterator[None]:
    "Every test begins with an idle allocation."
    until(lambda: alloc.info["state"] == "idle", what="idle")
    yield


# --- functions ------------------------------------------------------------------------------------

def test_closures_classes_arguments_and_results_travel(alloc):
    import torch
    scale = 3

    class Net(torch.nn.Module):
        def __init__(self): super().__init__(); self.layer = torch.nn.Linear(2, 1)

    def train(x, *, add):
        import torch.distributed as dist
        total = torch.ones(1) * dist.get_rank()
        dist.all_reduce(total)
        return {"rank": dist.get_rank(), "sum": total, "x": x * scale + add, "net": Net().layer.weight.shape, "env": os.environ["RANK"]}
    results = alloc.launch(train, torch.arange(3), add=1).results(60)
    assert [r["rank"] for r in results] == [0, 1] and [r["env"] for r in results] == ["0", "1"]
    assert all(r["sum"].item() == 1 and r["x"].tolist() == [1, 4, 7] and r["net"] == (1, 2) for r in results)


def test_the_group_is_kept_warm_and_a_launch_in_line_says_so(alloc, capsys):
    def where(): time.sleep(.2); return os.getpid()
    first, second = alloc.launch(where), alloc.launch(where)
    assert first.id in capsys.readouterr().out
    assert first.results(30) == second.results(30)


def test_each_rank_has_a_random_state_of_its_own(alloc):
    def draw():
        import random

        import numpy as np
        import torch
        return random.random(), float(np.random.rand()), float(torch.rand(1))
    first = alloc.launch(draw).results(30)
    alloc.restart()
    second = alloc.launch(draw).results(30)
    for values in zip(*first, *second): assert len(set(values)) == 1 or len(values) == len(set(values))
    assert len({v for r in first + second for v in r}) == 12


def test_threads_match_the_slots_and_a_parallel_operation_works(alloc):
    def work():
        import numpy as np
        import torch
        torch.ones(2000, 2000) @ torch.ones(2000, 2000)
        np.ones((2000, 2000)) @ np.ones((2000, 2000))
        return torch.get_num_threads()
    assert set(alloc.launch(work).results(60)) == {1}


def test_environment_folder_and_path_are_the_callers_at_each_launch(alloc, tmp_path, monkeypatch):
    def look(): return os.environ.get("FLAVOUR"), os.getcwd(), os.environ["WORLD_SIZE"]
    monkeypatch.setenv("FLAVOUR", "vanilla")
    assert alloc.launch(look).result(30)[0] == "vanilla"
    monkeypatch.delenv("FLAVOUR"); monkeypatch.chdir(tmp_path)
    assert alloc.launch(look).result(30) == (None, str(tmp_path), "2")


def test_a_changed_module_means_fresh_ranks(alloc, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path/"recipe_under_test.py").write_text("VALUE = 1\n")
    def use():
        import recipe_under_test
        return recipe_under_test.VALUE, os.getpid()
    one, pid = alloc.launch(use).result(30)
    assert (alloc.launch(use).result(30)) == (1, pid), "an unchanged module keeps the ranks warm"
    (tmp_path/"recipe_under_test.py").write_text("VALUE = 22\n")
    importlib.invalidate_caches()
    two, other = alloc.launch(use).result(30)
    assert (one, two) == (1, 22) and other != pid


def test_a_large_global_is_named_and_written_once(alloc):
    table = bytes(11_000_000)
    def size(): return len(table)
    with pytest.warns(UserWarning, match=r"table \(11 MB\)"): run = alloc.launch(size)
    assert run.results(30) == [len(table)] * 2
    assert (run.directory/"source"/"payload.pkl").stat().st_size > 11_000_000


def test_what_cannot_be_pickled_is_named(alloc):
    lock = threading.Lock()
    def use(): return lock
    with pytest.raises(LaunchError, match="variable 'lock', a lock"): alloc.launch(use)
    def give(): return threading.Lock()
    run = alloc.launch(give).wait(30)
    assert run.status == "done"
    with pytest.raises(RunError, match="cannot be pickled"): run.result()


# --- failures -------------------------------------------------------------------------------------

@pytest.mark.alone
def test_the_first_ranks_error_is_shown_with_its_source(alloc):
    def train():
        import torch
        import torch.distributed as dist
        if dist.get_rank() == 1:
            print("about to fail")
            raise ValueError("bad batch 17")  # the line that the person wrote
        dist.all_reduce(torch.ones(1))
    run = alloc.launch(train)
    with pytest.raises(RunError, match="bad batch 17") as caught: run.result(60)  # a collective's time-out is half an hour
    assert caught.value.rank == 1 and "the line that the person wrote" in caught.value.traceback and "about to fail" in str(caught.value)
    assert alloc.launch(lambda: "fresh").result(30) == "fresh"


@pytest.mark.parametrize("how, words", [("os.kill(os.getpid(), 9)", "killed by signal 9"), ("os._exit(3)", "exited with code 3"), ("os.abort()", "SIGABRT")])
def test_a_rank_that_dies_ends_the_run(alloc, how, words):
    def train():
        import torch
        import torch.distributed as dist
        if dist.get_rank() == 0: exec(how, {"os": os})
        dist.all_reduce(torch.ones(1))
    run = alloc.launch(train).wait(30)
    assert run.status == "failed" and words in run.record.reason and run.record.error["rank"] == 0


def test_children_of_a_killed_rank_are_gone_too(alloc):
    def train():
        import torch
        import torch.distributed as dist
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        loader = iter(torch.utils.data.DataLoader(list(range(100)), num_workers=1))
        next(loader)
        print("CHILDREN", child.pid, *(w.pid for w in loader._workers), flush=True)
        dist.barrier()
        if dist.get_rank() == 1: os.kill(os.getpid(), 9)
        time.sleep(60)
    run = alloc.launch(train).wait(60)
    pids = [int(p) for line in run.logs().splitlines() if "CHILDREN" in line for p in line.split("CHILDREN")[1].split()]
    assert len(pids) == 4 and run.status == "failed"
    until(lambda: not any(ProcessId.of(p).start_time != -1 and ProcessId.of(p).alive() for p in pids), "the end of all children", 2)


def test_a_destroyed_group_means_fresh_ranks(alloc):
    def destroy():
        import torch.distributed as dist
        dist.destroy_process_group()
        return os.getpid()
    def reduce():
        import torch
        import torch.distributed as dist
        t = torch.ones(1); dist.all_reduce(t)
        return t.item(), os.getpid()
    before = alloc.launch(destroy).result(30)
    value, after = alloc.launch(reduce).result(30)
    assert value == 2 and before != after


def test_own_process_group(alloc):
    def bring_up():
        import torch.distributed as dist
        assert not dist.is_initialized()
        dist.init_process_group("gloo")
        return dist.get_world_size()
    assert alloc.options(process_group=False).launch(bring_up).results(30) == [2, 2]
    run = alloc.launch(lambda: __import__("torch").distributed.init_process_group("gloo")).wait(30)
    assert "options(process_group=False)" in run.record.error["traceback"]


def test_input_fails_at_once_with_a_hint(alloc):
    run = alloc.launch(lambda: input("name? ")).wait(30)
    assert run.status == "failed" and "no terminal" in run.record.error["message"]


def test_restarts_continue_from_the_checkpoint(alloc):
    def train():
        import torch
        import torch.distributed as dist
        state = lb.load_checkpoint() or {"step": 0, "w": torch.zeros(2)}
        for step in range(state["step"], 6):
            lb.log(step=step, loss=float(step))
            dist.barrier()
            lb.save_checkpoint({"step": step + 1, "w": state["w"] + step}, step + 1)
            if step == 3 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and dist.get_rank() == 1: os.kill(os.getpid(), 9)
        return state["step"]
    run = alloc.options(max_restarts=1, name="phoenix").launch(train)
    assert run.result(60) >= 3
    r = run.record
    assert r.attempt == 1 and len(r.restarts) == 1 and r.name == "phoenix" and r.checkpoint == 6
    steps = sorted(p["step"] for p in run.metrics().to_pylist() if p["rank"] == 0)
    assert steps == list(range(6))


# --- metrics and output ---------------------------------------------------------------------------

def test_metrics_are_complete_after_wait(alloc):
    def train():
        for i in range(5000): lb.log(step=i, loss=i * .5)
    table = alloc.launch(train).wait(30).metrics()
    assert table.num_rows == 10_000 and table.column_names == ["step", "time", "rank", "name", "value"]
    assert table["value"].to_pylist().count(2499.5) == 2


def test_no_point_is_lost_when_a_rank_is_killed_in_the_next_instruction(alloc):
    def train():
        for i in range(777): lb.log(step=i, loss=float(i))
        os.kill(os.getpid(), 9)
    rows = alloc.launch(train).wait(30).metrics().to_pylist()
    by_rank = {r: [p["step"] for p in rows if p["rank"] == r] for r in (0, 1)}
    assert max(len(v) for v in by_rank.values()) == 777 and all(v == list(range(len(v))) for v in by_rank.values())


def test_output_is_folded_and_kept_per_rank(alloc):
    def talk():
        import sys

        import torch.distributed as dist
        print("epoch 3")
        print(f"I am {dist.get_rank()}")
        for i in range(100): sys.stderr.write(f"\r{i}%")
        os.system("echo from a shell")
    run = alloc.launch(talk).wait(30)
    lines = run.logs().splitlines()
    assert "[0-1] epoch 3" in lines and "[0] I am 0" in lines and any(x.endswith("from a shell") for x in lines)
    assert "I am 1" in run.logs(rank=1) and "I am 0" not in run.logs(rank=1) and len(lines) < 10
    with pytest.raises(BenchError, match="ranks 0 to 1"): run.logs(rank=2)


def test_outside_a_run_the_verbs_do_nothing(capsys):
    lb.log(loss=1.)
    lb.progress(1, 2)
    assert lb.load_checkpoint() is None


# --- stopping, repeating, interrupting ------------------------------------------------------------

def endless():
    while True:
        lb.log(loss=1.)
        time.sleep(.01)


def test_stop_ends_a_run_and_the_next_one_goes(alloc):
    run, following = alloc.launch(endless), alloc.launch(lambda: 7)
    until(lambda: run.status == "running")
    until(lambda: "endless" in run.stacks(), what="a stack in the function")
    assert run.stop().status == "stopped" and following.result(30) == 7
    with pytest.raises(RunStopped): run.result()
    assert run.stop().status == "stopped", "stopping twice does no harm"


def test_stop_kills_what_does_not_listen(alloc):
    def deaf():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True: time.sleep(1)
    run = alloc.launch(deaf)
    until(lambda: run.status == "running")
    assert run.stop(timeout=20).status == "stopped"


def test_a_run_in_line_can_be_taken_out(alloc):
    run, behind = alloc.launch(endless), alloc.launch(endless)
    assert behind.stop().status == "stopped"
    run.stop()


def test_interrupting_a_wait_ends_only_the_waiting(alloc, capsys):
    run = alloc.launch(endless)
    until(lambda: run.status == "running")
    threading.Timer(.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt, match=r"run.stop\(\) stops it"): run.wait()
    assert run.status == "running"
    with pytest.raises(TimeoutError, match="goes on"): run.wait(timeout=.1)
    run.stop()


def test_the_same_request_again_is_the_same_allocation(alloc):
    assert lb.allocate(2, name="tests") is alloc


def test_nobody_waits_on_himself(alloc):
    with pytest.raises(DeviceError, match=r"attach\('tests'\)"): lb.allocate(2, name="other")
    assert [a["name"] for a in lb.allocations()] == ["tests"]


def test_a_name_in_use(alloc):
    code = "import lepton_bench as lb\ntry: lb.allocate(1, name='tests')\nexcept lb.BenchError as e: print(type(e).__name__, e)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    assert out.startswith("AllocationError the name 'tests' is in use") and "attach" in out


def test_waiting_has_an_end_and_says_who_holds_what(alloc):
    run = alloc.launch(endless)
    until(lambda: alloc.info["state"] == "running")
    with pytest.raises(AllocationTimeout, match="tests"): lb.allocate(1, name="late", timeout=.5)
    run.stop()


def test_interrupting_allocate_leaves_nothing(alloc):
    run = alloc.launch(endless)
    until(lambda: alloc.info["state"] == "running")
    threading.Timer(.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt): lb.allocate(1, name="impatient")
    assert [a["name"] for a in lb.allocations()] == ["tests"]
    run.stop()


@pytest.mark.parametrize("count, words", [(0, "0"), (-1, "-1"), (1000, "cpu")])
def test_impossible_requests_fail_at_once(count, words):
    with pytest.raises(DeviceError, match=words): lb.allocate(count, name="impossible", timeout=3600)
    assert "impossible" not in [a["name"] for a in lb.allocations()]


def test_unknown_things_are_named(alloc):
    with pytest.raises(LaunchError, match="max_restarts"): alloc.options(restarts=3)
    with pytest.raises(LaunchError, match="there is no script"): alloc.launch("trian.py")
    with pytest.raises(BenchError, match="Installed engines: .*local"): lb.allocate(1, engine="cloud")
    with pytest.raises(AllocationError, match="never-was"): lb.attach("never-was")
    with pytest.raises(BenchError): get_run("never-was")


# --- scripts --------------------------------------------------------------------------------------

SCRIPT = """
import atexit, os, sys, torch, torch.distributed as dist
assert __name__ == "__main__" and sys.modules["__main__"].__dict__ is globals()
from beside import NAME
def main():
    assert not dist.is_initialized()
    dist.init_process_group("gloo")
    t = torch.ones(1); dist.all_reduce(t)
    print(NAME, sys.argv[1:], os.path.basename(__file__), int(t), os.environ["TORCHELASTIC_RUN_ID"] != "")
    dist.destroy_process_group()
    atexit.register(print, "finalised")
    if "--fail" in sys.argv: sys.exit(5)
main()
"""


def test_a_script_runs_as_under_torchrun(alloc, tmp_path):
    (tmp_path/"train.py").write_text(SCRIPT); (tmp_path/"beside.py").write_text("NAME = 'beside'")
    run = alloc.launch(str(tmp_path/"train.py"), args=["--lr", "0.1"]).wait(60)
    assert run.status == "done", run
    assert run.logs().splitlines() == ["[0-1] beside ['--lr', '0.1'] train.py 2 True", "[0-1] finalised"]
    failed = alloc.launch(str(tmp_path/"train.py"), args=["--fail"]).wait(60)
    assert failed.status == "failed" and failed.record.error["code"] == 5 and "Traceback" not in failed.logs()


def test_a_module_runs_like_python_m(alloc, tmp_path, monkeypatch):
    package = tmp_path/"pack_under_test"
    package.mkdir(); (package/"__init__.py").write_text(""); (package/"other.py").write_text("X = 5")
    (package/"__main__.py").write_text("import sys\nfrom .other import X\nprint(X, sys.argv[1:], __package__, __name__)")
    monkeypatch.chdir(tmp_path); monkeypatch.syspath_prepend(str(tmp_path))
    assert alloc.launch("pack_under_test", args=["a"]).wait(60).logs() == "[0-1] 5 ['a'] pack_under_test __main__"


def test_scripts_see_what_torchrun_sets(alloc, tmp_path):
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK ROLE_WORLD_SIZE ROLE_NAME MASTER_ADDR MASTER_PORT".split()
    script = tmp_path/"show.py"
    script.write_text("import json, os, sys\nopen(sys.argv[1] + os.environ['RANK'], 'w').write(json.dumps(dict(os.environ)))")
    import json
    assert alloc.launch(str(script), args=[str(tmp_path/"ours")]).wait(60).status == "done"
    torchrun = Path(sys.executable).parent/"torchrun"
    subprocess.run([str(torchrun), "--nproc-per-node", "2", str(script), str(tmp_path/"theirs")], check=True, capture_output=True, timeout=120)
    for rank in "01":
        ours, theirs = (json.loads((tmp_path/f"{who}{rank}").read_text()) for who in ("ours", "theirs"))
        set_by_torchrun = {k for k in theirs if k.startswith("TORCHELASTIC") or k in names or k == "OMP_NUM_THREADS" or k.startswith("TORCH_NCCL")}
        assert set_by_torchrun <= ours.keys()
        assert all(ours[k] == theirs[k] for k in names if k not in ("MASTER_ADDR", "MASTER_PORT"))


# --- coming back ----------------------------------------------------------------------------------

def test_runs_are_listed_and_found_again(alloc):
    run = alloc.options(name="findable").launch(lambda: 1).wait(30)
    assert lb.runs()[0].id == run.id and get_run("findable").id == run.id
    assert get_run(run.id).result() == 1 and "findable" in repr(lb.runs()) and "<table" in lb.runs()._repr_html_()


def test_another_process_attaches_and_goes_on(alloc):
    run = alloc.launch(endless)
    code = f"""import lepton_bench as lb
a = lb.attach('tests')
print(a)
print(lb.get_run('{run.id}').stop().status)
print(a.launch(len, [1, 2]).result(30))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[1:] == ["stopped", "2"], done
    assert lb.attach("tests").launch(len, "abc").result(30) == 3


def test_the_whole_tree_of_processes_is_known(alloc):
    family = descendants(alloc.supervisor.pid)
    ranks = {int(r["pid"]) for r in alloc.info["ranks"].values()}
    assert len(ranks) == 2 and ranks < set(family) and len(family) == 3, "a private forkserver and two ranks"
