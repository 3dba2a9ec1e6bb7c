"""What saving a state of 500 MB costs a training loop.   python tests/benchmarks/checkpoints.py [rounds] [seconds between two saves]

Two ranks of one thread train data-parallel over gloo; rank 0 has a state of 500 MB beside its model. In turn, in one process: a stretch without saving, one
that saves in the background once, one that saves and waits. A stretch is as long as the time between two saves; the cost is the share of steps that it
lost, and the longest pause of one step.
"""
import json
import sys

from common import Figure, Kernel, place, quiet, show

CODE = '''
import lepton_bench as lb
alloc = lb.allocate(2)

def train(seconds, rounds):
    import time, torch, torch.distributed as dist
    from torch import nn
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)))
    optimiser, x = torch.optim.SGD(net.parameters(), lr=.01), torch.randn(256, 512)
    ballast = [torch.randn(1_250_000) for _ in range(100)]  # 500 MB, trained as weights are: written in place
    def step(i):
        optimiser.zero_grad(); net(x).square().mean().backward(); optimiser.step()
        ballast[i % 100].add_(1e-6)
    def stretch(save):
        dist.barrier()
        start, count, longest, saved = time.monotonic(), 0, 0., save is None
        while True:
            before = time.monotonic()
            go_on = torch.tensor([float(before - start < seconds), float(not saved and before - start > seconds/4)]); dist.broadcast(go_on, 0)
            if not go_on[0]: break
            if go_on[1]:
                lb.save_checkpoint({"model": net.state_dict(), "ballast": ballast}, stretch.number, wait=save == "waits", keep_last=1)
                saved, stretch.number = True, stretch.number + 1
            step(count); count += 1
            longest = max(longest, time.monotonic() - before)
        return count / (time.monotonic() - start), longest
    stretch.number = 0
    for save in (None, "background", "waits"): stretch(save)  # warms up
    found = []
    for r in range(rounds):
        for save in (None, "background", "waits"): found.append((save or "none", *stretch(save)))
    return found
'''


def figures(rounds: int = 3, seconds: float = 30.) -> list[Figure]:
    with place() as where, Kernel(where) as kernel:
        kernel.run(CODE)
        quiet(where)
        found = json.loads(
            kernel.run(f"import json; r = alloc.options(output=False).launch(train, {seconds}, {rounds}).result(); print('@@' + json.dumps(r) + '@@')",
                       timeout=600).split("@@")[1])
        kernel.run("alloc.release()")
    rates = {name: [rate for n, rate, _ in found if n == name] for name in ("none", "background", "waits")}
    pauses = {name: [longest for n, _, longest in found if n == name] for name in rates}
    lost = {name: [100 * (1 - rate/without) for rate, without in zip(rates[name], rates["none"])] for name in rates}
    return [Figure(f"a 500 MB state saved each {seconds:g} s: steps lost", "%", lost["background"], {"saving and waiting": lost["waits"]}, limit=5.),
            Figure("longest step", "s", pauses["background"], {"saving and waiting": pauses["waits"], "without saving": pauses["none"]})]


if __name__ == "__main__": show(figures(*(kind(x) for kind, x in zip((int, float), sys.argv[1:3]))))
