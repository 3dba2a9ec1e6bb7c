"""Every test runs in a place of its own (see isolation.py), and the session fails when something of ours is left there."""
import faulthandler
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support.isolation import Isolation, mirror  # noqa: E402
from support.live_kernel import Kernel  # noqa: E402
from support.slurm_cluster import THEIRS, SlurmCluster, missing  # noqa: E402

_place = Isolation.new()  # before any test module is imported: a module may read the settings at import
os.environ.pop("IN_TEST", None)
os.environ.update(_place.variables())
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", os.defpath)


def pytest_report_header() -> list[str]:
    data = mirror() or "NONE: only the offline part of the data in the repository is tested"
    return [f"lepton_bench in {_place.root}, data sets from {data}"]


_left: list[str] = []  # by this session, and by its workers when there are some (pytest-xdist)
_clusters: list[SlurmCluster] = []  # at most one


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    try:
        for cluster in _clusters: cluster.stop()
    except AssertionError as e: _left.append(str(e))
    _left.extend(_place.shut_down())
    _place.remove()
    if (output := getattr(session.config, "workeroutput", None)) is not None: output["left"] = _left
    elif _left:
        print("\nLEFT BEHIND by the tests:\n  " + "\n  ".join(_left), file=sys.stderr)
        if exitstatus in (0, 5): session.exitstatus = 1


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    "What a worker has left behind; one that crashed says nothing, and has failed already."
    _left.extend(getattr(node, "workeroutput", {}).get("left", ()))


_real_stderr: list[int] = []  # pytest replaces descriptor 2 while a test runs


def pytest_configure() -> None: _real_stderr.append(os.dup(2))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    "pytest-timeout stops its clock when a test fails; a teardown that hangs after that ends here, and says where."
    faulthandler.dump_traceback_later(90, exit=True, file=_real_stderr[0])
    try: return (yield)
    finally: faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def simulated(request: pytest.FixtureRequest) -> Iterator[None]:
    "The simulated devices that a test's or a file's mark asks for: `pytestmark = pytest.mark.simulated(2)`."
    with pytest.MonkeyPatch.context() as patch:  # of its own: the test's `monkeypatch` is set up after what it patches
        if mark := request.node.get_closest_marker("simulated"): patch.setenv("LEPTON_BENCH_SIMULATED", str(mark.args[0]))
        yield


@pytest.fixture(scope="session")
def place() -> Isolation:
    "The folder that LEPTON_BENCH_HOME, _LEASES and _SOCKETS point into."
    return _place


@pytest.fixture(scope="module", autouse=True)
def no_runs_of_others() -> None:
    "Each file of tests begins with no runs and no folders of allocations, whichever file was before it in this place."
    for folder in ("runs", "allocations"): shutil.rmtree(_place.root/"home"/folder, ignore_errors=True)


@pytest.fixture(scope="session")
def data_mirror() -> Path:
    "The folder with the full data sets."
    if not mirror(): pytest.skip("the full data sets are not here: set LEPTON_BENCH_MIRROR, or put them in ../shared/data")
    return Path(mirror())


@pytest.fixture
def new_place() -> Iterator[Isolation]:
    "A second place, for a test that wants one to itself; it must be empty of processes when the test ends."
    place = Isolation.new()
    yield place
    left = place.shut_down()
    place.remove()
    assert not left, "left behind:\n  " + "\n  ".join(left)


@pytest.fixture
def new_kernel() -> Iterator[Callable[..., Kernel]]:
    "Starts live kernels (any number), ended when the test ends."
    kernels: list[Kernel] = []

    def start(**options) -> Kernel:
        kernels.append(Kernel(**options))
        return kernels[-1]
    yield start
    for kernel in kernels: kernel.close()


@pytest.fixture
def real_kernel(new_kernel: Callable[..., Kernel]) -> Kernel:
    "One live kernel."
    return new_kernel()


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    "A real Slurm with three nodes, started when the first test asks for it; in CI it has to be possible."
    if why := missing(): (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    if not _clusters: _clusters.append(SlurmCluster().start())
    yield _clusters[0]
    _clusters[0].stop()


@pytest.fixture(scope="module")
def slurm(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    "The cluster, found by whatever runs in this process: SLURM_CONF is set as long as this file's tests run. Its nodes are idle at the beginning."
    slurm_cluster.reset()
    before = {k: v for k, v in os.environ.items() if k.startswith(THEIRS)}
    for name in before: del os.environ[name]
    os.environ.update(slurm_cluster.env)
    yield slurm_cluster
    for name in [k for k in os.environ if k.startswith(THEIRS)]: del os.environ[name]
    os.environ.update(before)
    slurm_cluster.reset()
