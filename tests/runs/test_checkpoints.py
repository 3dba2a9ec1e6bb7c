"""Checkpoints under kills, full disks and damaged bytes: there is always one complete state."""
import errno
import json
import multiprocessing
import os
import random
import time
import warnings
from pathlib import Path

import pytest
import torch
from support.small_disk import fill, small_disk

from lepton_bench.errors import BenchError, DamagedError
from lepton_bench.store import checkpoints
from lepton_bench.store.checkpoints import (checkpoint_step, commit_checkpoint, latest_checkpoint, list_checkpoints, load_latest, read_checkpoint,
                                            remove_asides, write_checkpoint)

fork = multiprocessing.get_context("fork")


def save(folder: Path, state: object, step: int) -> Path: return commit_checkpoint(write_checkpoint(folder, state, step))


def test_what_people_save(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 1, 8, 8)).sum().backward()
    optimiser.step()
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "epoch": 3, "random": random.getstate(), "path": tmp_path,
             "torch": torch.get_rng_state(), "half": torch.ones(3, dtype=torch.bfloat16), "none": None}
    found = read_checkpoint(save(tmp_path, state, 7))
    for key, value in model.state_dict().items(): assert torch.equal(found["model"][key], value)
    assert found["random"] == random.getstate() and found["path"] == tmp_path and found["epoch"] == 3
    optimiser.load_state_dict(found["optimiser"])
    manifest = json.loads((tmp_path/"checkpoints/step-7/manifest.json").read_text())
    assert manifest["bytes"] == (tmp_path/"checkpoints/step-7/state.pt").stat().st_size and manifest["step"] == 7


def test_aside_does_not_count(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None and list_checkpoints(tmp_path) == [] and load_latest(tmp_path) is None
    aside = write_checkpoint(tmp_path, {"a": 1}, 5)
    assert list_checkpoints(tmp_path) == [] and load_latest(tmp_path) is None
    assert commit_checkpoint(aside).name == "step-5" and load_latest(tmp_path) == {"a": 1}
    with pytest.raises(BenchError, match="committed already"): commit_checkpoint(aside)
    with pytest.raises(BenchError, match="no checkpoint"): commit_checkpoint(tmp_path/"checkpoints"/"step-5")


def test_order_is_by_number(tmp_path: Path) -> None:
    for step in (100, 20, 3, 0): save(tmp_path, {"step": step}, step)
    for name in ("step-x", "step--1", "mystep-7", "step-900"): (tmp_path/"checkpoints"/name).mkdir()
    assert [checkpoint_step(p) for p in list_checkpoints(tmp_path)] == [0, 3, 20, 100]
    assert load_latest(tmp_path) == {"step": 100}


@pytest.mark.parametrize("step", [-1, 1.5, "3", None])
def test_wrong_steps(tmp_path: Path, step: object) -> None:
    with pytest.raises(BenchError, match="whole number"): write_checkpoint(tmp_path, {}, step)


def test_steps_of_other_types(tmp_path: Path) -> None:
    assert save(tmp_path, {}, torch.tensor(4)).name == "step-4"


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path, {"step": 1}, 1)
    with pytest.raises(BenchError, match="step 2.*generator"): write_checkpoint(tmp_path, {"x": (i for i in range(3))}, 2)
    assert [p.name for p in (tmp_path/"checkpoints").iterdir()] == ["step-1"]


def save_for_ever(folder: Path, exchange: bool, told) -> None:
    if not exchange: checkpoints._exchange = lambda a, b: False
    i = 0
    while True:
        save(folder, {"i": i, "weight": torch.full((5000,), float(i))}, 1)
        i += 1
        told.value = i


@pytest.mark.parametrize("exchange", [True, False])
def test_kills_while_the_same_step_is_saved_again(tmp_path: Path, exchange: bool) -> None:
    for attempt in range(15):
        folder, told = tmp_path/str(attempt), fork.Value("q", 0, lock=False)
        process = fork.Process(target=save_for_ever, args=(folder, exchange, told))
        process.start()
        end, until = time.monotonic() + 30, random.randrange(1, 8)
        while told.value < until and time.monotonic() < end: pass
        time.sleep(random.random() * .003)  # somewhere in the next one
        process.kill()
        process.join(10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            state = load_latest(folder)
        assert state["i"] >= told.value - 1 and bool((state["weight"] == state["i"]).all())
        remove_asides(folder)
        assert load_latest(folder)["i"] == state["i"]
        save(folder, {"i": -1}, 1)
        assert load_latest(folder)["i"] == -1 and [p.name for p in (folder/"checkpoints").iterdir()] == ["step-1"]


def test_readers_beside_a_writer_that_replaces(tmp_path: Path) -> None:
    told = fork.Value("q", 0, lock=False)
    process = fork.Process(target=save_for_ever, args=(tmp_path, True, told))
    process.start()
    end, looks = time.monotonic() + 30, 0
    while told.value < 1 and time.monotonic() < end: pass
    try:
        while looks < 200 and time.monotonic() < end:
            assert [p.name for p in list_checkpoints(tmp_path)] == ["step-1"]
            looks += 1
    finally:
        process.kill()
        process.join(10)
    assert looks == 200


def damage(path: Path, how: str) -> None:
    state, manifest = path/"state.pt", path/"manifest.json"
    if how == "flip": state.write_bytes(state.read_bytes()[:-40] + b"!" + state.read_bytes()[-39:])
    elif how == "cut": os.truncate(state, state.stat().st_size - 1)
    elif how == "empty": state.write_bytes(b"")
    elif how == "no state": state.unlink()
    elif how == "manifest": manifest.write_text("{")
    elif how == "manifest list": manifest.write_text("[1]")
    elif how == "manifest bytes": manifest.write_bytes(b"\xff\xfe")
    elif how == "no checksum": manifest.write_text("{}")
    elif how == "state is a folder":
        state.unlink()
        state.mkdir()


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "no state", "manifest", "manifest list", "manifest bytes", "no checksum", "state is a folder"])
def test_damage_is_found_and_the_one_before_is_taken(tmp_path: Path, how: str) -> None:
    for step in (1, 2): save(tmp_path, {"step": step}, step)
    damage(tmp_path/"checkpoints/step-2", how)
    with pytest.raises(DamagedError, match="step-2 is damaged"): read_checkpoint(tmp_path/"checkpoints/step-2")
    with pytest.warns(UserWarning, match="step-2.*Going on from step-1"): assert load_latest(tmp_path) == {"step": 1}
    damage(tmp_path/"checkpoints/step-1", how)
    with pytest.raises(DamagedError, match="No checkpoint"): load_latest(tmp_path)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, {"weight": torch.ones(2)}, 1)
    whole = (path/"state.pt").read_bytes()
    for at in range(len(whole)):
        (path/"state.pt").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        with pytest.raises(DamagedError): checkpoints.verify(path)


def test_a_missing_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2): save(tmp_path, {"step": step}, step)
    (tmp_path/"checkpoints/step-2/manifest.json").unlink()
    assert load_latest(tmp_path) == {"step": 1}


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path/"disk", 4 << 20) as disk:
        save(disk, {"step": 1}, 1)
        with pytest.raises(BenchError, match="step 2.*No space left.*untouched"): write_checkpoint(disk, {"big": torch.zeros(2 << 20)}, 2)
        assert [p.name for p in (disk/"checkpoints").iterdir()] == ["step-1"] and load_latest(disk) == {"step": 1}
        ballast = fill(disk)
        with pytest.raises(BenchError, match="No space left"): write_checkpoint(disk, {"step": 3}, 3)
        ballast.unlink()
        assert [p.name for p in (disk/"checkpoints").iterdir()] == ["step-1"]
        save(disk, {"step": 3}, 3)
        assert load_latest(disk) == {"step": 3}


class Mine:
    "Not a plain value."


def test_my_own_files_may_hold_anything_others_only_plain_values(tmp_path: Path) -> None:
    path = save(tmp_path, {"mine": Mine()}, 1)
    assert isinstance(read_checkpoint(path)["mine"], Mine)
    plain = save(tmp_path, {"weight": torch.ones(2)}, 2)
    if os.geteuid() != 0: pytest.skip("only root can give files away")
    for p in (path, plain): os.chown(p/"state.pt", 12345, -1)
    with pytest.raises(BenchError, match="intact but cannot be loaded"): read_checkpoint(path)
    assert read_checkpoint(plain)["weight"].tolist() == [1, 1]


def test_a_device_that_is_not_here(tmp_path: Path) -> None:
    if torch.cuda.is_available(): pytest.skip("it is here")
    path = save(tmp_path, {"weight": torch.ones(2)}, 1)
    assert read_checkpoint(path)["weight"].device.type == "cpu"
    with pytest.raises(BenchError, match="cannot be loaded here"): read_checkpoint(path, map_location="cuda")


def test_the_swap_is_what_this_kernel_does(tmp_path: Path) -> None:
    for name in "ab": (tmp_path/name).write_text(name)
    if not checkpoints._exchange(tmp_path/"a", tmp_path/"b"): pytest.skip(f"no RENAME_EXCHANGE on this file system ({errno.EINVAL})")
    assert (tmp_path/"a").read_text() == "b" and (tmp_path/"b").read_text() == "a"
    assert not checkpoints._exchange(tmp_path/"a", tmp_path/"nothing")


def test_a_reader_while_old_ones_are_thinned_out(tmp_path: Path) -> None:
    "What it has listed is gone when it comes to read it: there are newer ones."
    for step in (1, 2): save(tmp_path, {"step": step}, step)

    def read(path: Path) -> object:
        for step in (3, 4):
            if not (tmp_path/f"checkpoints/step-{step}").exists(): save(tmp_path, {"step": step}, step)
        checkpoints.thin_out(tmp_path, keep_last=2)
        return read_checkpoint(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_latest(tmp_path, read) == {"step": 4}
