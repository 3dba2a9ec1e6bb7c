"""Notebooks for the tests of headless runs, written as a person would have them."""
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook


def write_notebook(path: Path, *cells: str, parameters: bool = True, kernel: str = "python3") -> Path:
    "A notebook; its first cell has the tag `parameters`, if it has parameters."
    found = new_notebook(cells=[new_code_cell(c) for c in cells],
                         metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}})
    if parameters: found.cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(found, path)
    return path


def read_text(path: Path) -> str:
    "Everything that a person sees of a notebook: its sources and its text outputs."
    def words(output: Any) -> str:
        return "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/plain", "")) + f"{output.get('ename', '')} {output.get('evalue', '')}"
    notebook = nbformat.read(path, as_version=4)
    return "\n".join([*(c.source for c in notebook.cells), *(words(o) for c in notebook.cells for o in c.get("outputs", []))])


def pictures(path: Path) -> int:
    "How many PNGs an executed notebook has."
    return sum("image/png" in o.get("data", {}) for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", []))
