"""What fails around a sweep's driver: its own log is on a full disk, its plan cannot be written, a runner cannot open its log."""
import json
import os
import subprocess
import sys

DRIVER = """
import json
from lepton_bench.headless import driver
from lepton_bench.headless.plan import Plan, Set, plan_path
from lepton_bench.store.runs import log_path, new_run_id, read_run, runs_directory
runs_directory().mkdir(parents=True)
directory = runs_directory()/new_run_id()
sets = [Set(0, {{}}, output="first.ipynb"), Set(1, {{}}, output="second.ipynb", run=new_run_id())]
log_path(runs_directory()/sets[1].run, 0).mkdir(parents=True)  # the second runner's log is a folder
plan = Plan(str(directory/"missing.ipynb"), str(directory/"out"), "", sets, devices_each=0)
found = driver.Driver(directory, plan, driver.open_record(directory, plan, ""))
plan_path(directory).mkdir()
{extra}
found.listen()
driver.serve_to_the_end(found)
print(json.dumps([read_run(directory).status, read_run(directory).reason, log_path(directory, 0).read_text()]))
"""


def drive(home, extra: str = "") -> tuple[str, str, str]:
    "A driver whose standard error is a full disk; its record and its log."
    code = DRIVER.format(extra=extra)
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True, timeout=90,
                               env={**os.environ, "LEPTON_BENCH_HOME": str(home)})
    assert ended.returncode in (0, 120), ended  # 120: at its very end Python could not flush to the full stderr
    lines = ended.stdout.splitlines()
    assert len(lines) == 1, "a runner never comes out of its fork"
    return tuple(json.loads(lines[0]))


def test_neither_plan_nor_log_can_be_written(tmp_path):
    status, reason, log = drive(tmp_path/"home")
    assert status == "failed" and reason.startswith("2 of 2 sets failed"), reason
    assert log.count("cannot be written, it is tried again") == 1


def test_an_error_that_no_step_expects(tmp_path):
    status, reason, log = drive(tmp_path/"home", "plan.parallel = None")
    assert status == "failed" and reason.startswith("the sweep's own process failed: TypeError"), reason
    assert "sweep.resume() goes on" in log
