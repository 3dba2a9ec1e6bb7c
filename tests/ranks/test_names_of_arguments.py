"""Whatever a user calls an argument, a parameter or a metric, it is not mistaken for one of ours."""
import json

import pytest
from support.headless_notebooks import write_notebook

import lepton_bench as lb

NAMES = ("target", "self", "args", "kwargs", "function", "header", "payload", "context", "name", "options", "rank", "op", "step")


def give(*args, **kwargs):
    lb.log(step=1, **{n: i for i, n in enumerate(sorted(kwargs)) if n != "step"})
    return args, kwargs


def other(target, args=(), **options): return target, args, options


@pytest.fixture(scope="module")
def alloc():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "1")
        with lb.allocate(1) as alloc: yield alloc


def test_a_function_gets_its_arguments_under_any_name(alloc):
    given = dict.fromkeys(NAMES, 7)
    for launcher in (alloc, alloc.options(output=False), alloc.options(output=False).options(name="other")):
        run = launcher.launch(give, 1, **given)
        assert run.result(60) == ((1,), given)
        assert {n for n in run.metrics()["name"].to_pylist()} == set(NAMES) - {"step"}
    assert alloc.launch(other, target="age", args=[1], name="x").result(60) == ("age", [1], {"name": "x"})


def test_an_unknown_option_is_an_option_whatever_its_name(alloc):
    for name in ("self", "base", "changes"):
        with pytest.raises(lb.BenchError, match=f"option {name}"): alloc.options(**{name: 1})
        with pytest.raises(lb.BenchError, match=f"option {name}"): alloc.options().options(**{name: 1})


def test_a_notebook_gets_its_parameters_under_any_name(alloc, tmp_path):
    names = (*NAMES, "notebook", "space", "status", "set", "reason", "output", "keeper", "devices", "now")
    recorded = "import lepton_bench as lb\n" + "\n".join(f"lb.record({n!r}, {n})" for n in names)
    path = write_notebook(tmp_path/"names.ipynb", "\n".join(f"{n} = 0" for n in names), recorded)
    given = {n: i for i, n in enumerate(names)}
    run = alloc.options(output=False).launch(str(path), **given).wait(120)
    assert run.status == "done" and run.result() == given, run.logs()
    logged = run.metrics().to_pydict()
    assert dict(zip(logged["name"], logged["value"], strict=True)) == given
    sweep = lb.sweep(path, [given], devices_each=0, output=tmp_path/"out").wait(120)
    (found,) = sweep.sets
    assert found.status == "done" and found.parameters == found.values == given
    assert json.dumps(sweep.table().to_dicts()) and "status" in repr(sweep.table())
