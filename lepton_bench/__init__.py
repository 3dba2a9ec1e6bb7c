"""A workbench inside JupyterLab for people who train models."""
# Written by hand. Names are looked up when they are first used, so that `import lepton_bench` loads neither torch nor a notebook's worth of modules.
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "BenchError": "errors", "devices": "bench", "allocate": "bench", "attach": "bench", "allocations": "bench", "runs": "run", "get_run": "run",
    "compare": "comparison",
    "simulate_devices": "resources.devices", "log": "runs.ring", "progress": "workers.rank",
    "save_checkpoint": "workers.rank", "load_checkpoint": "workers.rank",
}
__all__ = list(_VERBS)


def __getattr__(name: str) -> Any:
    if name not in _VERBS: raise AttributeError(f"module 'lepton_bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"lepton_bench.{_VERBS[name]}"), name)
    globals()[name] = value  # the next look-up costs nothing
    return value


def __dir__() -> list[str]: return sorted([*globals(), *__all__])
