"""What the README, CONTRIBUTING and CHANGELOG say is true: the example runs, links lead somewhere, commands and layers exist."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.isolation import REPOSITORY

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def text(page: str) -> str: return (REPOSITORY/page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]: return re.findall(rf"```{language}\n(.*?)```", text(page), re.S)


def test_the_example_runs_in_a_kernel(real_kernel):
    "Cell by cell, with the values that its comments promise."
    definition, lines = blocks("README.md", "python")[:2]
    real_kernel.run(definition, timeout=120)
    outputs = {line: real_kernel.run(line, timeout=120) for line in lines.splitlines()}
    assert len(outputs) == 5
    promised = 0
    for line, output in outputs.items():
        if match := re.search(r"#.*: ([\d.]+)$", line):
            assert output.strip().splitlines()[-1] == match[1]
            promised += 1
    assert promised == 1
    assert "no allocations" in real_kernel.run("lb.allocations()")


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page):
    found = re.findall(r"\]\(([^)\s]+)\)", text(page)) + re.findall(r'(?:src|srcset)="([^"]+)"', text(page))
    found += re.findall(r"\b((?:nbs|tests|docs|lepton_bench)/[\w./-]+\.(?:ipynb|py|png))", text(page))
    paths = [x for x in found if not x.startswith(("http://", "https://")) and "NN_" not in x]
    assert [x for x in paths if not (REPOSITORY/x.partition("#")[0]).exists()] == []
    assert paths or page == "CHANGELOG.md"


def test_shell_verbs_exist():
    used = set(re.findall(r"lepton-bench ([a-z]+)", "\n".join(map(text, PAGES))))
    help_text = subprocess.run([Path(sys.executable).parent/"lepton-bench", "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert used and [verb for verb in used if not re.search(rf"\b{verb}\b", help_text)] == []


def test_layers_and_targets_exist():
    from run import LAYERS
    named = set(re.findall(r"LAYERS=\"?([a-z ]+)", text("CONTRIBUTING.md")))
    assert named and {layer for group in named for layer in group.split()} <= LAYERS.keys()
    makefile = text("Makefile")
    targets = re.findall(r"(?m)(?:^|`)make ([a-z]+)", "\n".join(map(text, PAGES)))
    assert targets and [t for t in targets if not re.search(rf"(?m)^{t}:", makefile)] == []


def test_pictures_are_small():
    for picture in (REPOSITORY/"docs"/"pictures").glob("*.png"): assert picture.stat().st_size < 300_000, picture.name
