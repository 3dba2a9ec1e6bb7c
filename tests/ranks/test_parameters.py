"""What people pass to a notebook, numbers of numpy and torch among it, and notebooks that name neither a kernel nor a language."""
import json
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pytest
import torch
from support.headless_notebooks import read_text, write_notebook
from house.test_cli import bench

import lepton_bench as lb
from lepton_bench.errors import BenchError
from lepton_bench.headless.notebook_tests import check_notebooks
from lepton_bench.store.plain_values import plain
from lepton_bench.store.runs import runs_directory

CELLS = ("width = 32\nlr = .1\nplace = ''\nsizes = []",
         "import lepton_bench as lb\nprint('types', type(width).__name__, type(lr).__name__)\nlb.record('product', width*lr)")


class Kind(Enum): ADAM = "adam"
class Size(IntEnum): SMALL = 8


pytestmark = pytest.mark.simulated(2)


def bare(path: Path, *cells: str, **metadata) -> Path:
    "A notebook that was written by a program: it says nothing of a kernel, or only what is given."
    found = json.loads(write_notebook(path, *(cells or CELLS)).read_text())
    path.write_text(json.dumps({**found, "metadata": metadata}))
    return path


@pytest.mark.parametrize("given, wanted", [
    (np.int64(3), 3), (np.uint8(3), 3), (np.float16(.5), .5), (np.longdouble(.5), .5), (np.bool_(False), False), (np.str_("a"), "a"),
    (np.array(2), 2), (np.array([[1, 2]]), [[1, 2]]), (torch.tensor(.5), .5), (torch.tensor(.5, dtype=torch.bfloat16), .5), (torch.tensor(True), True),
    (torch.tensor([1., 2.], requires_grad=True), [1., 2.]), (torch.Size([2, 3]), [2, 3]),
    ([np.int64(1), (torch.tensor(2), {"a": np.float32(.5)})], [1, [2, {"a": .5}]]),
    (Kind.ADAM, "adam"), (Size.SMALL, 8), ([Size.SMALL], [8]), (Path("a/b"), "a/b"), (Decimal("2.5"), 2.5), (Decimal(2), 2),
    (date(2026, 1, 2), "2026-01-02"), (np.datetime64("2026-01-02"), "2026-01-02"), (range(3), [0, 1, 2]), (None, None), ({"a": {}}, {"a": {}})], ids=repr)
def test_plain_forms(given, wanted):
    found = plain(given)
    assert found == wanted and type(found) is type(wanted)
    assert json.loads(json.dumps(found)) == wanted


NO_VALUES = [3j, {1, 2}, b"x", print, int, np.float32, object(), timedelta(1), torch.zeros(2, device="meta"), np.array([1j]), np.array([object()]),
             torch.float32,
             (x for x in "ab"), Kind]


@pytest.mark.parametrize("value", NO_VALUES, ids=lambda v: type(v).__name__)
def test_what_has_no_plain_form_is_refused_with_its_name_and_type(value, tmp_path):
    notebook = write_notebook(tmp_path/"train.ipynb", *CELLS)
    before = list(runs_directory().glob("*"))
    from lepton_bench.client.allocation import notebook_call
    for call in (lambda: lb.sweep(notebook, [{"place": value}], devices_each=0), lambda: notebook_call(str(notebook), (), {"place": value}),
                 lambda: check_notebooks([notebook], tmp_path/"out", {"place": value})):
        with pytest.raises(BenchError, match="place: an? .*(cannot be a parameter|cannot be read)"): call()
    assert [p.name for p in tmp_path.iterdir()] == ["train.ipynb"] and list(runs_directory().glob("*")) == before


@pytest.mark.parametrize("metadata", [{}, {"language_info": {"name": "python"}}, {"kernelspec": {"name": "python3", "display_name": "Python 3"}}],
                         ids=["nothing", "language", "kernel"])
def test_a_notebook_that_says_nothing_of_its_kernel_is_swept(tmp_path, metadata):
    notebook = bare(tmp_path/"train.ipynb", **metadata)
    sweep = lb.sweep(notebook, {"width": [np.int64(64)], "lr": torch.tensor([.5]), "place": Path("a")}, devices_each=0).wait(60)
    assert sweep.status == "done", sweep.sets[0].reason
    assert sweep.sets[0].values == {"product": 32.} and sweep.sets[0].parameters == {"width": 64, "lr": .5, "place": "a"}
    assert "types int float" in read_text(tmp_path/"train-sweep"/sweep.sets[0].output)


def test_the_same_is_launched_on_an_allocation(tmp_path):
    notebook = bare(tmp_path/"train.ipynb")
    with lb.allocate(1) as alloc:
        run = alloc.launch(notebook, width=np.int64(64), lr=torch.tensor(.5, dtype=torch.bfloat16), place=Path("a"), sizes=np.arange(2))
        assert run.result(60) == {"product": 32.}
        assert run.record.parameters == {"width": 64, "lr": .5, "place": "a", "sizes": [0, 1]}
        with pytest.raises(BenchError, match="width = 'x' does not fit"): alloc.launch(notebook, width=np.str_("x"))
        counted = alloc.launch(lambda width, rate: width, np.int64(1), rate=np.float32(.5)).wait(30)
        assert counted.record.parameters == {"rate": .5}, "also a function's, for lb.compare"


def test_the_same_on_the_shell(tmp_path):
    notebook = bare(tmp_path/"train.ipynb")
    done = bench("sweep", notebook, "-p", "width=64", "-p", "lr=0.5", "--devices-each", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    done = bench("test-notebooks", notebook, "-p", "width=64")
    assert done.returncode == 0, done.stdout + done.stderr
