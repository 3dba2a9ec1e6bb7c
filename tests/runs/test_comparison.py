"""Runs beside each other: what is shown, and what is said when they cannot be compared."""
import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lepton_bench as lb
from lepton_bench.api.compare import Comparison, parameters
from lepton_bench.store.differences import differing
from lepton_bench.errors import BenchError
from lepton_bench.api.runs import RunTable
from lepton_bench.client.run import Run
from lepton_bench.metrics.storage import Ring
from lepton_bench.store.runs import RunWriter, new_record, new_run_id, read_run, ring_path, runs_directory


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Run]:
    "Makes stored runs, in a home of their own."
    monkeypatch.setenv("LEPTON_BENCH_HOME", str(tmp_path))

    def new(metrics: dict[str, list[float]] | None = None, ranks: int = 1, **known) -> Run:
        id = new_run_id()
        RunWriter(runs_directory()/id, new_record(id, known.pop("name", "train"), status="done", world_size=ranks, **known)).create()
        for rank in range(ranks if metrics else 0):
            ring = Ring.create(ring_path(runs_directory()/id, 0, rank), 1024, rank)
            for name, values in (metrics or {}).items():
                for step, value in enumerate(values): ring.log(step, {name: value + rank})
        return Run(runs_directory()/id)
    return new


def test_table_and_numbers(make: Callable[..., Run]) -> None:
    runs = [make({"loss": [3., 1., 2.], "acc": [0., .5, .25]}, ranks=2, arguments=f"lr={lr}, width=3", parameters={"lr": lr, "width": 3}) for lr in (.1, .2)]
    found = lb.compare(runs)
    assert isinstance(found, Comparison) and found.table.columns == ("run", "name", "status", "lr", "last loss", "least loss", "last acc", "greatest acc")
    assert found.table[0][3:] == ("0.1", "2.5", "1.5", "0.75", "1")  # the mean of two ranks
    assert found.to_dicts()[1] == {"run": runs[1].id, "name": "train", "status": "done", "duration": None, "parameters": {"lr": .2},
                                   "metrics": {"loss": {"final": 2.5, "best": 1.5, "step": 2}, "acc": {"final": .75, "best": 1., "step": 2}}}
    assert repr(found).splitlines()[0].split()[:4] == ["run", "name", "status", "lr"] and len(repr(found).splitlines()) == 3
    assert lb.compare(runs, best={"loss": "max"}).to_dicts()[0]["metrics"]["loss"]["best"] == 3.5


def test_it_shows_itself(make: Callable[..., Run]) -> None:
    runs = [make({"loss": [1., 2.]}, arguments=f"'<b>{i}'") for i in range(2)]
    found = lb.compare(runs)
    shown = found._repr_mimebundle_()
    assert shown["text/plain"] == repr(found) and shown["text/html"] == found._repr_html_()
    assert "<b>" not in shown["text/html"] and shown["text/html"].count("&lt;b&gt;") == 2
    picture = re.search(r"<img [^>]*alt='loss of 2 runs' src='data:image/png;base64,([^']+)'", shown["text/html"])
    assert picture and base64.b64decode(picture[1]).startswith(b"\x89PNG")
    colors = re.findall(r"color:(#\w{6})", shown["text/html"])
    assert len(set(colors)) == 2 and [line.get_color() for line in found.figure.axes[0].lines] == colors


def test_by_id_by_name_as_table_and_twice(make: Callable[..., Run]) -> None:
    a, b = make({"loss": [1.]}, name="first"), make({"loss": [2.]}, name="second")
    for several in ([a, b], [a.id, b.id], ["first", "second"], (r for r in (a, b, a)), [a, "first", b.id]):
        assert list(lb.compare(several).records) == [a.id, b.id]
    assert list(lb.compare(lb.runs()).records) == [b.id, a.id]
    assert lb.compare([a, b]).labels == [f"first {a.id}", f"second {b.id}"]  # nothing differs but the name


def test_what_cannot_be_compared(make: Callable[..., Run]) -> None:
    a, b, reward, silent = make({"loss": [1.]}), make({"loss": [2.]}), make({"reward": [1.]}), make()
    gone = make({"loss": [1.]})
    shutil.rmtree(gone.directory)
    for runs, options, says in (([], {}, "no run to compare"), ([a], {}, f"only one run, {a.id}"), ([a, a.id], {}, "only one run"), (a, {}, "several runs"),
                                (a.id, {}, "several runs"), (None, {}, "several runs"), ([a, 3], {}, "3 is no run"),
                                ([a, "no-such", gone], {}, f"no run 'no-such'.*Run {gone.id} was deleted.*lb.runs"),
                                ([a, reward], {}, f"no metric in common.*{a.id}: loss; {reward.id}: reward"),
                                ([silent, make()], {}, r"None of these runs has metrics yet.*lb.log"),
                                ([a, b], {"names": "los"}, "'los'. There are: loss"), ([a, b], {"x": "epoch"}, "'step' or 'time'"),
                                ([a, b], {"smooth": 1}, "smooth=1"), ([a, b], {"best": {"loss": "low"}}, "'min' or 'max'")):
        with pytest.raises(BenchError, match=says): lb.compare(runs, **options)


def test_a_damaged_run_is_left_out(make: Callable[..., Run]) -> None:
    a, b, c = (make({"loss": [1.]}) for _ in range(3))
    (c.directory/"run.json").write_text("{")
    assert isinstance(lb.runs(), RunTable)
    with pytest.warns(UserWarning, match=f"Run {c.id} is left out"): found = lb.compare(lb.runs())
    assert list(found.records) == [b.id, a.id]


def test_runs_with_other_metrics_and_none(make: Callable[..., Run]) -> None:
    a, b, silent = make({"loss": [1.], "lr": [1.]}), make({"loss": [2., float("nan")]}), make()
    found = lb.compare([a, b, silent])
    assert found.names == ["loss"] and "Only one run has lr" in repr(found)
    assert [row[-2:] for row in found.table] == [("1", "1"), ("nan", "2"), ("-", "-")]
    assert lb.compare([a, b], names=["l*"]).names == ["loss", "lr"] and lb.compare([a, silent], names="loss").figure


def test_what_is_not_finite_is_said_of_its_run(make: Callable[..., Run]) -> None:
    a, b = make({"loss": [1., 2., 3.]}, arguments="lr=1"), make({"loss": [2., float("nan"), float("inf")]}, arguments="lr=2")
    axes = lb.compare([a, b]).figure.axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["lr=1", "lr=2 (2 not finite)"]
    assert [line.get_color() for line in axes.lines if line.get_marker() == "v"] == [lb.compare([a, b]).colors[1]]


@pytest.mark.filterwarnings("error")
def test_many_runs_and_metrics(make: Callable[..., Run]) -> None:
    runs = [make({f"m{i}": [1., 2.] for i in range(12)}, arguments=f"lr={lr}") for lr in range(25)]
    found = lb.compare(runs, x="time", log=True, smooth=.5)
    assert "first 20 of 25 runs" in found.note and "first 9 of 12 metrics" in found.note
    assert sum(a.axison for a in found.figure.axes) == 9 and len(found.table) == 25
    assert len({line.get_label() for line in found.figure.axes[0].lines if not line.get_label().startswith("_")}) == 20


def test_restarts_lie_where_each_run_had_them(make: Callable[..., Run]) -> None:
    a, b = make({"loss": [1.] * 10}), make({"loss": [2.] * 10})
    Ring.create(ring_path(b.directory, 1, 0), 64).log(6, {"loss": 3.})
    marks = [line.get_xdata()[0] for line in lb.compare([a, b]).figure.axes[0].lines if line.get_gid() == "restart"]
    assert marks == [6] and read_run(a.directory).attempt == 0


@pytest.mark.parametrize(("known", "expected"), [
    ({"arguments": ""}, {}),
    ({"arguments": "3, 'a', lr=0.1", "parameters": {"lr": .1}}, {"argument 1": "3", "argument 2": "'a'", "lr": .1}),
    ({"arguments": "<Net at 0x1>, lr=1", "parameters": {"lr": 1}}, {"arguments": "<Net at 0x1>, lr=1", "lr": 1}),
    ({"arguments": "args=['a', '--lr', '0.1', '--fast', '--n=2', 'b']", "kind": "script"},
     {"argument 1": "a", "--lr": "0.1", "--fast": True, "--n": "2", "argument 2": "b"}),
    ({"arguments": "args=['--lr']", "kind": "function"}, {"args": "['--lr']"}),
    ({"arguments": "1) or (2"}, {"arguments": "1) or (2"}),
], ids=str)
def test_what_a_run_was_given(known: dict, expected: dict) -> None: assert parameters(new_record("1", "n", **known)) == expected


def test_positional_arguments_differ_too(make: Callable[..., Run]) -> None:
    runs = [make({"loss": [1.]}, arguments=f"{n}, lr=0.1", parameters={"lr": .1}) for n in (3, 5)]
    assert lb.compare(runs).labels == ["argument 1=3", "argument 1=5"]
    assert differing([{"a": 1}, {"a": 1.}]) == ["a"] and differing([{"a": 1}, {}]) == ["a"] and differing([{"a": 1}, {"a": 1}]) == []
