"""The command line, as commands."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb

BENCH = str(Path(sys.executable).parent/"lepton-bench")


pytestmark = pytest.mark.simulated(2)


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


@pytest.mark.parametrize("how, code, words", [("five", 5, "exited with code 5"), ("raise", 1, "bad batch"), ("die", 137, "signal 9")])
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
    until(lambda: "hello" in bench("logs", run).stdout and lb.get_run(run).metrics().num_rows == 20, "output and metrics", 30)
    (listed,) = json.loads(bench("allocations", "--json").stdout)
    assert listed["name"] == "background" and listed["run"] == run and "background" in bench("allocations").stdout
    assert bench("logs", run, "--rank", 1).stdout.startswith("hello")
    picture = tmp_path/"loss.png"
    assert bench("plot", run, "loss", "-o", picture).returncode == 0 and picture.read_bytes()[:4] == b"\x89PNG"
    assert bench("stop", run).stdout.strip().endswith("stopped")
    until(lambda: not lb.allocations(), "the release of a detached allocation whose run has ended", 15)


def test_logs_follow_until_the_end(tmp_path):
    (tmp_path/"short.py").write_text("import time\nfor i in range(5): print('line', i, flush=True); time.sleep(.2)")
    run = bench("launch", "--detach", tmp_path/"short.py").stdout.split()[1]
    followed = bench("logs", "-f", run).stdout.splitlines()
    assert [x for x in followed if x.startswith("line")] == [f"line {i}" for i in range(5)] and "done" in followed[-1]
    until(lambda: not lb.allocations(), timeout=15)


@pytest.mark.parametrize("how, presses", [("slow", 1), ("deaf", 2)])
def test_control_c_stops_and_a_second_one_kills(script, how, presses, monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")  # only the second interrupt can end a deaf run
    process = subprocess.Popen([BENCH, "launch", "-n", "2", str(script), how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    until(lambda: "deaf now" in process.stdout.readline() if how == "deaf" else "hello" in process.stdout.readline(), "output", 40)
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
        assert "forkserver ended" in bench("shutdown").stdout.replace("forkservers", "forkserver")
        assert alloc.launch(os.getpid).result(30) > 0


def test_waiting_in_a_log_says_for_whom_once_and_control_c_ends_it(script):
    with lb.allocate(2, name="busy") as alloc:
        run = alloc.launch(time.sleep, 1000)
        until(lambda: run.status == "running")
        waits = bench("launch", "-n", 2, "--timeout", 2.5, script)
        assert waits.returncode == 2 and "busy" in waits.stderr and "no 2 devices within 2.5 s" in waits.stderr
        assert waits.stdout.count("waiting for 2") == 1, f"a log is not told the same again and again:\n{waits.stdout}"
        process = subprocess.Popen([BENCH, "launch", "-n", "1", "--name", "given-up", str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "waiting for 1" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130 and "Traceback" not in err
        until(lambda: [a["name"] for a in lb.allocations()] == ["busy"], "the end of the request", 5)
        run.stop()


def test_a_killed_launch_goes_on_is_listed_and_gives_back(tmp_path):
    (tmp_path/"short.py").write_text("import os, time\nprint('begun', flush=True)\nwhile not os.path.exists('go'): time.sleep(.05)\nprint('finished')")
    process = subprocess.Popen([BENCH, "launch", "-n", "2", "--name", "headless", "short.py"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    until(lambda: "begun" in process.stdout.readline(), "output", 40)
    process.kill()
    process.communicate()
    (listed,) = json.loads(bench("allocations", "--json").stdout)
    assert listed["name"] == "headless"
    (tmp_path/"go").touch()
    assert "[0-1] finished" in bench("logs", "-f", listed["run"]).stdout
    until(lambda: not lb.allocations(), "the release", 10)


def test_a_batch_systems_sigterm_stops_the_run(script):
    process = subprocess.Popen([BENCH, "launch", "-n", "2", str(script), "slow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: "hello" in process.stdout.readline(), "output", 40)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "was stopped" in err and lb.allocations() == []


def test_on_a_terminal_a_progress_bar_stays_on_its_line(tmp_path):
    import pty
    (tmp_path/"bar.py").write_text("import time, tqdm\nfor i in tqdm.tqdm(range(20), mininterval=0): time.sleep(.05)\nprint('all done')")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([BENCH, "launch", "-n", "2", str(tmp_path/"bar.py")], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""
    while True:
        try: seen += (data := os.read(ours, 65536))
        except OSError: break  # what a terminal says when nobody writes to it any more
        if not data: break
    os.close(ours)
    assert process.wait(30) == 0
    text = seen.decode()
    assert "[0-1] all done" in text and text.count("\r\x1b[K") > 3, text
    assert sum("it/s" in line.split("\r")[-1] for line in text.split("\n")) <= 2, f"what is left to read: a bar per rank\n{text}"


def test_plain_mistakes_about_runs_are_one_message(tmp_path):
    (tmp_path/"logs_one.py").write_text("import lepton_bench as lb\nlb.log(step=1, loss=1.)")
    assert bench("launch", tmp_path/"logs_one.py").returncode == 0
    run = json.loads(bench("runs", "--json", "-n", 1).stdout)[0]["id"]
    mistakes = {("logs", run, "-r", 9): "ranks 0 to 0", ("plot", run, "acc"): "There are: loss", ("plot", run, "-o", "/nowhere/x.png"): "/nowhere/x.png",
                ("plot", run, "--smooth", 5): "smooth", ("runs", "--limit", "-1"): "limit", ("logs", ""): "no run"}
    for args, words in mistakes.items():
        done = bench(*args, cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, (args, done)
    record = lb.get_run(run).directory/"run.json"
    record.write_text("{")
    done = bench("logs", run)
    assert done.returncode == 2 and str(record) in done.stderr and "Traceback" not in done.stderr
    assert f"{run}" in (listed := bench("runs")).stdout and "damaged" in listed.stdout and listed.returncode == 0
    record.unlink()


@pytest.mark.parametrize("variable, value", [
    ("IDLE_WARNING", "soon"), ("SIMULATED", "-3"), ("LEASES", "FILE"), ("SOCKETS", "FILE"), ("SOCKETS", "LONG"), ("HOME", "FILE")])
def test_settings_that_cannot_be_used_name_themselves(script, tmp_path, variable, value):
    (tmp_path/"file").write_text("")
    value = {"FILE": str(tmp_path/"file"), "LONG": str(tmp_path/("x"*120))}.get(value, value)
    env = {**os.environ, f"LEPTON_BENCH_{variable}": value}
    done = subprocess.run([BENCH, "launch", str(script)], capture_output=True, text=True, timeout=20, env=env, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and f"LEPTON_BENCH_{variable}" in done.stderr and "Traceback" not in done.stderr, done


def test_doctor_says_what_cannot_be_used(tmp_path):
    (tmp_path/"file").write_text("")
    env = {**os.environ, "LEPTON_BENCH_LEASES": str(tmp_path/"file"), "LEPTON_BENCH_FORKSERVER": "0"}
    done = bench("doctor", "--json", env=env)
    found = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1 and not found["leases"]["ok"] and "not a folder" in found["leases"]["found"]
    assert "switched off" in found["forkserver"]["found"], "and not started to look"
    assert "NO   leases" in bench("doctor", env=env).stdout
    (tmp_path/"settings.ini").write_text("[lepton_bench]\nleases_folder = x\n")
    assert bench("doctor", cwd=tmp_path).returncode == 2
