"""A log call never ends a training: what cannot be logged is left out with a word, once, and the rest of the call is kept."""
import numpy as np
import pytest
import torch

import lepton_bench as lb


@pytest.fixture(scope="module")
def alloc():
    alloc = lb.allocate(1)
    yield alloc
    alloc.release()


class Hostile:
    def __float__(self): raise ZeroDivisionError("no float")
    def __repr__(self): raise ZeroDivisionError("no repr")


@pytest.mark.parametrize("value, taken", [
    (None, None), ("0.5", None), ({"a": 1}, None), ([1.], None), (10**400, None), (1j, None), (torch.ones(3), None), (np.ones(2), None),
    (torch.tensor([[2.]]), 2.), (np.array([2.]), 2.), (np.float32(2), 2.), (True, 1.), (torch.tensor(3, dtype=torch.int64), 3.)])
def test_one_value(alloc, value, taken):
    def train(value):
        for step in range(3): lb.log(step=step, before=1., odd=value, after=2.)
        return "through"
    run = alloc.launch(train, value)
    assert run.result(30) == "through"
    rows = run.metrics().to_pylist()
    assert [r["value"] for r in rows if r["name"] == "before"] == [1.]*3 and [r["value"] for r in rows if r["name"] == "after"] == [2.]*3
    assert [r["value"] for r in rows if r["name"] == "odd"] == [taken]*3*(taken is not None)
    assert str(run.logs()).count("lb.log(odd=") == (taken is None)


def test_steps_names_and_progress(alloc):
    def train(hostile):
        for step in (0., 1.5, None, "x", float("nan"), 2**70, np.array([7]), -3): lb.log(step=step, loss=1.)
        lb.log(step=10, **{"x"*2000: 1., "": 1., "kept": 1.}, odd=hostile())
        for i in range(4200): lb.log(step=i, **{f"name{i}": 1.}, loss=2.)
        for done in (torch.tensor([5]), None, "x", 3): lb.progress(done, 10)
        return "through"
    run = alloc.launch(train, Hostile)
    assert run.result(60) == "through"
    rows, text = run.metrics().to_pylist(), str(run.logs())
    assert sum(r["name"] == "loss" and r["value"] == 2. for r in rows) == 4200 and any(r["name"] == "kept" for r in rows)
    steps = [r["step"] for r in rows if r["name"] == "loss" and r["value"] == 1.]
    assert len(steps) == 8 and steps[:3] == [0, 1, 2] and steps[-2:] == [7, -3]
    assert text.count("No more names") == 1 and "name4" in text and "lb.progress" in text
