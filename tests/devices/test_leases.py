"""Who holds what: the hard cases, made for real. See also test_lease_race.py."""
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.leasing import OTHER_UID, Child, ask, needs_root, shared_folder, until

import lepton_bench.resources.leases as leases
from lepton_bench.errors import DeviceError
from lepton_bench.resources.leases import Holder, adopt, holder_of, lease_directory, try_lease


@pytest.fixture
def folder(monkeypatch):
    "A lease folder that two users can use; no lock may be left in it."
    root = Path(tempfile.mkdtemp(prefix="lb-leases-", dir="/tmp"))
    monkeypatch.setenv("LEPTON_BENCH_LEASES", str(shared_folder(root)))
    yield root/"leases"
    held = [p.name for p in (root/"leases").glob("*.lock") if p.is_file() and not p.is_symlink() and holder_of(p.name.split(".")[1])]
    shutil.rmtree(root)
    assert not held


@pytest.fixture
def me() -> Holder: return Holder.me("quiet-otter", "train.ipynb")


def lock_file(folder: Path, name: str = "sim-0") -> Path: return folder/f"lepton_bench.{name}.lock"


def test_one_of_many_gets_a_device_that_nobody_had_before(folder, me):
    for i in range(30):
        barrier, got = threading.Barrier(8), []
        def go(i=i, barrier=barrier, got=got):
            barrier.wait()
            if lease := try_lease(f"sim-{i}", me): got.append(lease)
        threads = [threading.Thread(target=go) for _ in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert len(got) == 1 and got[0].intact()
        got[0].close()


def test_everybody_may_write_whatever_the_umask(folder, me):
    before = os.umask(0o077)
    try: lease = try_lease("sim-0", me)
    finally: os.umask(before)
    assert lock_file(folder).stat().st_mode & 0o777 == 0o666
    lease.close()


def test_a_lock_file_whose_maker_was_killed_on_the_way_is_mended_by_its_owner(folder, me):
    lock_file(folder).touch(mode=0o600)
    with try_lease("sim-0", me): assert lock_file(folder).stat().st_mode & 0o777 == 0o666 and holder_of("sim-0").allocation == "quiet-otter"


def test_file_replaced_between_open_and_lock(folder, me, monkeypatch):
    "Without the comparison after locking, two would hold `the` lock."
    real, replaced = fcntl.flock, []
    def flock(fd, how):  # the real one, after somebody replaced the file
        if not replaced:
            replaced.append(os.fstat(fd).st_ino)
            other = lock_file(folder, "other")
            other.write_text("")
            os.rename(other, lock_file(folder))
        return real(fd, how)
    monkeypatch.setattr(leases.fcntl, "flock", flock)
    with try_lease("sim-0", me) as lease:
        assert lease.intact() and os.fstat(lease.fd).st_ino != replaced[0]
        assert try_lease("sim-0", me) is None


def test_file_removed_while_held_is_noticed_by_the_holder(folder, me):
    with try_lease("sim-0", me) as lease:
        lock_file(folder).unlink()
        assert not lease.intact()
        with pytest.raises(DeviceError, match="not the lock of"): adopt("sim-0", lease.fd)


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "folder", "hard link"])
def test_what_is_not_a_plain_file_is_refused_and_not_touched(folder, me, kind):
    path, victim = lock_file(folder), folder.parent/"victim"
    victim.write_text("precious")
    if kind == "symlink": path.symlink_to(victim)
    elif kind == "dangling": path.symlink_to(folder.parent/"not-there")
    elif kind == "fifo": os.mkfifo(path)
    elif kind == "folder": path.mkdir()
    else: os.link(victim, path)
    with pytest.raises(DeviceError, match="not a plain file"): try_lease("sim-0", me)
    holder_of("sim-0")  # says free or unknown, and does not hang or raise
    assert victim.read_text() == "precious" and not (folder.parent/"not-there").exists()


@needs_root
def test_two_users_share_a_sticky_folder(folder, me):
    with try_lease("sim-0", me):
        assert ask("say([try_lease('sim-0', Holder.me('brave-finch')) is None, holder_of('sim-0').user, holder_of('sim-0').state])",
                   OTHER_UID) == [True, me.user, "held"]
    with Child("lease = try_lease('sim-0', Holder.me('brave-finch')); say(lease is not None); stay()", OTHER_UID) as other:  # root's file
        assert other.hear() and try_lease("sim-0", me) is None
        assert (holder_of("sim-0").uid, holder_of("sim-0").allocation, holder_of("sim-0").state) == (OTHER_UID, "brave-finch", "held")
    with Child("lease = try_lease('sim-1', Holder.me('brave-finch')); say(os.getuid()); stay()", OTHER_UID) as other:  # his own file
        assert other.hear() == OTHER_UID and try_lease("sim-1", me) is None
    with try_lease("sim-1", me): assert lock_file(folder, "sim-1").stat().st_uid == OTHER_UID


@needs_root
def test_the_other_user_cannot_replace_a_lock_file(folder, me):
    code = f"""
        said = []
        for act in (lambda: os.unlink({str(lock_file(folder))!r}), lambda: os.rename({str(lock_file(folder))!r}, '/tmp/lb-taken')):
            try: act(); said.append('done')
            except PermissionError: said.append('refused')
        say(said)"""
    with try_lease("sim-0", me) as lease: assert ask(code, OTHER_UID) == ["refused", "refused"] and lease.intact()


@needs_root
def test_a_lock_file_that_may_not_be_written_names_its_owner(folder, me):
    lock_file(folder).touch(mode=0o600)
    code = """
        try: try_lease('sim-0', Holder.me('x')); say('taken')
        except leases.DeviceError as e: say(str(e))"""
    said = ask(code, OTHER_UID)
    assert "root" in said and "chmod 666" in said


def test_kill_9_frees_within_two_seconds(folder, me):
    for _ in range(5):
        with Child("lease = try_lease('sim-0', Holder.me('brave-finch')); say(lease is not None); stay()") as child:
            assert child.hear() and try_lease("sim-0", me) is None
            child.process.send_signal(signal.SIGKILL)
            assert until(lambda: holder_of("sim-0") is None, 2.) < 2.
    with try_lease("sim-0", me) as lease: assert lease


def test_an_inherited_descriptor_keeps_the_lease_and_reads_as_quarantined(folder, me):
    code = """
        lease = try_lease('sim-0', Holder.me('brave-finch'))
        rank = subprocess.Popen(['sleep', '60'], pass_fds=[lease.fd])
        say(rank.pid); stay()"""
    with Child(code) as supervisor:
        rank = supervisor.hear()
        assert holder_of("sim-0").state == "held"
        supervisor.kill()
    assert holder_of("sim-0").state == "quarantined" and holder_of("sim-0").allocation == "brave-finch"
    assert try_lease("sim-0", me) is None
    os.kill(rank, signal.SIGKILL)  # pid of our own grandchild, alive until here
    until(lambda: holder_of("sim-0") is None)


def test_a_plain_child_does_not_keep_it(folder, me):
    with try_lease("sim-0", me) as lease, subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        lease.close()
        with try_lease("sim-0", me) as again: assert again
        child.stdin.close()


def test_a_descriptor_travels_over_a_unix_socket(folder, me):
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    code = f"""
        import socket
        _, fds, _, _ = socket.recv_fds(socket.socket(fileno={theirs.fileno()}), 1, 1)
        lease = adopt('sim-0', fds[0])
        say(lease.intact()); stay()"""
    with ours, theirs, try_lease("sim-0", me) as lease, Child(code, pass_fds=[theirs.fileno()]) as forkserver:
        socket.send_fds(ours, [b"x"], [lease.fd])
        assert forkserver.hear()
        lease.close()
        assert try_lease("sim-0", me) is None
        forkserver.end()
        until(lambda: holder_of("sim-0") is None)


def test_adopting_what_is_not_held(folder, me):
    with try_lease("sim-0", me), try_lease("sim-1", me) as wrong:
        with pytest.raises(DeviceError, match="not the lock of sim-0"): adopt("sim-0", wrong.fd)
        with open(lock_file(folder), "r+b") as another, pytest.raises(DeviceError, match="somebody else"): adopt("sim-0", another.fileno())


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[1]", b"{}", b'"text"', b"\xff\xfe\x00", b'{"process": 3}', b"1e999", b"x"*5000,
                                     b'{"allocation":"a","user":"b","uid":"c","process":{},"since":0,"label":"","home":""}'])
def test_an_unreadable_description_only_means_unknown(folder, me, content):
    with try_lease("sim-0", me) as lease:
        os.ftruncate(lease.fd, 0)
        os.pwrite(lease.fd, content, 0)
        assert holder_of("sim-0").state == "unknown" and try_lease("sim-0", me) is None
    assert holder_of("sim-0") is None
    with try_lease("sim-0", me): assert holder_of("sim-0") == me


def test_descriptions_of_any_length_and_language(folder, me):
    for label in ("", "x"*10_000, "é"*4000, "\U0001f9a6"*3000, "\udcff.ipynb", '"quoted"\n\x00', "\x01"*4000):
        with try_lease("sim-0", replace(me, label=label)):
            found = holder_of("sim-0")
            assert (found.state, found.user, found.process) == ("held", me.user, me.process) and label.startswith(found.label[:1])
    assert lock_file(folder).stat().st_size == 4096


def test_a_full_disk_does_not_prevent_a_lease(folder, me):
    "The fault is made by a limit on file sizes: every write fails."
    code = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        lease = try_lease('sim-0', Holder.me('brave-finch'))
        say(lease is not None and lease.intact()); stay()"""
    with Child(code, stderr=subprocess.DEVNULL) as child:
        assert child.hear() and holder_of("sim-0").state == "unknown" and try_lease("sim-0", me) is None
    until(lambda: holder_of("sim-0") is None)
    with try_lease("sim-0", me): assert holder_of("sim-0") == me


def test_looking_does_not_get_in_the_way(folder, me):
    "Fails when try_lease believes the first refusal."
    stop = threading.Event()
    def look():
        while not stop.is_set(): holder_of("sim-0")
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for t in lookers: t.start()
    try:
        for _ in range(200):
            lease = try_lease("sim-0", me, patience=1.)  # a busy test machine may stop a looker in the middle of its look
            assert lease is not None
            lease.close()
    finally:
        stop.set()
        for t in lookers: t.join()


def test_a_look_that_was_forked_along_keeps_nothing(folder, me):
    "A copy of the looking descriptor lives on, as in a child that another thread forked."
    with try_lease("sim-0", me): pass
    with open(lock_file(folder), "rb") as file:
        copy = os.dup(file.fileno())
        assert not leases.is_locked(file.fileno())
    with try_lease("sim-0", me) as lease: assert lease
    os.close(copy)


def test_closing_twice_and_leaving_by_an_exception(folder, me):
    with pytest.raises(RuntimeError), try_lease("sim-0", me) as lease: raise RuntimeError
    lease.close()
    assert holder_of("sim-0") is None and not lease.intact() and "closed" in repr(lease)


@pytest.mark.parametrize("wrong", ["", ".", "..", "../x", "a/b", "a b", "-x", "x"*200, "gpu\n", "gpu\x00"])
def test_ids_that_leave_the_folder(folder, me, wrong):
    with pytest.raises(DeviceError, match="cannot be the id"): try_lease(wrong, me)


def test_lease_folders_that_cannot_be_trusted(monkeypatch, tmp_path):
    def use(path): monkeypatch.setenv("LEPTON_BENCH_LEASES", str(path))
    (tmp_path/"open").mkdir()
    (tmp_path/"open").chmod(0o777)
    use(tmp_path/"open")
    with pytest.raises(DeviceError, match=r"chmod \+t"): lease_directory()
    (tmp_path/"open").chmod(0o1777)
    assert lease_directory() == tmp_path/"open"
    (tmp_path/"file").touch()
    use(tmp_path/"file")
    with pytest.raises(DeviceError, match="not a folder"): lease_directory()
    use(tmp_path/"file"/"below")
    with pytest.raises(DeviceError, match="LEPTON_BENCH_LEASES"): lease_directory()
    use(tmp_path/"new"/"folder")
    assert lease_directory().is_dir()


@pytest.mark.parametrize("kind, refused", [
    ("nfs", True), ("nfs4", True), ("cifs", True), ("lustre", True), ("fuse.sshfs", True),
    ("tmpfs", False), ("ext4", False), ("overlay", False), ("fuse.fuse-overlayfs", False)])
def test_network_file_systems_are_refused(kind, refused, tmp_path, monkeypatch):
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / /srv/shared\\040disk rw,noatime shared:4 - {kind} server:/x rw"
    found = leases._file_system("/srv/shared disk/locks", mounts)
    assert found == kind and bool(leases._NETWORK.fullmatch(found)) == refused
    assert leases._file_system("/srv/shared diskette", mounts) == "ext4"
    monkeypatch.setattr(leases, "_file_system", lambda folder, mounts: kind)  # mounting one takes a server
    monkeypatch.setenv("LEPTON_BENCH_LEASES", str(tmp_path))
    if refused:
        with pytest.raises(DeviceError, match=f"network file system .{kind}"): lease_directory()
    else: assert lease_directory() == tmp_path
    leases._refuse_unsafe.cache_clear()


def test_without_a_setting_the_folder_is_the_same_for_all_users(monkeypatch):
    monkeypatch.delenv("LEPTON_BENCH_LEASES")
    try: chosen = lease_directory()
    except DeviceError as e: pytest.skip(f"this host has no common folder: {e}")
    found = chosen.stat()
    assert str(chosen) in ("/run/lock", "/dev/shm") and found.st_uid == 0 and found.st_mode & 0o1777 == 0o1777


def test_state_is_derived_and_never_written(folder, me):
    with try_lease("sim-0", replace(me, state="quarantined")):
        assert "state" not in json.loads(lock_file(folder).read_text()) and holder_of("sim-0").state == "held"
