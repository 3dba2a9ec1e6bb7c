"""The tutorial for clusters, run from top to bottom on a real Slurm of three nodes; and left out, loudly, where there is none."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.headless_notebooks import pictures, read_text
from support.isolation import REPOSITORY, patience
from run import reported_accuracy
from support.slurm_cluster import SlurmCluster

import lepton_bench as lb

BENCH = str(Path(sys.executable).parent/"lepton-bench")
TUTORIAL = REPOSITORY/"nbs"/"tutorials"/"92_cluster.ipynb"


def check(notebook: Path, *words: object, **more) -> subprocess.CompletedProcess:
    command = [BENCH, "test-notebooks", str(notebook), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=patience(280), **more)


@pytest.mark.timeout(900)
def test_it_runs_on_three_nodes(slurm: SlurmCluster, tmp_path: Path) -> None:
    small = {"kind": "cpu", "epochs": 2, "train_size": 6000, "partition": "high"}
    given = [word for name, value in small.items() for word in ("-p", f"{name}={value}")]
    done = check(TUTORIAL, *given, "--output", tmp_path, "--timeout", patience(240), env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0 and re.search(r"(?m)^PASSED  \S*92_cluster\.ipynb  .*\n1 passed, 0 failed\n\Z", done.stdout), done
    executed = tmp_path/f"000-{TUTORIAL.name}"
    said = read_text(executed)
    for words in ("ok       slurm        ", "TCP from each node to each other one: 6 of 6", "ok       release      ", "[0] ('n1', 0, 3, 'cpu')",
                  "[2] ('n3', 2, 3, 'cpu')", "[0-2] 6.0", "lepton-cluster", "[1] epoch 2 of 2 on n2: accuracy", "done in attempt 2",
                  "allocations/cluster/supervisor.log"): assert words in said, words
    assert (reported_accuracy(executed) or 0) > .7 and pictures(executed) == 1
    slurm.wait(lambda: not slurm.command("squeue", "--noheader").strip())
    jobs = slurm.command("scontrol", "show", "job", "--oneliner")
    assert not lb.allocations() and re.search(r"JobName=lepton-cluster .* Partition=high ", jobs), jobs


def test_where_there_is_no_slurm_it_is_left_out_and_said(tmp_path: Path) -> None:
    none = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    done = check(TUTORIAL, env=none, cwd=REPOSITORY)
    assert done.returncode == 0, done
    left_out = r"SKIPPED nbs/tutorials/92_cluster\.ipynb  needs slurm: this host has no squeue: .+\n"
    assert re.fullmatch(left_out + r"0 passed, 0 failed, 1 skipped\n", done.stdout), done.stdout
    folder = tmp_path/"some"
    folder.mkdir()
    found = json.loads(TUTORIAL.read_text())
    (folder/"on_slurm.ipynb").write_text(json.dumps(found))
    plain = {**found, "cells": [c for c in found["cells"] if c["cell_type"] == "markdown"]}
    (folder/"plain.ipynb").write_text(json.dumps(plain))
    done = check(folder, "--output", tmp_path/"out", env=none, cwd=folder)
    assert done.returncode == 0 and re.match(r"SKIPPED on_slurm\.ipynb  needs slurm: .+\n", done.stdout), done
    assert re.search(r"(?m)^PASSED  plain\.ipynb  .*\n1 passed, 0 failed, 1 skipped\n\Z", done.stdout), done
    assert [p.name for p in (tmp_path/"out").glob("*.ipynb")] == ["000-plain.ipynb"]
    found["cells"][0]["metadata"]["tags"] = ["needs:mars"]
    (folder/"on_slurm.ipynb").write_text(json.dumps(found))
    done = check(folder, env=none)
    assert done.returncode == 2 and "nobody knows the need 'mars'. Tags of cells can say: needs:slurm" in done.stderr, done
