"""What a run leaves behind: its record, metrics, plots and checkpoints. Also the verb `lb.runs()`."""
# Written by hand. The folder and the verb have the same name, so the package can be called.
import sys
from types import ModuleType
from typing import Any


class _Runs(ModuleType):
    def __call__(self, limit: int | None = None) -> Any:
        "The runs of this home, newest first."
        from lepton_bench.run import runs
        return runs(limit)


sys.modules[__name__].__class__ = _Runs
