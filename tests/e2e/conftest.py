"""What every browser test needs: Chromium, the extension of this folder, a JupyterLab of its own, and devices given back at the end."""
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import lab  # noqa: E402
from lab import EXTENSION, browser_page, chromium, environment, lab_server, one_browser, release  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    "In CI both are there, or the tests fail."
    missing = [] if chromium() else ["NO BROWSER: there is no Chromium here (apt install chromium)"]
    if not (EXTENSION/"package.json").exists(): missing.append("NO EXTENSION: it is not built here (Node 20 or newer, then: make lab)")
    for item in items:
        if Path(__file__).parent not in item.path.parents: continue
        item.add_marker(pytest.mark.browser)
        item.add_marker(pytest.mark.timeout(300))
        if missing and not os.environ.get("CI"): item.add_marker(pytest.mark.skip(reason="; ".join(missing)))


@pytest.fixture(scope="module", autouse=True)
def browser() -> Iterator[None]:
    "One for all tests of a file; each has a page of its own. No longer: beside Playwright no other event loop runs."
    lab.pictures = bool(os.environ.get("LEPTON_BENCH_SCREENSHOTS"))
    with one_browser() if chromium() else nullcontext(): yield


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    "Where pictures go: a folder of the caller's choice. Else none are taken: a hundred of them are half a minute."
    folder = Path(os.environ.get("LEPTON_BENCH_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    "Where JupyterLab's notebooks lie."
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def server(folder, place) -> Iterator[str]:
    "JupyterLab's address."
    with lab_server(folder, environment(place, folder)) as address: yield address


@pytest.fixture
def page(server, place) -> Iterator[Any]:
    with browser_page() as page: yield page
    release(place.environment())  # also after a failure, before the next test asks for devices
