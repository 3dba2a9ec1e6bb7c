"""What can be launched besides a plain function: partial functions, methods and objects that can be called; as a launch and as a Launcher's form."""
import os
from functools import partial

import pytest

import lepton_bench as lb
from lepton_bench.jupyter.introspection import introspect


def train(lr: float = .1,  # of the optimizer
          epochs: int = 3):
    "Trains it."
    return lr, epochs


class Trainer:
    "A trainer."
    def __init__(self, lr=.5): self.lr = lr
    def fit(self, epochs: int = 3):
        "Fits it."
        return self.lr, epochs
    def __call__(self, epochs: int = 4):
        "Calls it."
        return self.lr, epochs
    @classmethod
    def make(cls, epochs: int = 5): return cls().lr, epochs
    @staticmethod
    def static(epochs: int = 6): return .5, epochs


for definition in (train, Trainer, Trainer.static): definition.__module__ = "__main__"  # as if a notebook had defined them
KNOWN = {"train": train, "Trainer": Trainer, "fast": partial(train, 2.), "trainer": Trainer()}
TARGETS = {
    "partial": (partial(train, .2), "train", "Trains it.", "__import__('functools', fromlist=['x']).partial(train, 0.2)", (.2, 3)),
    "twice partial": (partial(partial(train, lr=.2), epochs=object), "train", "Trains it.",
                      "__import__('functools', fromlist=['x']).partial(train, lr=0.2, epochs=...)", (.2, object)),
    "named partial": (KNOWN["fast"], "train", "Trains it.", "fast", (2., 3)),
    "object": (KNOWN["trainer"], "Trainer", "Calls it.", "trainer", (.5, 4)), "nameless object": (Trainer(.7), "Trainer", "Calls it.", "Trainer(...)", (.7, 4)),
    "method": (KNOWN["trainer"].fit, "fit", "Fits it.", "trainer.fit", (.5, 3)), "classmethod": (Trainer.make, "make", "", "Trainer.make", (.5, 5)),
    "staticmethod": (Trainer.static, "static", "", "__import__('__main__', fromlist=['x']).Trainer.static", (.5, 6)),
    "lambda": (lambda: 3, "<lambda>", "", "...", 3)}


@pytest.fixture(scope="module")
def alloc():
    os.environ["LEPTON_BENCH_SIMULATED"] = "1"
    with lb.allocate(1, name="callables") as found: yield found
    del os.environ["LEPTON_BENCH_SIMULATED"]


@pytest.mark.parametrize("target, name, doc, source, result", TARGETS.values(), ids=TARGETS)
def test_a_launch_and_its_form(alloc, monkeypatch, target, name, doc, source, result):
    run = alloc.launch(target)
    assert run.result(60) == result and run.name == name
    monkeypatch.setattr(lb.widgets.Launcher, "space", KNOWN)
    form = lb.widgets.Launcher(target, alloc)
    assert repr(form) == f"Launcher of {name}" and doc in str(form.draw()) and form.code().endswith(f".launch({source})")
    with pytest.raises(lb.BenchError, match=f"the button Launch runs {name}"): _ = form.run
    form.renew()
    form.hear("typed", "", {"lr": "3"})
    assert form.function is target


def test_the_help_of_each_argument_is_there_too(monkeypatch):
    monkeypatch.setattr(lb.widgets.Launcher, "space", KNOWN)
    drawn = str(lb.widgets.Launcher(partial(train, epochs=2)).draw())
    assert "of the optimizer" in drawn and 'value="2"' in drawn


def test_the_dialog_looks_over_them():
    assert introspect(KNOWN) is not None


def test_what_cannot_be_sent_has_a_name(alloc):
    import threading
    with pytest.raises(lb.BenchError, match="'train' cannot be sent to the ranks"): alloc.launch(partial(train, threading.Lock()))
