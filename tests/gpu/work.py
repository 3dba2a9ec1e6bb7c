"""What the GPU checks launch, and torchrun beside them:   torchrun --nproc-per-node 1 tests/gpu/work.py mark|train cuda|cpu [argument]

Every function imports torch itself, so that importing this file costs nothing and touches no device.
"""
import json
import os
import sys
import time
from typing import Any


def join(kind: str) -> Any:
    "The device of this rank; the process group is brought up if nobody has done so."
    import torch
    import torch.distributed as dist
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda": torch.cuda.set_device(device)
    if not dist.is_initialized(): dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    return device


def mark(kind: str, number: float = 1.) -> dict:
    "The time at which this rank is past an `all_reduce`, and what it came to."
    import torch
    import torch.distributed as dist
    total = torch.full((1,), number, device=join(kind))
    dist.all_reduce(total)
    return {"time": time.monotonic() if total.item() == number * dist.get_world_size() else None, "total": total.item()}


def describe(kind: str) -> dict:
    "What a rank sees of its device."
    import torch
    found = {"pid": os.getpid(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "count": torch.cuda.device_count(), "files": open_devices(os.getpid())}
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(0)
        torch.zeros(1, device="cuda")
        found |= {"uuid": f"GPU-{properties.uuid}", "name": properties.name, "memory": properties.total_memory, "files": open_devices(os.getpid())}
    return found


def open_devices(pid: int) -> list[str]:
    "Which of NVIDIA's device files a process has open; CUDA opens /dev/nvidia-uvm, NVML does not."
    found = set()
    try: numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError: return []
    for number in numbers:
        try: target = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError: continue
        if target.startswith("/dev/nvidia"): found.add(target)
    return sorted(found)


def world(kind: str) -> dict:
    "Collectives on the device and beside it."
    import torch
    import torch.distributed as dist
    device = join(kind)
    near, far = torch.ones(4, device=device), torch.ones(4)
    dist.all_reduce(near)
    dist.all_reduce(far)
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, dist.get_rank())
    dist.barrier()
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if kind == "cuda" else None  # type: ignore[arg-type]
    backend = dist.group.WORLD._get_backend(device).name() if dist.group.WORLD is not None else None
    return {"near": near.sum().item(), "far": far.sum().item(), "gathered": gathered, "backend": backend, "nccl": nccl}


def train(kind: str, steps: int) -> float:
    "Samples per second of a small convolutional network in DistributedDataParallel, logging each step where that does something."
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    import lepton_bench as lb
    device = join(kind)
    torch.manual_seed(0)
    batch, width = (256, 64) if kind == "cuda" else (32, 8)
    network = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
                            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 10)).to(device)
    model = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(model.parameters(), lr=.01)
    images, labels = torch.randn(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)

    def epoch(steps: int) -> None:
        for i in range(steps):
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            lb.log(step=i, loss=loss)
            lb.progress(i + 1, steps)
        if kind == "cuda": torch.cuda.synchronize()
    epoch(max(3, steps // 5))  # warms up
    start = time.perf_counter()
    epoch(steps)
    return steps * batch / (time.perf_counter() - start)


def hold(kind: str, gigabytes: float, path: str) -> None:
    "Take memory, say so in a file, and stay."
    import torch
    kept = torch.ones(int(gigabytes * 2**30 / 4), device=join(kind) if "RANK" in os.environ else kind)
    if kind == "cuda": torch.cuda.synchronize()
    with open(path + ".new", "w") as file: json.dump({"pid": os.getpid(), "bytes": kept.numel() * 4}, file)
    os.replace(path + ".new", path)
    while True: time.sleep(1)


def too_much(kind: str) -> None:
    "Ask for more memory than the device has."
    import torch
    if kind == "cuda": torch.empty(torch.cuda.get_device_properties(0).total_memory * 2, dtype=torch.uint8, device="cuda")
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1.00 GiB of which 0.50 GiB is free. "
                                 "(said by a CPU)")


def main(what: str, kind: str, argument: str = "") -> None:
    import torch.distributed as dist
    if what == "hold": return hold(kind, .25, argument)  # a program of somebody else's, started as it is
    result = mark(kind)["time"] if what == "mark" else train(kind, int(argument))
    print(f"@@{json.dumps(result)}@@", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__": main(*sys.argv[1:])
