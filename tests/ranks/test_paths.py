"""Paths as users write them: a home folder, variables, addresses, mistakes; at every entry that takes one."""
import os
from pathlib import Path

import pytest
from support.headless_notebooks import write_notebook
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from house.test_cli import bench

import lepton_bench as lb
from lepton_bench.data.vision import fashion_mnist
from lepton_bench.errors import BenchError, LaunchError, SettingsError
from lepton_bench.headless.notebook_tests import check_notebooks
from lepton_bench.core.notebook_files import read_notebook
from lepton_bench.server.sweeps import notebook_file, start_sweep
from lepton_bench.client.packing import classify
from lepton_bench.core.paths import user_path
from lepton_bench.client.run import Run
from lepton_bench.metrics.plots import empty_figure, save_png
from lepton_bench.settings import load_settings, settings

ADDRESSES = ["s3://bucket/x", Path("s3://bucket/x"), "gs://b/x", "https://host/x", "file:///x", "simplecache::s3://b/x", "C:\\Users\\ann", "\\\\host\\share"]
NO_PATHS = ["", "  ", "a\0b", "a\nb", "x"*256, "\ud800", "~nobody-of-that-name/x", "$NO_SUCH_PLACE/x", "${NO_SUCH_PLACE}/x", None, 3, b"x", True]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    "A home folder and a working directory of this test's own."
    for name in ("home", "work"): (tmp_path/name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path/"home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path/"home"))
    monkeypatch.setenv("LEPTON_BENCH_SIMULATED", "2")
    monkeypatch.chdir(tmp_path/"work")
    return tmp_path/"home"


def entries(given) -> list:
    "Every call of the library that takes a path which is to be written, and those that read one."
    write_notebook(Path("train.ipynb"), "x = 0")
    return [lambda: lb.sweep("train.ipynb", {"x": [1]}, output=given, devices_each=0), lambda: lb.sweep(given, {"x": [1]}, devices_each=0),
            lambda: check_notebooks(["train.ipynb"], given), lambda: check_notebooks([given], "out"), lambda: save_png(empty_figure("nothing"), given),
            lambda: classify(given), lambda: read_notebook(given)]


@pytest.mark.parametrize("given", [*ADDRESSES, *NO_PATHS], ids=repr)
def test_what_is_no_path_is_refused_everywhere_and_nothing_is_made(given, place):
    runs = place.root/"home"/"runs"
    before = sorted(runs.iterdir()) if runs.exists() else []
    for number, entry in enumerate(entries(given)):
        if number == 0 and given is None: continue  # output=None is the folder beside the notebook
        with pytest.raises(BenchError) as e: entry()
        assert not isinstance(e.value.__context__, UnicodeError | OSError), number
    assert os.listdir() == ["train.ipynb"] and (sorted(runs.iterdir()) if runs.exists() else []) == before


@pytest.mark.parametrize("given, said", [("file:///data/a%20b", "'/data/a b'"), ("s3://bucket/x", "s3.*Copy it"), ("C:\\x", "/mnt/c"),
                                         ("$NO_SUCH_PLACE/x", r"\$NO_SUCH_PLACE"), ("~nobody-of-that-name/x", "no such user"), ("", "is empty"),
                                         ("lr = 1\n", "line break")])
def test_the_refusal_says_what_to_do(given, said):
    with pytest.raises(BenchError, match=f"output .*{said}"): user_path(given, "output")


@pytest.mark.parametrize("given", ["~/x", Path("~/x"), "$HOME/x", "${SCRATCH}/x", "../home/x"])
def test_home_folders_and_variables(given, home):
    notebook = write_notebook(home/"x"/"train.ipynb", "y = 0")
    assert user_path(given).resolve() == home/"x"
    assert save_png(empty_figure("nothing"), user_path(given)/"a.png").exists()
    sweep = lb.sweep(user_path(given)/"train.ipynb", {"y": [1]}, devices_each=0, output=f"{given}/out").wait(60)
    assert sweep.status == "done" and (home/"x"/"out"/sweep.sets[0].output).exists() and notebook.exists()
    assert os.listdir() == []


def test_names_with_dollars_and_tildes_that_are_there(home):
    for name in ("cost$5.ipynb", "~draft.ipynb", "a$b.ipynb", "漢 {0}.ipynb"):
        write_notebook(Path(name), "x = 0")
        read_notebook(name), read_notebook(Path(name).absolute()), read_notebook(f"./{name}")
        assert classify(f"./{name}")[0] == "notebook"


def test_a_folder_where_a_file_is_meant_and_the_reverse():
    Path("folder").mkdir()
    write_notebook(Path("train.ipynb"), "x = 0")
    assert classify("folder") == ("module", "folder"), "a package has a folder, too"
    for entry in (lambda: classify("./folder"), lambda: classify(Path("folder")), lambda: classify("."), lambda: read_notebook("folder"),
                  lambda: lb.sweep("folder", {}), lambda: save_png(empty_figure("n"), "folder")):
        with pytest.raises(BenchError, match="is a folder: name the"): entry()
    with pytest.raises(BenchError, match="cannot be written to .*train.ipynb"): lb.sweep("train.ipynb", {"x": [1]}, output="train.ipynb", devices_each=0)


def test_launching_from_the_home_folder(home):
    (home/"train.py").write_text("import sys; print('args', sys.argv[1:])")
    with lb.allocate(1) as alloc:
        for target in ("~/train.py", Path("~/train.py"), "$SCRATCH/train.py"):
            run: Run = alloc.launch(target, args=["1"])
            assert run.wait(60).status == "done" and "args ['1']" in run.logs()
        with pytest.raises(LaunchError, match="s3"): alloc.launch("s3://bucket/train.py")


def test_the_shell(home):
    write_notebook(home/"train.ipynb", "x = 0")
    (home/"train.py").write_text("print('hello')")
    assert "hello" in bench("launch", "-n", "1", "~/train.py").stdout  # as a program without a shell passes it on
    for words in (("launch", "s3://b/train.py"), ("sweep", "s3://b/x.ipynb"), ("sweep", "~/train.ipynb", "-p", "x=1", "-o", "s3://b/out"),
                  ("sweep", "~/train.ipynb", "-o", ""), ("test-notebooks", "gs://b/x"), ("test-notebooks", "~/train.ipynb", "-o", "gs://b/x")):
        done = bench(*words)
        assert done.returncode == 2 and "Traceback" not in done.stderr and ("is an address" in done.stderr or "is empty" in done.stderr), (words, done)
    done = bench("test-notebooks", "~/train.ipynb", "-o", "~/out")
    assert done.returncode == 0 and len(list((home/"out").glob("*.ipynb"))) == 1
    assert os.listdir() == []


def test_settings_with_home_folders_and_variables(home, monkeypatch):
    for text in ("~/runs", "$SCRATCH/runs", "${HOME}/runs"):
        monkeypatch.setenv("LEPTON_BENCH_HOME", text)
        assert settings().home == home/"runs"
    monkeypatch.setenv("LEPTON_BENCH_HOME", "$SCRATCH/runs")
    monkeypatch.setenv("SCRATCH", "/elsewhere")
    assert settings().home == Path("/elsewhere/runs"), "also when the variable changes"
    monkeypatch.setenv("SCRATCH", str(home))
    for key, text in (("HOME", "s3://b/runs"), ("HOME", "$NO_SUCH_PLACE/x"), ("HOME", ""), ("MIRROR", "s3://bucket/data"), ("LEASES", "file:///run/lock")):
        monkeypatch.setenv(f"LEPTON_BENCH_{key}", text)
        with pytest.raises(SettingsError, match=f"LEPTON_BENCH_{key}"): load_settings()
        monkeypatch.delenv(f"LEPTON_BENCH_{key}")
    (home/"settings.ini").write_text("[lepton_bench]\nhome = runs\nmirror = ~/data\n")
    monkeypatch.chdir(home/"..")
    assert load_settings(home/"deep")[0].home == home/"runs" and load_settings(home)[0].mirror == str(home/"data")
    monkeypatch.delenv("LEPTON_BENCH_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "~/share")
    assert load_settings()[0].home == home/"share"/"lepton_bench"


def test_data_sets_in_a_cache_of_ones_own():
    for root in ("s3://bucket/x", ""):
        with pytest.raises(BenchError, match="root"): fashion_mnist("test", root=root)


@pytest.mark.parametrize("path", ["s3://bucket/x", "~/out", "$HOME/out", "a/$SCRATCH", "a\nb", "file:///x"])
def test_a_form_of_the_browser_names_places_below_the_servers_folder(path, tmp_path):
    root = tmp_path/"work"
    write_notebook(root/"train.ipynb", "x = 0")
    contents = LargeFileManager(root_dir=str(root))
    with pytest.raises(BenchError): notebook_file(contents, path)
    with pytest.raises(BenchError, match="below the server's folder|is an address|line break"):
        start_sweep(contents, {"path": "train.ipynb", "space": {"x": [1]}, "devices_each": 0, "output": path})
    assert os.listdir(root) == ["train.ipynb"]
    write_notebook(root/"~a$b.ipynb", "x = 0")
    assert notebook_file(contents, "~a$b.ipynb").exists(), "what is there is called what it is called"
