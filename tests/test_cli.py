"""The command line, as commands."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_bench import until

import lepton_bench as lb

BENCH = str(Path(sys.executable).parent/"lepton-bench")


@pytest.fixture(autouse=True)
def simulated(monkeypatch): monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")


def bench(*args, **options):
    return subprocess.run([BENCH, *map(str, args)], capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, **options)


@pytest.fixture
def script(tmp_path):
    path = tmp_path/"train.py"
    path.write_text("""
import os, sys, time
import lepton_bench as lb
print("hello", sys.argv[1:], flush=True)
how = sys.argv[-1]
if how == "five": sys.exit(5)
if how == "raise": raise ValueError("bad batch")
if how == "die" and os.environ["RANK"] == "1": os.kill(os.getpid(), 9)
for step in range(10): lb.log(step=step, loss=1/(step + 1))
if how in ("slow", "die"): time.sleep(1000)
if how == "deaf":
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("deaf now", flush=True)
    while True: time.sleep(1)
""")
    return path


def test_launch_streams_and_exits_with_the_runs_code(script):
    done = bench("launch", "-n", 2, script, "--lr", "0.1", "--", "-x")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "[0-1] hello ['--lr', '0.1', '--', '-x']" in done.stdout
    assert lb.allocations() == [], "the devices are given back"


@pytest.mark.parametrize("how, code, words", [("five", 5, "exit code 5"), ("raise", 1, "bad batch"), ("die", 137, "signal 9")])
def test_exit_codes(script, how, code, words):
    done = bench("launch", "-n", 2, script, how)
    assert done.returncode == code and words in done.stderr, done


def test_a_module_and_a_listing(tmp_path):
    (tmp_path/"tool_under_test.py").write_text("import sys\nprint('as module', sys.argv[1:])")
    done = bench("launch", "-m", "tool_under_test", "--flag", cwd=tmp_path)
    assert done.returncode == 0 and "as module ['--flag']" in done.stdout, done
    listed = json.loads(bench("runs", "--json").stdout)
    assert listed[0]["name"] == "tool_under_test" and listed[0]["status"] == "done"
    assert "tool_under_test" in bench("runs").stdout


def test_detach_logs_plot_stop(script, tmp_path):
    done = bench("launch", "-n", 2, "--name", "background", "--detach", script, "slow")
    assert done.returncode == 0, done
    run = done.stdout.split()[1]
    until(lambda: "hello" in bench("logs", run).stdout and lb.get_run(run).metrics().num_rows == 20, 30, "output and metrics")
    (listed,) = json.loads(bench("allocations", "--json").stdout)
    assert listed["name"] == "background" and listed["run"] == run and "background" in bench("allocations").stdout
    assert bench("logs", run, "--rank", 1).stdout.startswith("hello")
    picture = tmp_path/"loss.png"
    assert bench("plot", run, "loss", "-o", picture).returncode == 0 and picture.read_bytes()[:4] == b"\x89PNG"
    assert bench("stop", run).stdout.strip().endswith("stopped")
    until(lambda: not lb.allocations(), 15, "the release of a detached allocation whose run has ended")


def test_logs_follow_until_the_end(tmp_path):
    (tmp_path/"short.py").write_text("import time\nfor i in range(5): print('line', i, flush=True); time.sleep(.2)")
    run = bench("launch", "--detach", tmp_path/"short.py").stdout.split()[1]
    followed = bench("logs", "-f", run).stdout.splitlines()
    assert [x for x in followed if x.startswith("line")] == [f"line {i}" for i in range(5)] and "done" in followed[-1]
    until(lambda: not lb.allocations(), 15)


@pytest.mark.parametrize("how, presses", [("slow", 1), ("deaf", 2)])
def test_control_c_stops_and_a_second_one_kills(script, how, presses, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")  # only the second interrupt can end a deaf run
    process = subprocess.Popen([BENCH, "launch", "-n", "2", str(script), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    until(lambda: "deaf now" in process.stdout.readline() if how == "deaf" else "hello" in process.stdout.readline(), 40, "output")
    process.send_signal(signal.SIGINT)
    if presses == 2:
        assert "Ctrl-C again kills" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "was stopped" in err, (out, err)
    assert lb.allocations() == []


def test_devices_and_release(script):
    with_two = json.loads(bench("devices", "--json").stdout)
    assert [d["kind"] for d in with_two] == ["simulated"] * 2 and "simulated" in bench("devices").stdout
    alloc = lb.allocate(2, name="kept")
    assert "kept" in bench("devices").stdout
    assert bench("release", "kept").stdout.strip() == "kept: released" and not alloc.alive
    lb.allocate(1, name="one"); lb.allocate(1, name="two")
    assert sorted(bench("release", "--all").stdout.split()) == sorted("one: released two: released".split())


def test_doctor_says_what_is_and_where_settings_come_from(tmp_path):
    (tmp_path/"settings.ini").write_text("[lepton_bench]\nidle_warning = 77\n")
    found = json.loads(bench("doctor", "--json", cwd=tmp_path).stdout)
    assert all(c["ok"] for c in found["checks"] if c["check"] != "runs survive"), found
    assert found["settings"]["idle_warning"] == {"value": "77.0", "origin": str(tmp_path/"settings.ini")}
    assert found["settings"]["simulated"]["origin"] == "LEPTON_BENCH_SIMULATED"
    assert "forkserver" in bench("doctor").stdout
    (tmp_path/"settings.ini").write_text("[lepton_bench]\nidle_warnings = 77\n")
    wrong = bench("devices", cwd=tmp_path)
    assert wrong.returncode == 2 and "no setting 'idle_warnings'" in wrong.stderr and "orphan_grace" in wrong.stderr


@pytest.mark.parametrize("args, words", [
    (("launch", "-n", "0", "SCRIPT"), "0"), (("launch", "-n", "99", "SCRIPT"), "sim-0"), (("launch", "trian.py"), "there is no script"),
    (("launch", "-m", "no_such_module_here"), "no_such_module_here"), (("launch",), "what is to be launched"), (("logs", "never-was"), "never-was"),
    (("release", "never-was"), "never-was"), (("release",), "which allocation"), (("stop", "never-was"), "never-was")])
def test_mistakes_are_one_message(script, args, words):
    done = bench(*(str(script) if a == "SCRIPT" else a for a in args))
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done
    assert lb.allocations() == []


def test_shutdown_ends_forkservers_only():
    with lb.allocate(1, name="goes-on") as alloc:
        assert "forkservers ended" in bench("shutdown").stdout
        assert alloc.launch(os.getpid).result(30) > 0
