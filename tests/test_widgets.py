"""Forms of real functions, and the widgets in a live kernel. (tests/e2e/test_widgets.py has them in a browser.)"""
import enum
import json
import math
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lepton_bench.errors import LaunchError
from lepton_bench.jupyter.forms import FormError, arguments, call_source, filled_in, form_fields, launchable, value_source


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


def train(epochs: int,  # passes over the data
          lr: float = .1,  # of the optimizer
          optimizer: Literal["sgd", "adam"] = "sgd",
          colour: Colour | None = None,
          data: Path | str = Path("data"),
          *, widths: list[int] = [32, 64],  # noqa: B006
          amp: bool = False, name: str | None = None, note: str = "a", early: bool | None = None):
    "Trains it."


class Model: ...


def odd(a, b, /, c=3, *rest, model: Model, later: "Nowhere" = None, deep: Annotated[typing.Optional[float], "x"] = 2, **more): ...  # noqa: F821, UP045


def by_name(function, namespace=None): return {f["name"]: f for f in form_fields(function, namespace)}


def problem(function, namespace=None, **values):
    with pytest.raises(FormError) as e: call_source("f", form_fields(function), values, namespace)
    return e.value.problems


# --- fields -----------------------------------------------------------------------------------------

def test_a_form_says_what_the_signature_says():
    fields = by_name(train)
    assert {n: f["kind"] for n, f in fields.items()} == {
        "epochs": "int", "lr": "float", "optimizer": "choice", "colour": "choice", "data": "str", "widths": "literal", "amp": "bool", "name": "str",
        "note": "str", "early": "choice"}
    assert fields["epochs"]["required"] and fields["epochs"]["help"] == "passes over the data" and fields["epochs"]["annotation"] == "int"
    assert fields["colour"]["choices"] == ["Colour.RED", "Colour.BLUE", "None"] and fields["early"]["choices"] == ["True", "False", "None"]
    assert fields["data"]["default"] == "'data'" and fields["name"]["default"] == "None"
    assert json.loads(json.dumps(list(fields.values()))) == list(fields.values())


def test_odd_signatures_have_a_form_too():
    fields = by_name(odd)
    assert list(fields) == ["a", "b", "c", "model", "later", "deep"], "*rest and **more have no field"
    assert fields["a"]["positional"] and fields["c"]["kind"] == "int" and fields["model"]["kind"] == "literal" and fields["deep"]["default"] == "2"
    assert by_name(lambda x, y=Model(): 0)["y"]["default"] == "", "a default that cannot be written"  # noqa: B008
    assert fields["deep"]["kind"] == "float", "one annotation that leads nowhere does not spoil the others"
    with pytest.raises(LaunchError): form_fields(3)


def test_the_call_has_only_what_was_chosen_and_means_what_was_typed():
    fields = form_fields(train, globals())
    typed = {"epochs": " 5 ", "lr": "0.1", "optimizer": "adam", "colour": "RED", "data": "my data", "widths": "[1]", "amp": "true", "name": "", "note": ""}
    assert call_source("train", fields, typed) == (
        "train, epochs=5, optimizer='adam', colour=Colour.RED, data=Path('my data'), widths=[1], amp=True, note=''")
    args, kwargs = arguments(fields, typed, globals())
    assert args == [] and kwargs == {"epochs": 5, "optimizer": "adam", "colour": Colour.RED, "data": Path("my data"), "widths": [1], "amp": True, "note": ""}
    assert call_source("train", fields, {"epochs": 5, "lr": .1, "data": "data", "widths": "[32,64]", "amp": False, "colour": "None"}) == "train, epochs=5"
    assert call_source("odd", form_fields(odd), {"a": "1", "b": "'x'", "c": "4", "model": "net"}) == "odd, 1, 'x', c=4, model=net"


def test_what_is_wrong_is_said_at_its_field():
    assert problem(train) == {"epochs": "is needed"}
    found = problem(train, epochs="2.5", lr="fast", optimizer="lion", widths="(1,)", amp="maybe", speed=1)
    assert found["epochs"] == "'2.5' is not a whole number" and found["lr"] == "'fast' is not a number" and "'sgd', 'adam'" in found["optimizer"]
    assert "a list is asked for" in found["widths"] and "neither True nor False" in found["amp"] and found["speed"] == "there is no argument speed"
    found = problem(odd, {}, a="hello", b="hello you", model="[" * 5000)
    assert "Text goes in quotes: 'hello'" in found["a"] and "not Python" in found["b"] and "not Python" in found["model"]
    assert "is not a whole number" in problem(train, epochs="inf")["epochs"]


def test_no_text_becomes_a_call_that_does_something_else():
    "A form runs nothing: what is typed is a literal or a name, never code."
    fields = form_fields(odd)
    for text in ("__import__('os').system('x')", "print()", "1); print(2", "x := 3", "lambda: 1", "model.x()", "[i for i in y]"):
        assert "a" in filled_in(fields, {"a": text, "b": "1", "model": "1"})[1], text


@settings(max_examples=60, deadline=None)
@given(some.integers(), some.floats(allow_nan=False), some.text(), some.recursive(some.none() | some.booleans() | some.integers() | some.text(),
                                                                                some.lists, max_leaves=5))
def test_any_value_comes_through(whole, number, text, anything):
    def f(whole: int, number: float, text: str, anything: Any): ...
    values = {"whole": str(whole), "number": repr(number), "text": text, "anything": repr(anything)}
    if not text: return
    args, kwargs = arguments(form_fields(f), values, {}) if text.strip() else ([], {})
    if kwargs: assert kwargs == {"whole": whole, "number": number, "text": text, "anything": anything} and type(kwargs["whole"]) is int


@given(some.text(), some.sampled_from(["epochs", "lr", "optimizer", "colour", "widths", "amp", "data"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_value_or_a_sentence(text, name):
    try: source = value_source(by_name(train)[name], text, {})
    except ValueError as e: assert str(e)
    else: assert source is None or eval(source, {"Colour": Colour, "Path": Path, "math": math}) is not Ellipsis


# --- which functions --------------------------------------------------------------------------------

def test_the_notebooks_functions_come_first_and_libraries_not_at_all(tmp_path, monkeypatch):
    (tmp_path/"my_training.py").write_text("def fit(n: int = 1): 'Fits.'\nasync def later(): ...\ndef _hidden(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_training
    import numpy
    import shutil
    space: dict[str, Any] = {"fit": my_training.fit, "copy": shutil.copy, "mean": numpy.mean, "later": my_training.later, "_hidden": my_training._hidden,
                             "np": numpy, "form_fields": form_fields, "alias": my_training.fit}
    exec("def train(epochs: int = 3):\n    'Trains.'\ndef helper(): ...\nsquare = lambda x: x\nclass Net: ...", {"__name__": "__main__"}, space)
    found = launchable(space)
    assert [(f["name"], f["module"]) for f in found] == [("train", "__main__"), ("helper", "__main__"), ("fit", "my_training")]
    assert found[0]["doc"] == "Trains." and found[2]["fields"][0]["default"] == "1" and json.dumps(found)
    del sys.modules["my_training"]
    assert launchable({}) == [] and launchable({"m": types.ModuleType("m")}) == []
