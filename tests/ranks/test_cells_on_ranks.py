"""`%%ranks` in a live kernel with two ranks: what people type, and what goes wrong."""
import threading
import time
from collections.abc import Iterator

import pytest
from support.live_kernel import Kernel
from support.waiting import until

ENV = {"LEPTON_BENCH_SIMULATED": "2", "LEPTON_BENCH_STOP_GRACE": "1"}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    kernel = Kernel(env=ENV)
    try:
        kernel.run("import os, time, torch\nimport lepton_bench as lb\nalloc = lb.allocate(2)")
        yield kernel
        kernel.run("alloc.release()")
    finally: kernel.close()


def fails(kernel: Kernel, code: str) -> str:
    "What a cell says that must fail."
    text = kernel.run(code, check=False)
    assert any(m["msg_type"] == "error" for m in kernel.messages), f"the cell did not fail:\n{text}"
    return text


def test_variables_stay_and_values_are_grouped(kernel):
    assert kernel.run("%%ranks\nsame, own = torch.arange(6).reshape(2, 3), rank\nown") == "[0] 0\n[1] 1\n"
    text = kernel.run("%%ranks\ntotal = torch.tensor([float(own)])\ndist.all_reduce(total)\nsame")
    assert text.startswith("[0-1] tensor([[0, 1, 2],\n              [3, 4, 5]])") and "shape (2, 3), int64, cpu, digest" in text
    assert kernel.run("%%ranks\ntotal.item();") == "" == kernel.run("%%ranks\nNone")


def test_large_tensors_that_look_alike_are_told_apart(kernel):
    text = kernel.run("%%ranks\nbig = torch.zeros(2000, 2000)\nbig[1000, 1000] = rank\nbig")
    assert text.count("digest") == 2 and "[0] " in text and "[1] " in text


def test_what_is_printed_appears_once_with_equal_lines_folded(kernel):
    text = kernel.run("%%ranks\nprint('hello')\nprint('I am', rank)\nos = __import__('os').system('echo from a child')")
    assert "[0-1] hello" in text and "[0] I am 0" in text and "[1] I am 1" in text and "[0-1] from a child" in text
    assert "hello" not in kernel.run("%%ranks\nprint('next')")


def test_only_the_ranks_named(kernel):
    assert kernel.run("%%ranks 1\nonly = 1\nrank") == "[1] 1\n"
    assert "'only' is not defined" in fails(kernel, "%%ranks\nonly")
    assert "does not name ranks" in fails(kernel, "%%ranks 0,7\n1") and "0 to 1" in fails(kernel, "%%ranks one\n1")


def test_an_error_on_one_rank_leaves_the_others_usable(kernel):
    kernel.run("%%ranks\nkept = 5")
    text = fails(kernel, "%%ranks\ndef half(n):\n    return n/0\nif rank == 1: half(kept)\nrank")
    (count,) = [m["content"]["execution_count"] for m in kernel.messages if m["msg_type"] == "execute_input"]
    assert "ZeroDivisionError" in text and "return n/0" in text and f"Cell In[{count}], line 3" in text and "[0] 0" in text
    assert kernel.run("%%ranks\nkept, half.__name__") == "[0-1] (5, 'half')\n"


def test_rich_values_are_shown_as_a_notebook_shows_them(kernel):
    kernel.run("%%ranks\nclass Bold:\n    def _repr_html_(self): return '<b>bold</b>'\nBold()")
    (shown,) = [m["content"]["data"] for m in kernel.messages if m["msg_type"] == "display_data"]
    assert shown["text/html"] == "<b>bold</b>"
    kernel.run("%%ranks 0\nfrom matplotlib.figure import Figure\nf = Figure()\nf.subplots().plot([1, 2])\nf")
    assert any(m["content"]["data"].get("image/png", "").startswith("iVBOR") for m in kernel.messages if m["msg_type"] == "display_data")


def pictures(kernel: Kernel) -> list[str]:
    "What stands in the cell, in order: a picture, or the label above it."
    kinds = {"stream": lambda c: c["text"].strip(), "display_data": lambda c: "picture" if c["data"].get("image/png", "").startswith("iVBOR") else "other"}
    return [kinds[m["msg_type"]](m["content"]) for m in kernel.messages if m["msg_type"] in kinds]


def test_figures_are_shown_per_rank_by_show_and_at_the_end_of_the_cell(kernel):
    kernel.run("%%ranks\nimport matplotlib.pyplot as plt\nplt.plot([1, 2 + rank])\nplt.show()\nplt.plot([2, 1]);")
    assert pictures(kernel) == ["[0]", "picture", "[1]", "picture", "[0-1]", "picture"], "in order, equal ones once"
    kernel.run("%%ranks 1\nfigure, axes = plt.subplots()\nfigure")
    assert pictures(kernel) == ["[1]", "picture"], "not once as a value and once as a figure"
    kernel.run("%%ranks\nplt.get_fignums()")
    assert pictures(kernel) == ["[0-1] []"], "closed"
    fails(kernel, "%%ranks\nplt.plot([1, 2])\nraise ValueError('after the plot')")
    assert pictures(kernel)[-2:] == ["[0-1]", "picture"]
    text = kernel.run("%%ranks 0\nplt.title(r'$\\frac$');")
    assert "a figure cannot be drawn: ValueError" in text and kernel.run("%%ranks 0\n1") == "[0] 1\n"


def test_push_and_pull(kernel):
    kernel.run("table = {'a': torch.ones(3), 'f': lambda x: x + 1}\n%ranks_push table")
    assert kernel.run("%%ranks\ntable['f'](table['a'].sum().item() + rank)") == "[0] 4.0\n[1] 5.0\n"
    kernel.run("%%ranks\nlosses = [rank, rank + 1]")
    assert kernel.value("(get_ipython().run_line_magic('ranks_pull', 'losses'), losses)[1]") == [[0, 1], [1, 2]]
    assert kernel.value("(get_ipython().run_line_magic('ranks_pull', '1 losses'), losses)[1]") == [1, 2]
    assert "no variable nowhere" in fails(kernel, "%ranks_pull nowhere")
    assert "no variable nowhere" in fails(kernel, "%ranks_push nowhere")
    assert "cannot be sent" in fails(kernel, "import threading\nlock = threading.Lock()\n%ranks_push lock")
    assert "names of variables" in fails(kernel, "%ranks_pull")
    kernel.run("%%ranks\nimport threading\nlock = threading.Lock()")
    assert "cannot pickle" in fails(kernel, "%ranks_pull lock")


def test_no_ipython_on_ranks_is_said_before_anything_is_sent(kernel):
    assert "notebook's kernel only" in fails(kernel, "%%ranks\n!ls")


def test_what_is_no_python_is_shown_as_the_cell_alone(kernel):
    text = fails(kernel, "%%ranks\nx = 1\nx = = 1")
    (count,) = [m["content"]["execution_count"] for m in kernel.messages if m["msg_type"] == "execute_input"]
    (error,) = [m["content"] for m in kernel.messages if m["msg_type"] == "error"]
    assert error["ename"] == "SyntaxError" and text.splitlines()[0] == f"  Cell In[{count}], line 3" and "x = = 1" in text.splitlines()[1]
    assert text.splitlines()[-1] == "SyntaxError: invalid syntax" and len(text.splitlines()) == 4, "none of our frames"


def test_environment_and_folder_of_the_notebook(kernel, tmp_path):
    kernel.run(f"before = os.getcwd()\nos.chdir({str(tmp_path)!r})\nos.environ['LEPTON_TEST_WORD'] = 'here'")
    try: assert kernel.run("%%ranks\nimport os\nos.environ['LEPTON_TEST_WORD'], os.getcwd()") == f"[0-1] ('here', {str(tmp_path)!r})\n"
    finally: kernel.run("os.chdir(before)\ndel os.environ['LEPTON_TEST_WORD']")


def test_what_a_cell_changes_in_its_environment_stays_for_the_next(kernel):
    kernel.run("%%ranks\nimport os\nos.environ['LEPTON_TEST_WORD'] = 'kept'\nos.chdir('/')")
    assert kernel.run("%%ranks\nos.environ.get('LEPTON_TEST_WORD'), os.getcwd()") == "[0-1] ('kept', '/')\n"


def test_a_run_and_a_cell_take_turns_on_the_same_ranks(kernel, tmp_path):
    gate = tmp_path/"gate"
    kernel.run(f"def wait():\n    while not os.path.exists({str(gate)!r}): time.sleep(.01)\n    return os.getpid()\nrun = alloc.launch(wait)")
    opener = threading.Timer(1., gate.touch)
    opener.start()
    text = kernel.run("%%ranks\nimport os\nos.getpid()")
    opener.join()
    assert "waits behind run" in text
    assert all(str(pid) in text for pid in kernel.value("run.results()"))


def _interrupted(kernel: Kernel, code: str, begun) -> str:
    "What a cell says that is interrupted once it has begun."
    def work() -> None:
        until(begun, what="a cell that has begun")
        kernel.interrupt()
    thread = threading.Thread(target=work)
    thread.start()
    try: return fails(kernel, code)
    finally: thread.join()


def test_an_interrupt_ends_the_cell_and_keeps_the_ranks(kernel, tmp_path):
    kernel.run("%%ranks\nkept = 7")
    code = f"%%ranks\nopen(f'{tmp_path}/{{rank}}', 'w')\nimport time\nwhile True: time.sleep(.01)"
    start = time.monotonic()
    text = _interrupted(kernel, code, lambda: len(list(tmp_path.iterdir())) == 2)
    assert "interrupted" in text and "still there" in text and time.monotonic() - start < 20
    assert kernel.run("%%ranks\nkept") == "[0-1] 7\n"


def test_a_rank_that_hangs_in_a_collective_is_replaced_after_an_interrupt(kernel, tmp_path):
    code = f"%%ranks\nif rank == 0: raise ValueError('only here')\nopen('{tmp_path}/in', 'w')\ndist.barrier()"
    text = _interrupted(kernel, code, lambda: (tmp_path/"in").exists())
    assert "rank 1 did not answer the interrupt" in text and "All ranks are replaced" in text
    assert "[0-1] 2" in kernel.run("%%ranks\nworld_size")


def test_a_rank_that_dies_is_replaced_and_the_loss_is_said(kernel):
    kernel.run("%%ranks\nkept = 7")
    text = fails(kernel, "%%ranks\nimport os\nif rank == 1: os._exit(3)\ndist.barrier()")
    assert "exited with code 3" in text and "All ranks are replaced" in text
    text = fails(kernel, "%%ranks\nkept")
    assert "variables of earlier cells are gone" in text and "'kept' is not defined" in text


def test_a_cell_that_destroys_the_process_group_does_not_harm_the_next_run(kernel):
    kernel.run("%%ranks\ndist.destroy_process_group()")
    kernel.run("def total():\n    import torch, torch.distributed as dist\n    x = torch.ones(1)\n    dist.all_reduce(x)\n    return x.item()")
    assert kernel.value("alloc.launch(total).results()") == [2, 2]


def test_without_an_allocation_the_error_says_what_to_do(new_kernel):
    kernel = new_kernel(env=ENV)
    kernel.run("import lepton_bench as lb")
    assert "lb.allocate(2)" in fails(kernel, "%%ranks\n1")


def test_a_released_allocation_answers_its_waiting_cell(kernel, tmp_path):
    kernel.run("other = lb.attach(alloc.name)")
    code = f"%%ranks\nopen('{tmp_path}/in', 'w')\nimport time\nwhile True: time.sleep(.01)"
    name = kernel.value("alloc.name")
    def release() -> None:
        until((tmp_path/"in").exists, what="a cell that has begun")
        from lepton_bench.client.connection import connect, release
        release(connect(name))
    thread = threading.Thread(target=release)
    thread.start()
    try: assert "the allocation has ended" in fails(kernel, code)
    finally: thread.join()
    kernel.run("alloc = lb.allocate(2)")
