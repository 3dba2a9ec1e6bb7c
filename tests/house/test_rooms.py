"""The house: every module lies on a floor, imports nothing from a higher one, and no imports go round in a circle; see docs/architecture.md."""
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LIBRARY, NOTEBOOKS = REPOSITORY/"lepton_bench", REPOSITORY/"nbs"

# From the ground up. A module may import from its own floor and from lower ones. `cli` opens every room, so it stands above all of them.
FLOORS = (("errors", "settings", "core"), ("processes", "resources", "store", "metrics"), ("ranks", "agents", "display"), ("supervisor", "engines"),
          ("kernels", "client"), ("headless",), ("api",), ("data",), ("jupyter", "server", "doctor"), ("cli", "__main__"))
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


@cache
def modules() -> dict[str, Path]:
    "Name below the package -> file."
    paths = {".".join(p.relative_to(LIBRARY).with_suffix("").parts): p for p in LIBRARY.rglob("*.py") if p.name not in ("__init__.py", "_modidx.py")}
    return dict(sorted(paths.items()))


def imported(module: str) -> Iterator[str]:
    "What a module imports of this library, also inside functions and for type checkers only."
    package = ["lepton_bench", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        names = []
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            names = [name for alias in node.names for name in (f"{base}.{alias.name}", base)]
        for name in names:
            found = name.removeprefix("lepton_bench.")
            if name.startswith("lepton_bench.") and found in modules():
                if found != module: yield found
                if name != names[-1]: break


@cache
def imports() -> dict[str, set[str]]: return {module: set(imported(module)) for module in modules()}


def room(module: str) -> str: return module.partition(".")[0]


def test_every_room_has_a_floor():
    assert {room(module) for module in modules()} == FLOOR.keys()
    assert sum(map(len, imports().values())) > 500, "the reader of imports finds them"


def test_no_module_imports_from_a_higher_floor():
    up = [f"{module} -> {other}" for module, others in imports().items() for other in others if FLOOR[room(other)] > FLOOR[room(module)]]
    assert not up


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    "One circle of a graph; None if there is none."
    done, path = set[str](), list[str]()
    def visit(node: str) -> list[str] | None:
        if node in path: return [*path[path.index(node):], node]
        if node in done: return None
        path.append(node)
        for other in sorted(graph[node]):
            if found := visit(other): return found
        done.add(path.pop())
        return None
    return next((found for node in graph if (found := visit(node))), None)


def test_no_circle_of_imports():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle(imports()) is None


def notebook_of(module: str) -> Path:
    found = re.search(r"File to edit: (?:\.\./)*(nbs/\S+\.ipynb)", modules()[module].read_text())
    assert found, module
    return REPOSITORY/found[1]


def test_a_notebook_lies_where_its_module_lies():
    wrong = [module for module in modules() if re.sub(r"^\d+_", "", notebook_of(module).stem) != module.rpartition(".")[2].strip("_")
             or notebook_of(module).relative_to(NOTEBOOKS).parts[:-1] != tuple(module.split(".")[:-1])]
    assert not wrong


def test_notebooks_are_numbered_in_reading_order():
    "Two digits; inside a folder no notebook needs one with a larger number."
    assert all(re.fullmatch(r"\d\d_\w+", notebook_of(module).stem) for module in modules())
    backwards = [f"{notebook_of(module).name} needs {notebook_of(other).name}" for module, others in imports().items() for other in others
                 if room(module) == room(other) and "." in module and notebook_of(module).name < notebook_of(other).name]
    assert not backwards


def test_the_root_has_no_more_than_it_should():
    assert {module for module in modules() if "." not in module} == {"errors", "settings", "cli", "__main__"}


@pytest.mark.parametrize("old, new", [("lepton_bench.workers.in_run", "lepton_bench.ranks.run_context"),
                                      ("lepton_bench.headless.elements", "lepton_bench.headless.slurm_task")])
def test_old_names_are_for_old_files_only(old, new):
    "They are found (nbs/core/moved), and nothing here uses them."
    from importlib import import_module
    assert import_module(old).__getattr__ and import_module(new)
    files = [p for top in (LIBRARY, REPOSITORY/"extension"/"src") for p in top.rglob("*.*") if p.suffix in (".py", ".ts", ".tsx") and p.name != "moved.py"]
    assert not [p for p in files if old in p.read_text()]
