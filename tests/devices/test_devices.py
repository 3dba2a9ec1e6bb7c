"""What is there. There is no GPU on the test machine: NVML is a stand-in here, and only here, and it says so."""
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import lepton_bench.resources.devices as devices
from lepton_bench.errors import DeviceError
from lepton_bench.processes.identity import ProcessId
from lepton_bench.resources.devices import Device, DeviceProcess, DeviceRow, DeviceTable, foreign_processes, inventory, visible_devices
from lepton_bench.resources.leases import Holder


class FakeNvml(SimpleNamespace):
    "A stand-in for pynvml with two cards; each answer can be replaced by an exception."
    class NVMLError(Exception): pass
    class NVMLError_LibraryNotFound(NVMLError): pass
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, **answers):
        everything = {
            "nvmlInit": lambda: None, "nvmlDeviceGetCount": lambda: 2, "nvmlDeviceGetHandleByIndex": lambda i: i,
            "nvmlDeviceGetUUID": lambda h: f"GPU-ABCD-{h}", "nvmlDeviceGetName": lambda h: "Imaginary A1",
            "nvmlDeviceGetMemoryInfo": lambda h: SimpleNamespace(total=80 << 30, used=2 << 30, free=78 << 30),
            "nvmlDeviceGetUtilizationRates": lambda h: SimpleNamespace(gpu=37, memory=5), "nvmlDeviceGetPowerUsage": lambda h: 90_500,
            "nvmlDeviceGetTemperature": lambda h, sensor: 41, "nvmlDeviceGetComputeRunningProcesses": lambda h: [],
            "nvmlDeviceGetGraphicsRunningProcesses": lambda h: []}
        super().__init__(**(everything | answers))


def refuse(*_): raise FakeNvml.NVMLError("Not Supported")


@pytest.fixture
def nvml(monkeypatch):
    "Puts a stand-in for the NVIDIA library in place."
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "0")
    def put(**answers): monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(**answers))
    return put


def test_gpus_are_read_through_nvml(nvml):
    nvml()
    first, second = inventory()
    assert (first.id, first.uuid, first.kind, first.index, first.label) == ("gpu-abcd-0", "GPU-ABCD-0", "cuda", 0, "gpu-0")
    assert (first.memory_total, first.memory_free) == (80 << 30, 78 << 30)
    assert (first.utilisation, first.power, first.temperature) == (.37, 90.5, 41.)
    assert visible_devices([second, first]) == {"CUDA_VISIBLE_DEVICES": "GPU-ABCD-1,GPU-ABCD-0"}


@pytest.mark.parametrize("question, field", [
    ("nvmlDeviceGetUtilizationRates", "utilisation"), ("nvmlDeviceGetPowerUsage", "power"), ("nvmlDeviceGetTemperature", "temperature"),
    ("nvmlDeviceGetMemoryInfo", "memory_total"), ("nvmlDeviceGetComputeRunningProcesses", "processes")])
def test_a_card_that_does_not_answer_one_question(nvml, question, field):
    nvml(**{question: refuse})
    assert [getattr(d, field) for d in inventory()] == [None, None]
    assert "gpu-0" in repr(DeviceTable(DeviceRow(d, None) for d in inventory()))


def test_a_lost_card_does_not_hide_the_others(nvml):
    nvml(nvmlDeviceGetHandleByIndex=lambda i: refuse() if i == 0 else i)
    assert [d.id for d in inventory()] == ["gpu-abcd-1"]


def test_no_driver_means_cpu_slots_and_a_broken_one_is_said(nvml):
    def missing(): raise FakeNvml.NVMLError_LibraryNotFound("not found")
    nvml(nvmlInit=missing)
    assert {d.kind for d in inventory()} == {"cpu"} and devices.gpu_problem() is None
    nvml(nvmlInit=refuse)
    assert {d.kind for d in inventory()} == {"cpu"} and "does not answer" in devices.gpu_problem()


def test_processes_have_users_and_names(nvml, monkeypatch):
    me, gone = SimpleNamespace(pid=os.getpid(), usedGpuMemory=1 << 30), SimpleNamespace(pid=2**22 + 1, usedGpuMemory=None)
    nvml(nvmlDeviceGetComputeRunningProcesses=lambda h: [me], nvmlDeviceGetGraphicsRunningProcesses=lambda h: [me, gone])
    monkeypatch.setattr(devices, "_on_host", lambda: True)
    first, second = inventory()[0].processes
    assert first.compute and first.memory == 1 << 30 and first.user == devices._user_name(os.getuid()) and first.name
    assert not second.compute and second.user == "unknown"
    assert [p.pid for p in foreign_processes(inventory()[0])] == [os.getpid()] and not foreign_processes(inventory()[0], {os.getpid()})


def test_in_a_container_nobody_listed_does_not_mean_nobody(nvml, monkeypatch):
    nvml()
    monkeypatch.setattr(devices, "_on_host", lambda: True)
    assert inventory()[0].processes == ()
    monkeypatch.setattr(devices, "_on_host", lambda: False)
    assert inventory()[0].processes is None
    assert "cannot be seen" in repr(DeviceTable([DeviceRow(inventory()[0], None)]))


@pytest.mark.parametrize("files, groups, cores", [
    ({"cpu.max": "max 100000"}, "0::/\n", float("inf")),
    ({"a/b/cpu.max": "150000 100000", "a/cpu.max": "max 100000"}, "0::/a/b\n", 1.5),
    ({"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, "0::/a/b\n", 4),
    ({"cpu.max": "300000 100000"}, "0::/not/visible/in/a/container\n", 3),
    ({"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/x\n0::/\n", 2.5),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/\n3:cpuset:/\n", float("inf")),
    ({"cpu.max": "nonsense"}, "0::/\n", float("inf"))])
def test_quota_of_control_groups(tmp_path, files, groups, cores):
    for name, text in files.items():
        path = tmp_path/"root"/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path/"self").write_text(groups)
    assert devices._quota(tmp_path/"root", tmp_path/"self") == cores


def test_affinity_counts_and_two_is_the_least():
    code = ("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
            "from lepton_bench.resources.devices import usable_cores; print(usable_cores())")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "2\n"


def test_simulated_devices_reach_children_and_are_always_labelled(monkeypatch):
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "1")
    devices.simulate_devices(8)
    code = "from lepton_bench.resources.devices import inventory; print(*(d.id for d in inventory()))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said == [d.id for d in inventory()] and len(said) == 8
    table = DeviceTable(DeviceRow(d, None) for d in inventory())
    assert repr(table).count("simulated device") == 8 and table._repr_html_().count("simulated device") == 8
    assert all(row["kind"] == "simulated" and "simulated" in row["name"] for row in table.to_dicts())
    assert visible_devices(inventory()) == {"CUDA_VISIBLE_DEVICES": ""}
    devices.simulate_devices(0)
    assert not any(d.kind == "simulated" for d in inventory())


@pytest.mark.parametrize("wrong", [-1, 1.5, "2", True, None])
def test_wrong_numbers_of_simulated_devices(wrong):
    with pytest.raises(DeviceError, match="whole number"): devices.simulate_devices(wrong)


def test_ids_are_safe_in_file_names(nvml):
    nvml()
    for d in inventory() + devices._cpu_slots() + devices._simulated(2): assert Path(d.id).name == d.id and d.id.replace("-", "").isalnum()


def test_table_states(nvml):
    card = Device("gpu-x", "cuda", 0, "Imaginary A1", processes=(DeviceProcess(7, "bob", None, "python", True),))
    holder = Holder("quiet-otter", "ada", 1000, ProcessId("b", 1, 1), 0., "train.ipynb", "/home/ada")
    stuck = Holder(**{**vars(holder), "state": "quarantined"})
    table = DeviceTable([DeviceRow(card, None), DeviceRow(card, holder), DeviceRow(card, stuck)])
    assert [row.state for row in table] == ["busy (not ours)", "held", "quarantined"]
    lines = repr(table).splitlines()
    assert "bob, pid 7" in lines[1] and "ada · quiet-otter · train.ipynb" in lines[2] and "quarantined" in lines[3]
    assert json.loads(json.dumps(table.to_dicts()))[1]["holder"]["allocation"] == "quiet-otter"


def test_the_modules_of_an_inventory_are_light():
    code = """if True:
        import sys, time
        import lepton_bench.resources.devices, lepton_bench.resources.leases, lepton_bench.resources.queue
        heavy = [m for m in ("torch", "numpy", "pynvml", "IPython", "matplotlib", "zmq") if m in sys.modules]
        lepton_bench.resources.devices.inventory()
        heavy += [m for m in ("torch", "numpy") if m in sys.modules]
        print(heavy)"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
