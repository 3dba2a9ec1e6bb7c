"""What `import lepton_bench` costs, in a fresh interpreter.   python tests/benchmarks/imports.py [rounds]"""
import sys

from common import Figure, Place, place, quiet, show

TIMED = "import time; start = time.perf_counter(); import {}; took = time.perf_counter() - start; "\
        "import sys; assert {} or 'torch' not in sys.modules; print(1000*took)"


def milliseconds(where: Place, module: str, heavy: bool = False) -> float:
    "What an import takes; an error if it brings in torch and should not."
    return float(where.run("-c", TIMED.format(module, heavy)))


def figures(rounds: int = 5) -> list[Figure]:
    with place() as where:
        for module in ("lepton_bench.api.allocate", "torch"): milliseconds(where, module, True)  # the disk's cache is warm after this
        quiet(where)
        light, verbs, torch = zip(*[(milliseconds(where, "lepton_bench"), milliseconds(where, "lepton_bench.api.allocate"), milliseconds(where, "torch", True))
                                    for _ in range(rounds)])
    return [Figure("import lepton_bench, no torch in it", "ms", list(light), {"torch": list(torch)}, limit=150),
            Figure("with the verbs (first use of lb.allocate)", "ms", list(verbs), {"torch": list(torch)}, limit=150)]


if __name__ == "__main__": show(figures(int(sys.argv[1]) if sys.argv[1:] else 11))
