"""Stops that have somebody to wait for: a `%%ranks` cell when its allocation goes, and a rank in a collective whose other side has left."""
import os
import threading
import time
from pathlib import Path

import pytest
from support.waiting import until

import lepton_bench as lb
from lepton_bench.errors import RunStopped
from lepton_bench.server.actions import release_allocation
from lepton_bench.jupyter.magics import Conversation, check_answers


@pytest.fixture
def alloc(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
    monkeypatch.setenv("LEPTON_BENCH_STOP_GRACE", "1000")  # only what the test is about ends anything
    yield (found := lb.allocate(2))
    if found.alive:
        lb.attach(found.name).restart().restart()
        found.release()


class Cell:
    "A cell that runs on the ranks, and what it came to."
    def __init__(self, alloc, source: str) -> None:
        self.answers: list = []
        def work() -> None: self.answers = Conversation(alloc).ask("cell", [0, 1], source=source, file="<ranks>", label="Cell")
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def end(self, seconds: float = 60.) -> list[dict]:
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        return [answer for answer, _ in self.answers]


SAVES = """
import time
from pathlib import Path
try:
    Path({folder!r}, f"begun-{{rank}}").touch()
    while True: time.sleep(.02)
except KeyboardInterrupt:
    if rank == 0:
        time.sleep(3.5)
        Path({folder!r}, "saved").touch()
    raise
"""
DEAF = """
import time
from pathlib import Path
while True:
    try:
        Path({folder!r}, f"begun-{{rank}}").touch()
        time.sleep(60)
    except KeyboardInterrupt: pass
"""


def begun(folder: Path) -> None:
    until(lambda: all((folder/f"begun-{r}").exists() for r in (0, 1)), "the ranks' beginning", 60)


def releases(alloc): alloc.release()
def clicks_release(alloc): release_allocation(alloc.name)
def restarts(alloc): alloc.restart()


@pytest.mark.parametrize("door", [releases, restarts])
def test_a_cell_has_time_to_save_when_its_ranks_go(alloc, tmp_path, door, capsys):
    cell = Cell(alloc, SAVES.format(folder=str(tmp_path)))
    begun(tmp_path)
    door(alloc)
    answers = cell.end()
    assert (tmp_path/"saved").exists() and [a["status"] for a in answers] == ["stopped", "stopped"]
    said = capsys.readouterr().err
    if door is releases:
        assert "waiting for rank 0" in said and "releasing or interrupting once more kills" in said and not alloc.alive
        with pytest.raises(RunStopped, match="the allocation has ended .released."): check_answers(answers)
    else:
        assert "waiting for rank 0" in said
        assert alloc.launch(os.getpid).result(timeout=60)


@pytest.mark.parametrize("door", [releases, clicks_release, restarts])
def test_a_second_time_does_not_wait_for_a_cell(alloc, tmp_path, door):
    cell = Cell(alloc, DEAF.format(folder=str(tmp_path)))
    begun(tmp_path)
    first = threading.Thread(target=door, args=(alloc,), daemon=True)
    first.start()
    until(lambda: alloc.info["stopping"] == [0, 1], "word of who is waited for", 20)
    door(alloc)
    first.join(40)
    assert not first.is_alive() and [a["status"] for a in cell.end()] == ["died", "died"]


def joins(folder: str, saves: bool = False) -> None:
    "Rank 0 leaves at once. Rank 1 waits for it at the store, where no connection breaks; or it saves for a while."
    import torch.distributed as dist
    rank = dist.get_rank()
    Path(folder, f"begun-{rank}").touch()
    if rank and not saves: dist.new_group([0, 1])
    try:
        while True: time.sleep(.02)
    except KeyboardInterrupt:
        if rank:
            time.sleep(5)
            Path(folder, "saved").touch()
        raise


def test_a_stop_does_not_wait_for_a_rank_that_waits_for_one_that_has_left(alloc, tmp_path):
    run = alloc.launch(joins, str(tmp_path))
    begun(tmp_path)
    assert run.stop(timeout=60).status == "stopped" and not (tmp_path/"saved").exists()


def test_a_save_of_five_seconds_is_waited_for(alloc, tmp_path):
    run = alloc.launch(joins, str(tmp_path), saves=True)
    begun(tmp_path)
    assert run.stop(timeout=60).status == "stopped" and (tmp_path/"saved").exists()
