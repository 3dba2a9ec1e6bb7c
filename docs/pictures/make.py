"""Takes the pictures of the README in a real JupyterLab: .venv/bin/python docs/pictures/make.py [quickstart] [work] [widgets] [machine] [sweep]

It needs Chromium, the built extension and the full Fashion-MNIST (as the tests do), takes about ten minutes on two cores, and writes PNG files beside
itself. Without names it makes all of them; `panels.py` has those of the extension.
"""
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]/"tests"), str(HERE.parents[1]/"tests"/"e2e")]
from support.isolation import Isolation, mirror  # noqa: E402
from lab import EXTENSION, Notebook, browser_page, chromium, copy_quickstart, lab_server, release, until  # noqa: E402
from panels import PANELS  # noqa: E402

LIMIT = 300_000  # bytes of a picture
LAUNCH = "run = alloc.launch(train"


def save(name: str, picture: bytes) -> None:
    "A picture with a palette, which halves it; of colours that are rare, but matter, none is lost."
    import io

    from PIL import Image
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    path = HERE/f"{name}.png"
    image.save(path, optimize=True)
    size = path.stat().st_size
    assert size < LIMIT, f"{path.name} has {size} bytes"
    print(f"{path.name}: {size/1000:.0f} kB, {image.width} x {image.height}")


def quickstart(place: Isolation) -> None:
    "The cells of the quickstart."
    folder = place.root/"tutorials"
    folder.mkdir()
    copy_quickstart(folder, epochs=4, train_size=30_000)
    (folder/"data").symlink_to(Path(mirror()).resolve())  # what is printed then has no path of this machine
    with lab_server(folder, {**place.environment(), "LEPTON_BENCH_MIRROR": "data"}) as address, browser_page((1100, 800)) as page:
        notebook = Notebook(page, address, "90_quickstart.ipynb")
        notebook.menu("View", "Appearance", "Show Left Sidebar")  # off: the page is what matters
        notebook.run_all()
        until(lambda: notebook.finished("alloc = lb.allocate"), "two devices are allocated")
        save("devices", notebook.show("lb.devices()"))
        notebook.show(LAUNCH)  # a plot asks for data when it is in view
        until(lambda: page.locator(".lb-plot canvas").count(), "the plot is alive")
        until(lambda: "epoch 2 of 4" in notebook.output(LAUNCH), "two epochs are done")
        for dark in (False, True):
            notebook.theme(dark)
            save(f"training{'-dark' if dark else ''}", notebook.show(LAUNCH))
        until(lambda: notebook.finished("alloc.release()"), "the last cell has run", 300)
        both, light = (False, True), (False,)
        for name, text, themes in (("plot", "run.plot()", both), ("compare", "lb.compare(", both), ("ranks", "%ranks_push", light),
                                   ("confusion", "%ranks_pull 0 confusion", light)):
            for dark in themes:
                notebook.theme(dark)
                save(f"{name}{'-dark' if dark else ''}", notebook.show(text))


def main() -> None:
    if not chromium(): sys.exit("there is no Chromium here: apt install chromium")
    if not mirror(): sys.exit("the full data set is not here: set LEPTON_BENCH_MIRROR, or put it in ../shared/data")
    if not (EXTENSION/"package.json").exists(): sys.exit("the extension is not built: make lab, or cd extension && npm ci && npm run build")
    parts = {"quickstart": quickstart, **{name: partial(part, save=save) for name, part in PANELS.items()}}
    if unknown := [name for name in sys.argv[1:] if name not in parts]: sys.exit(f"no pictures {', '.join(unknown)}; there are {', '.join(parts)}")
    for name in sys.argv[1:] or parts: alone(parts[name])


def alone(part: Callable[[Isolation], None]) -> None:
    "In a place of its own; nothing of it is left behind."
    place = Isolation.new()
    try: part(place)
    finally:
        release(place.environment())
        left = place.shut_down()
        place.remove()
    if left: sys.exit("left behind:\n  " + "\n  ".join(left))


if __name__ == "__main__": main()
