"""A workbench inside JupyterLab for people who train models."""
# Written by hand. Names are looked up when they are first used, so that `import lepton_bench` loads neither torch nor a notebook's worth of modules.
import sys
import threading
from importlib import import_module
from typing import Any

from lepton_bench.core.moved import MovedModules

__version__ = "0.1.0"

_VERBS = {
    "BenchError": "errors",
    "devices": "api.allocate", "allocate": "api.allocate", "attach": "api.allocate", "allocations": "api.allocate",
    "runs": "api.runs", "get_run": "api.runs",
    "compare": "api.compare", "sweep": "headless.sweeps",
    "DataLoader": "data.loader", "simulate_devices": "resources.devices", "log": "metrics.ring",
    "record": "store.recorded_values", "progress": "ranks.run_context",
    "save_checkpoint": "ranks.run_context", "load_checkpoint": "ranks.run_context",
}
_MODULES = {"widgets": "jupyter.widgets"}
__all__ = list(_VERBS | _MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES: return import_module(f"lepton_bench.{_MODULES[name]}")
    if name not in _VERBS: raise AttributeError(f"module 'lepton_bench' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"lepton_bench.{_VERBS[name]}"), name)
    globals()[name] = value  # the next look-up costs nothing
    return value


def __dir__() -> list[str]: return sorted([*globals(), *__all__])


def load_ipython_extension(shell: Any) -> None:
    "%load_ext lepton_bench, which the first use of one of its magics does by itself."
    import_module("lepton_bench.jupyter.magics").register(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    "What a Jupyter server asks for when it loads us."
    return [{"module": "lepton_bench.server.extension", "app": import_module("lepton_bench.server.extension").BenchApp}]


def _enter_notebook() -> None:
    "In IPython the magics are known by name, and what the first verb needs is imported while the person goes on."
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None: return
    for name in ("ranks", "ranks_pull", "ranks_push"): shell.magics_manager.register_lazy(name, "lepton_bench")
    threading.Thread(target=import_module, args=("lepton_bench.api.allocate",), daemon=True).start()


_enter_notebook()
sys.meta_path.append(MovedModules())
