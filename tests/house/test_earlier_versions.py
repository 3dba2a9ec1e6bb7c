"""What the version before the great move of modules has left behind is listed, read, resumed and launched again by this one.

`data/home-before-rooms.tar.gz` was made by that version: a run that is done, one that failed half way, a notebook launched on ranks, and a sweep
with one failed set. Its paths name the folder that it was made in; they are written anew here.
"""
import sys
import tarfile
from pathlib import Path

import pytest

import lepton_bench as lb
from lepton_bench.core.moved import MOVED

MADE_IN, ARCHIVE = "/tmp/oldhome", Path(__file__).parents[1]/"data"/"home-before-rooms.tar.gz"


@pytest.fixture(scope="module")
def before(place) -> Path:
    "The folder of the notebooks; the runs are in this place's home."
    with tarfile.open(ARCHIVE) as archive: archive.extractall(place.root, filter="data")
    for path in place.root.rglob("*"):
        if path.suffix in (".json", ".ipynb", ".jsonl") or path.name == ".lepton-sweep": path.write_text(path.read_text().replace(MADE_IN, str(place.root)))
    return place.root/"work"


def run_named(name: str, status: str, kind: str) -> lb.runs: return next(r for r in lb.runs() if (r.name, r.status, r.record.kind) == (name, status, kind))


def test_runs_are_listed_and_read(before):
    assert sorted((r.record.kind, r.status) for r in lb.runs()) == [
        ("function", "done"), ("function", "failed"), *[("notebook", "done")]*3, ("notebook", "failed"), ("sweep", "failed")]
    done = run_named("train", "done", "function")
    assert done.result() == 4 and done.metrics().num_rows == 10 and done.plot(live=False).axes
    with pytest.raises(lb.BenchError, match="half way"): run_named("train", "failed", "function").result()
    assert len(lb.compare([r for r in lb.runs() if r.record.kind == "function"]).records) == 2


def test_a_sweep_is_shown_and_goes_on(before):
    sweep = run_named("train", "failed", "sweep")
    assert [(s.status, s.values["score"]) for s in sweep.sets] == [("done", .9), ("done", .8), ("failed", .7)] and sweep.best("score").index == 0
    lb.simulate_devices(2)
    assert sweep.resume().wait(120).status == "failed", "the set that fails fails again, and only that one was run"
    assert [s.attempts for s in sweep.sets][:2] == [1, 1] and (before/"train-sweep"/"train-002-lr=0.3.ipynb").exists()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pickled function was made by Python 3.11, whose code objects no other version reads")
def test_a_run_goes_on_from_its_checkpoint(before):
    lb.simulate_devices(2)
    with lb.allocate(2) as alloc:
        failed = run_named("train", "failed", "function")
        again = failed.resume(alloc)
        assert again.result(timeout=120) == 7, "it went on behind the step at which it had failed"
        assert sorted(set(again.metrics()["step"].to_pylist())) == list(range(8))
        assert alloc.launch(str(before/"train.ipynb"), lr=.1).wait(120).status == "done"


def test_old_names_lead_to_modules():
    "Each line of the table."
    from importlib import import_module

    import papermill  # noqa: F401  # which loads our engine, and must come first
    for old, places in MOVED.items():
        for place in places: import_module(f"lepton_bench.{place}")
        assert import_module(f"lepton_bench.{old}").__name__ == f"lepton_bench.{old}"
