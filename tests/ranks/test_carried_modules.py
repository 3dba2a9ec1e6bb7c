"""Classes and functions of modules that a rank cannot import: they go by value, and plain pickle knows their names while the run lasts."""
import importlib
import os
import pickle
import sys
from pathlib import Path

import cloudpickle
import pytest
from support.hosts import hosts
from support.isolation import patience

import lepton_bench as lb
from lepton_bench.core.carried_modules import carried_modules
from lepton_bench.core.pickling import dumps

MODULE = """from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
BASE = 40
class Kind(Enum): ONE = 1
class Pair(NamedTuple):
    a: int
@dataclass
class Box:
    value: int
    class Lid: pass
class Small:
    __slots__ = ("x",)
def boxed(x): return Box(BASE + x)
def other(): return "other"
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    "A module and a package beside the notebook."
    (tmp_path/"beside.py").write_text(MODULE)
    (tmp_path/"parts").mkdir()
    (tmp_path/"parts"/"__init__.py").write_text("")
    (tmp_path/"parts"/"inner.py").write_text("class Part:\n    pass\ndef make(): return Part()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    found = importlib.import_module("beside")
    importlib.import_module("parts.inner")
    yield found
    for name in ("beside", "parts", "parts.inner"): sys.modules.pop(name, None)


def exchange(check, Box, Kind, Pair, Lid, Small, boxed, Part):
    "Objects of such classes go from rank to rank, into a file of torch and into a child, and come back."
    import pickle
    import sys
    from multiprocessing import get_context

    import torch
    import torch.distributed as dist

    import lepton_bench as lb
    rank = int(dist.get_rank())
    things = [Box(rank), Kind.ONE, Pair(3), Lid(), Small(), boxed, boxed(2), Part(), Box, Part]
    again = pickle.loads(pickle.dumps(things))
    assert [type(a) for a in again] == [type(t) for t in things] and again[8:] == [Box, Part] and again[6].value == 42 and again[1] is Kind.ONE
    everybody = [None]*dist.get_world_size()
    dist.all_gather_object(everybody, Box(rank))
    assert [box.value for box in everybody] == [0, 1] and {type(box) for box in everybody} == {Box}
    with get_context("fork").Pool(1) as pool: assert pool.map(boxed, [1]) == [Box(41)]
    lb.save_checkpoint({"box": Box(7), "weight": torch.ones(2)}, 1, wait=False)
    return Box(rank), sorted(n for n in ("beside", "parts", "parts.inner") if n in sys.modules)


def what_is_left(_=None):
    import sys
    return sorted(n for n in ("beside", "parts", "parts.inner") if n in sys.modules)


for function in (exchange, what_is_left): function.__module__ = "__main__"  # as if a notebook had defined them


@pytest.mark.skipif(os.geteuid() != 0, reason="NO MOUNT: only root may have a file system of his own")
def test_on_hosts_that_do_not_see_the_folder(beside, tmp_path):
    from parts.inner import Part
    hidden = ["env", "LEPTON_BENCH_SIMULATED=1", "unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {tmp_path} && exec \"$@\"", "sh"]
    given = (None, beside.Box, beside.Kind, beside.Pair, beside.Box.Lid, beside.Small, beside.boxed, Part)
    with hosts(["n1", "n2"], 2, hidden) as (alloc, _):
        for _ in range(2):
            with pytest.warns(UserWarning, match="travel with the function"): run = alloc.launch(exchange, *given)
            found = run.results(timeout=patience(90))
            assert found == [(beside.Box(rank), ["beside", "parts", "parts.inner"]) for rank in range(2)], run.logs()
            assert run.record.checkpoint == 1
        with pytest.warns(UserWarning, match="travel with the function"): assert alloc.launch(what_is_left).results(timeout=patience(60)) == [[], []]
    assert lb.allocations() == []


@pytest.fixture(scope="module")
def alloc():
    os.environ["LEPTON_BENCH_SIMULATED"] = "2"
    with lb.allocate(2, name="carried") as found: yield found
    del os.environ["LEPTON_BENCH_SIMULATED"]


def test_on_a_host_that_sees_it(beside, alloc):
    "A user may ask cloudpickle for it; the module itself is there for what has not come along."
    def use(Box):
        import pickle

        import beside
        return beside.other(), type(pickle.loads(pickle.dumps(Box(1)))) is Box is beside.Box
    cloudpickle.register_pickle_by_value(beside)
    try: assert alloc.launch(use, beside.Box).results(60) == [("other", True)]*2
    finally: cloudpickle.unregister_pickle_by_value(beside)
    def plain():
        import beside
        return type(beside).__name__, beside.other()
    assert alloc.launch(plain).results(60) == [("module", "other")]*2, "the next run has the module itself"


def test_a_module_that_is_mentioned(beside, monkeypatch):
    "It arrives whole, and has its name too."
    cloudpickle.register_pickle_by_value(beside)
    try: data = dumps((lambda module=beside: module.boxed(1), beside.Box(1)))
    finally: cloudpickle.unregister_pickle_by_value(beside)
    own = sys.modules.pop("beside")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != os.getcwd()])
    with carried_modules():
        function, box = pickle.loads(data)
        again = pickle.loads(pickle.dumps([box, function()]))
        assert again[1].value == 41 and "beside" in sys.modules and sys.modules["beside"].other() == "other"
        with pytest.raises(AttributeError, match="has no attribute|was carried here without 'nothing'"): _ = sys.modules["beside"].nothing
    assert "beside" not in sys.modules
    sys.modules["beside"] = own


def test_annotations_with_types_of_python_travel():
    "Some of them, as the type of `tuple[int, int]`, have no name that cloudpickle can import."
    import pickle
    import types

    from lepton_bench.core.pickling import dumps
    def pair(x: int) -> tuple[int, int]: return x, x
    back, kinds = pickle.loads(dumps((pair, [types.GenericAlias, type(None), types.UnionType, type(...), types.CodeType])))
    assert back(2) == (2, 2) and back.__annotations__["return"] == tuple[int, int] and kinds[0] is types.GenericAlias
