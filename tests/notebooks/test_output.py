"""What a person sees of a run while it goes on and when it has ended: progress bars, the progress line, folding, tracebacks, tables."""
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import AllocationError, BenchError
from lepton_bench.display.output import CellOutput, Ending, TerminalOutput, Watch
from lepton_bench.display.progress import ProgressLine
from lepton_bench.api.runs import RunTable
from lepton_bench.client.run import summary_line
from lepton_bench.metrics.ring import Ring
from lepton_bench.store.runs import RunRecord, ring_path


class Terminal(io.StringIO):
    "A terminal that remembers all that was drawn."
    def isatty(self) -> bool: return True

    def rows(self) -> list[str]:
        "What it shows at the end."
        return [row.rpartition("\r\033[K")[2] for row in self.getvalue().split("\n")]


class Handle:
    "A display in a notebook."
    def __init__(self): self.bundles = []
    def update(self, bundle): self.bundles.append(bundle)


class Cell(CellOutput):
    "A cell's output without a kernel."
    def open(self):
        if self.handle: return
        self.handle = Handle()
        self.handle.update(self.bundle())


@pytest.fixture(scope="module")
def alloc() -> Iterator:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_BENCH_SIMULATED", "2")
        patch.setenv("COLUMNS", "200")
        found = lb.allocate(2, name="output")
        yield found
        found.release()


def follow(run, output=None):
    "Watch a run to its end."
    output = output or TerminalOutput(Terminal())
    watch = Watch(run.directory, run.record.world_size, lambda: summary_line(run), output)
    end = time.monotonic() + 60
    while not watch.step():
        assert time.monotonic() < end
        time.sleep(.02)
    return output


def told(path: Path) -> bool:
    "In a rank: wait until the test has made a file, bounded."
    import time
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end: time.sleep(.01)
    return path.exists()


# --- bars -----------------------------------------------------------------------------------------

def test_a_thousand_updates_of_tqdm_on_two_ranks_are_one_line(alloc):
    def train():
        import time

        from tqdm import tqdm
        for _ in tqdm(range(1000), desc="train", mininterval=0): time.sleep(.0005)
        print("saved")
    run = alloc.options(output=False).launch(train)
    terminal = follow(run).stream
    rows = terminal.rows()
    assert len(rows) == 4 and rows[0].startswith("[0-1] train: 100%|") and "1000/1000" in rows[0] and rows[1] == "[0-1] saved", rows
    assert terminal.getvalue().count("\r\033[K") > 3, "it moved while the ranks worked"
    assert [line.partition("|")[0] for line in run.logs().splitlines()] == ["[0-1] train: 100%", "[0-1] saved"]


def test_nested_bars_of_tqdm_leave_a_line_each_epoch_at_most(alloc):
    def train():
        from tqdm import tqdm
        for _ in tqdm(range(3), desc="epochs", mininterval=0):
            for _ in tqdm(range(300), desc="batches", mininterval=0, leave=False): pass
    run = alloc.options(output=False).launch(train).wait(60)
    assert len(run.logs().splitlines()) <= 4, run.logs()
    assert len(run.logs(rank=1).splitlines()) <= 4


# --- the progress line ----------------------------------------------------------------------------

def test_a_run_says_how_far_it_is_and_what_it_came_to(alloc):
    def train():
        import time
        for i in range(200):
            lb.log(step=i, loss=1/(i + 1))
            lb.progress(i + 1, 200)
            time.sleep(.01)
        lb.log(step=199, acc=.875)
    output = follow(alloc.options(output=False).launch(train))
    seen = [part for part in output.stream.getvalue().split("\r\033[K") if part.startswith("train: step")]
    assert any(re.search(r"step \d+ of 200 \(\d+ %\), [\d.]+ steps/s, \d s left, loss 0\.\d+.*, 2 ranks", part) for part in seen), seen
    assert re.search(r"\(train\) is done in [\d.]+ s: 200 steps, loss 0.005, acc 0.875$", output.stream.rows()[-2])


def test_progress_shows_in_a_cell_and_is_gone_at_the_end(alloc, tmp_path):
    def train(path):
        lb.log(step=7, loss=.5)
        lb.progress(8, 32)
        assert told(path)
    run, cell = alloc.options(output=False).launch(train, tmp_path/"enough"), Cell()
    watch = Watch(run.directory, 2, lambda: summary_line(run), cell)
    until(lambda: watch.step() or (cell.handle and "width:25.0%" in cell.handle.bundles[-1]["text/html"]), "a bar", 20)
    assert "train: step 8 of 32 (25 %), loss 0.5" in cell.handle.bundles[-1]["text/plain"]
    until(lambda: watch.step() or "GiB" in cell.handle.bundles[-1]["text/plain"], "what the system says", 20)
    (tmp_path/"enough").touch()
    until(watch.step)
    last = cell.handle.bundles[-1]
    assert "width:" not in last["text/html"] and last["text/plain"].endswith("8 steps, loss 0.5") and len(last["text/plain"].splitlines()) == 1


def test_a_run_that_waits_and_one_that_says_nothing(alloc, tmp_path):
    first = alloc.options(output=False).launch(told, tmp_path/"enough")
    second, cell = alloc.options(output=False).launch(len, "abc"), Cell()
    silent = Cell()
    watches = [Watch(run.directory, 2, lambda run=run: summary_line(run), out) for run, out in ((first, silent), (second, cell))]
    def shows(out, words): return [w.step() for w in watches] and out.handle and words in out.handle.bundles[-1]["text/plain"]
    until(lambda: shows(cell, "len: waits for its turn"), timeout=20)
    until(lambda: shows(silent, "told: running for 2 s, 2 ranks"), timeout=20)
    (tmp_path/"enough").touch()
    until(lambda: all(w.step() for w in watches))
    assert re.fullmatch(r"run \S+ \(len\) is done in [\d.]+ s", cell.handle.bundles[-1]["text/plain"])


def test_ranks_that_are_behind_are_named_and_a_second_attempt_begins_again(tmp_path):
    (tmp_path/"rings").mkdir()
    record = RunRecord("r", "train", status="running", started=time.time(), world_size=4)
    rings = [Ring.create(ring_path(tmp_path, 0, r), 16, r) for r in range(4)]
    for ring, done in zip(rings, (1000, 995, 400, 1000)): ring.set_progress(done, 2000)
    line = ProgressLine(tmp_path, 4)
    assert line.look(record).text == "train: step 1,000 of 2,000 (50 %), rank 2 at step 400, 4 ranks"
    again = Ring.create(ring_path(tmp_path, 1, 0), 16)
    again.log(3, {"loss": float("nan")})
    assert line.look(RunRecord("r", "train", status="running", started=time.time(), world_size=4, attempt=1)).text == "train: step 3, loss nan, 4 ranks"
    line.close()
    assert not line.due(), "at most four times a second"
    for ring in (*rings, again): ring.close()


# --- folding and errors ---------------------------------------------------------------------------

def test_a_long_output_is_folded_and_a_failure_expands(alloc):
    def train():
        import torch.distributed as dist
        for i in range(300): print("line", i)
        dist.barrier()
        if dist.get_rank() == 1: raise ValueError("bad <batch>")
        dist.barrier()
    run = alloc.options(output=False).launch(train)
    cell = follow(run, Cell())
    text, drawn = cell.handle.bundles[-1]["text/plain"], cell.handle.bundles[-1]["text/html"]
    assert re.match(r"\.\.\. \d+ more lines before these: run\.logs\(\)", text) and len(text.splitlines()) <= 110
    assert text.splitlines()[-1] == f"run {run.id} (train) failed: rank 1 raised ValueError: bad <batch>"
    assert drawn.count("ValueError: bad &lt;batch&gt;") == 2, "in the one line, and in the traceback that opens"
    assert drawn.index("--jp-error-color1") < drawn.index("<details") < drawn.index("Traceback (most recent call last)")
    assert drawn.count("Traceback (most recent call last)") == text.count("Traceback (most recent call last)") == 1
    assert "<batch>" not in drawn


def test_colours_of_a_terminal_are_left_out_in_html():
    cell = Cell()
    cell.show(["\033[31mred\033[0m <b>", "\033]0;title\007quiet"], end=Ending("over"))
    assert "title" not in cell.handle.bundles[-1]["text/html"] and "quiet" in cell.handle.bundles[-1]["text/html"]
    assert cell.handle.bundles[-1]["text/html"].count("red &lt;b&gt;") == 1 and "\033" not in cell.handle.bundles[-1]["text/html"]


def test_a_terminal_line_is_never_longer_than_a_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    output = TerminalOutput(Terminal())
    output.show([], ["x"*100])
    assert output.stream.getvalue() == "x"*39


def test_an_error_in_a_cell_shows_the_persons_line_and_the_message():
    with pytest.raises(AllocationError) as caught: lb.attach("never-was")
    shown = caught.value._render_traceback_()
    assert 'lb.attach("never-was")' in shown[0] and "test_output.py" in shown[0] and "there is no allocation 'never-was'" in shown[-1]
    assert not any("bench.py" in line or "run.py" in line for line in shown)


def test_an_error_while_another_is_handled_hides_neither():
    with pytest.raises(BenchError) as caught:
        try: raise ValueError("theirs")
        except ValueError: lb.attach("never-was")
    assert "ValueError: theirs" in "".join(caught.value._render_traceback_())


# --- tables ---------------------------------------------------------------------------------------

def test_many_runs_are_folded_and_states_are_words_with_a_colour():
    table = RunTable([RunRecord(f"2026-{i:04d}", "a name <b> " + "that is long "*10 if i == 1 else "cnn", status=("done", "failed", "running")[i % 3])
                      for i in range(500)])
    drawn = table._repr_html_()
    assert drawn.count("<tr>") == 51 and "... 450 more" in drawn and "... 450 more" in repr(table)
    assert re.search(r"--jp-error-color1[^>]*>failed<", drawn) and "<b>" not in drawn and "title='a name &lt;b&gt;" in drawn
    part = table[450:]
    assert isinstance(part, RunTable) and part.row(part[0])[0] == "2026-0450" and len(part.to_dicts()) == 50
    assert RunTable([])._repr_html_().startswith("no runs yet")


# --- what a clumsy user found -------------------------------------------------------------------------

def test_nothing_after_a_very_long_line_or_bar_is_lost(alloc):
    def f():
        print("first")
        print("z"*3_000_000)
        for i in range(40_000): print(f"\r{i} of 40000 {'='*20}", end="")
        print()
        print("IMPORTANT")
    run = alloc.launch(f).wait(60)
    assert run.logs().endswith("IMPORTANT") and run.logs(0).endswith("IMPORTANT") and "39999 of 40000" in run.logs(0)
    cell = follow(run, Cell())
    assert "IMPORTANT" in cell.handle.bundles[-1]["text/plain"] and len(cell.handle.bundles[-1]["text/html"]) < 100_000


def test_a_progress_that_is_no_number_does_not_end_the_following(alloc):
    def f():
        import lepton_bench as lb
        lb.progress(float("nan"), 10)
        print("IMPORTANT")
    run = alloc.launch(f).wait(60)
    assert "IMPORTANT" in follow(run, Cell()).handle.bundles[-1]["text/plain"]


@pytest.mark.alone
def test_many_lines_of_many_ranks_are_folded_in_time():
    from lepton_bench.display.output import Line, fold
    from collections import deque
    queues = {r: deque(Line(f"line {i} of rank {r}" if i % 3 else f"line {i}", 0., i) for i in range(3000)) for r in range(8)}
    start = time.monotonic()
    shown = fold(queues, 10.)
    assert len(shown) == 1000 + 8*2000 and sum(len(ranks) == 8 for ranks, _ in shown) == 1000 and time.monotonic() - start < 5


def test_an_interrupt_that_nobody_sent_is_a_failure(alloc):
    def f():
        import torch.distributed as dist
        if dist.get_rank() == 1: raise KeyboardInterrupt
        return 5
    run = alloc.launch(f).wait(60)
    assert run.status == "failed" and "rank 1 raised KeyboardInterrupt" in run.record.reason


def test_the_words_of_sys_exit_are_kept(alloc):
    def f():
        import sys
        sys.exit("no data at /nowhere")
    run = alloc.launch(f).wait(60)
    assert run.status == "failed" and "no data at /nowhere" in run.logs()


def test_a_rank_cannot_allocate(alloc):
    def f():
        import lepton_bench as lb
        lb.allocate(1)
    run = alloc.launch(f).wait(60)
    assert run.status == "failed" and "a rank cannot allocate" in run.record.reason
