"""What a notebook defines works with plain pickle inside a launched function as it does in a script: see nbs/core/25_main_module."""
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.live_kernel import Kernel

DEFINITIONS = """
import abc, enum, functools, pickle, sys, typing, dataclasses, torch, torch.distributed as dist
import lepton_bench as lb
from dataclasses import dataclass

@dataclass
class Stat:
    loss: float
    unit: typing.ClassVar[str] = "nats"
    class Inner:
        def __init__(self, x): self.x = x
        def __eq__(self, other): return type(other) is type(self) and other.x == self.x
    def half(self): return Stat(self.loss/2)

@dataclass(frozen=True, slots=True)
class Slotted:
    x: int

class Slots:
    __slots__ = ("a", "b")
    def __init__(self, a): self.a = a
    def __eq__(self, other): return self.a == other.a

class Colour(enum.Enum):
    RED = 1
    BLUE = "two"

class Flag(enum.IntFlag):
    A = 1
    B = 2

class Point(typing.NamedTuple):
    x: int
    y: int = 7
    def norm(self): return self.x + self.y

T = typing.TypeVar("T")
class Box(typing.Generic[T]):
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
class IntBox(Box[int]): pass

class Base(abc.ABC):
    @abc.abstractmethod
    def value(self): ...
class Derived(Base):
    def value(self): return 3
    def __eq__(self, other): return type(other) is type(self)
class More(Derived):
    def value(self): return super().value() + 1
class Other(Derived): pass

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(2, 2)
    def forward(self, x): return helper(self.body(x))

class Meta(type):
    def __len__(cls): return 4
class WithMeta(metaclass=Meta):
    def __eq__(self, other): return type(other) is type(self)

class Trouble(Exception): pass

UserId = typing.NewType("UserId", int)
P = typing.ParamSpec("P")
def decorated(f: typing.Callable[P, T]) -> typing.Callable[P, T]:
    @functools.wraps(f)
    def inner(*args: P.args, **kwargs: P.kwargs): return f(*args, **kwargs)
    return inner

def helper(x): return x + OFFSET
OFFSET = 1
counter = 0
@functools.cache
def cached(x): return x*x
@decorated
def wrapped(x: UserId): return x + 1

def everything():
    return [Stat(.5), Stat.Inner(2), Slotted(3), Slots(4), Colour.BLUE, Flag.A | Flag.B, Point(1), Box(5), IntBox(6), Derived(), More(), WithMeta()]

def swap():
    found = [None, None]
    dist.all_gather_object(found, (everything(), dist.get_rank()))
    return found
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel(env={"LEPTON_BENCH_SIMULATED": "2"})
    try:
        kernel.run(DEFINITIONS + "\nalloc = lb.allocate(2)\ndef on_ranks(f, *args): return alloc.options(output=False).launch(f, *args).results(60)")
        yield kernel
        kernel.run("alloc.release()")
    finally: kernel.close()


def test_every_kind_of_object_travels_between_ranks_by_plain_pickle(kernel):
    kernel.run("""
def methods(): return More().value(), Other().value(), Derived().value(), More.value is sys.modules["__main__"].More.value
assert on_ranks(methods) == [(4, 3, 3, True)]*2
results = on_ranks(swap)
assert all(r == [(everything(), 0), (everything(), 1)] for r in results), results
assert [type(x) for x in results[1][0][0]] == [type(x) for x in everything()]   # the kernel's own classes
assert results[0][1][0][4] is Colour.BLUE and results[0][0][0][0].half() == Stat(.25)
""")


def test_functions_classes_and_errors_travel_by_name(kernel):
    kernel.run("""
def by_name():
    things = [helper, Stat, Stat.Inner, Stat.half, Stat(1.).half, Point, Colour, Net, cached, wrapped, UserId, functools.partial(helper, 2)]
    again = pickle.loads(pickle.dumps(things))
    assert all(a is b for a, b in zip(again[:4], things[:4])) and all(a is b for a, b in zip(again[5:11], things[5:11])), again
    assert again[4]() == Stat(.5) and again[-1]() == 3 and cached(3) == 9 and wrapped(1) == 2
    assert type(pickle.loads(pickle.dumps(Trouble("x")))) is Trouble
    try: pickle.dumps(lambda: 0)
    except (pickle.PicklingError, AttributeError): pass
    else: raise AssertionError("a script cannot pickle a lambda")
    return things[:4] + things[5:11], Trouble("why")
things, error = on_ranks(by_name)[1]
assert all(x is y for x, y in zip(things, [helper, Stat, Stat.Inner, Stat.half, Point, Colour, Net, cached, wrapped, UserId])), things
assert type(error) is Trouble
assert Stat.half.__globals__ is globals() and helper.__globals__ is globals(), "the notebook's own are untouched"
""")


def test_an_argument_brings_what_the_function_does_not_mention(kernel):
    kernel.run("""
def send(x):
    found = [None, None]
    dist.all_gather_object(found, x if dist.get_rank() == 0 else None)
    return found[0]
assert on_ranks(send, Stat.Inner(3)) == [Stat.Inner(3)]*2
assert on_ranks(send, [Stat.half, helper])[0] == [Stat.half, helper]
assert type(on_ranks(send, {"net": Net()})[1]["net"]) is Net
""")


def test_functions_share_the_variables_of_main(kernel):
    kernel.run("""
def count():
    global counter
    counter += 1
    return counter
def twice():
    count(); count()
    main = sys.modules["__main__"]
    return counter, main.counter, main.count is count, globals() is vars(main), __name__
assert on_ranks(twice) == [(2, 2, True, True, "__main__")]*2
assert on_ranks(twice)[0][0] == 2 and counter == 0, "each run begins with the notebook's values"
""")


def test_a_run_leaves_nothing_to_the_next(kernel):
    kernel.run("""
def mutate():
    global left_behind
    left_behind = 1
    Stat.extra, Stat.unit = "changed", "bits"
    return Stat.unit
def look(): return hasattr(Stat, "extra"), Stat.unit, "left_behind" in globals(), hasattr(sys.modules["__main__"], "mutate")
assert on_ranks(mutate) == ["bits"]*2
assert on_ranks(look) == [(False, "nats", False, False)]*2
assert Stat.unit == "nats"
""")


def test_a_class_that_was_defined_again_is_the_one_that_comes_back(kernel):
    kernel.run("""
class Again: version = 1
old = Again()
def make(): return Again()
run = alloc.options(output=False).launch(make)""")
    kernel.run("class Again: version = 2")
    kernel.run("""
assert type(run.result(60)) is Again and run.result().version == 2
def look(x, y): return x.version, y.version, type(y) is sys.modules["__main__"].Again
assert on_ranks(look, old, Again()) == [(1, 2, True)]*2""")


def test_a_model_is_saved_and_loaded_in_checkpoints(kernel, tmp_path):
    kernel.run(f"""
import os
def train(again):
    if state := lb.load_checkpoint(): return type(state["net"]) is Net, state["stat"], dist.get_rank()
    torch.save(Net(), f"{tmp_path}/net-{{dist.get_rank()}}.pt")
    lb.save_checkpoint({{"net": Net(), "stat": Stat(2.)}}, 1)
    lb.save_checkpoint({{"net": Net(), "stat": Stat(3.)}}, 2, wait=False)
    lb.save_checkpoint({{"net": Net(), "stat": Stat(4.)}}, 3)
    if again: os._exit(3)
run = alloc.options(max_restarts=1, output=False).launch(train, True)
assert run.results(60) == [(True, Stat(4.), 0), (True, Stat(4.), 1)]
assert type(torch.load("{tmp_path}/net-1.pt", weights_only=False)) is Net
from lepton_bench.store.checkpoints import latest_checkpoint, read_checkpoint
assert read_checkpoint(latest_checkpoint(run.directory))["stat"] == Stat(4.)
""")


def test_cells_on_ranks_have_what_was_pushed_and_keep_their_own(kernel):
    kernel.run("pushed, f = Stat(4.), helper")
    kernel.run("%ranks_push pushed f")
    kernel.run("""%%ranks
class Mine:
    pass
OFFSET = 100
found = [None, None]
dist.all_gather_object(found, (pushed, f))
assert found[1][0] == pushed and f(1) == 2 and type(pushed).__name__ == "Stat"
kept = Mine()
""")
    kernel.run("assert on_ranks(swap)[0][0][0][0] == Stat(.5)")
    kernel.run("""%%ranks
dist.all_gather_object(found, kept)
assert type(found[1]) is Mine and OFFSET == 100 and type(pushed) is Stat and not hasattr(__import__("__main__"), "swap")
""")
    kernel.run("%ranks_pull pushed kept")
    kernel.run("assert pushed == [Stat(4.)]*2 and type(pushed[0]) is Stat and type(kept[0]).__name__ == 'Mine'")


def test_results_are_read_by_a_kernel_that_defines_nothing_or_the_same_again(kernel, tmp_path):
    kernel.run("def give(): return Stat(9.), helper\nrun = alloc.options(output=False).launch(give); run.wait(60)")
    read = f"""import lepton_bench as lb
{{}}
stat, f = lb.get_run({kernel.value('run.id')!r}).result()
print(stat.half().loss, f(1), 'Stat' in globals() and type(stat) is Stat)"""
    for defined, said in (("", "4.5 2 False"), (DEFINITIONS, "4.5 2 True")):
        assert subprocess.run([sys.executable, "-c", read.format(defined)], capture_output=True, text=True, check=True).stdout.split() == said.split()


def test_what_a_run_held_is_given_back(kernel):
    kernel.run("""
import weakref
class Held: pass
held = Held()
def hold(): torch.held = weakref.ref(held); return torch.held() is held
def is_held(): return torch.held() is not None
assert on_ranks(hold) == [True]*2 and on_ranks(is_held) == [False]*2""")
