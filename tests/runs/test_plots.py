"""What a plot must not lose, and what it does with odd data."""
import io
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from lepton_bench.errors import BenchError
from lepton_bench.client.run import Run
from lepton_bench.metrics.storage import metrics_schema
from lepton_bench.metrics.plots import plot_metrics, png_bytes, save_png
from lepton_bench.metrics.reduction import reduce_series, smooth_line, smooth_series, split
from lepton_bench.store.runs import RunWriter, new_record


def table_of(name: str, value: np.ndarray, rank: int = 0, step: np.ndarray | None = None, time_: np.ndarray | None = None) -> pa.Table:
    n = len(value)
    step = np.arange(n) if step is None else step
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, "i4")), [name])
    return pa.table([pa.array(step), pa.array(1e9 + step / 10. if time_ is None else time_), pa.array(np.full(n, rank, "i4")), names,
                     pa.array(np.asarray(value, "f8"))], schema=metrics_schema())


@given(st.integers(2001, 60_000), st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-1e3, 1e3, 5e2])), min_size=1, max_size=8), st.integers(0, 9))
@hypothesis_settings(deadline=None, max_examples=60)
def test_every_spike_stays_visible(n: int, spikes: list, seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=n)
    for place, height in spikes: y[int(place * (n - 1))] = height
    x = np.arange(n)
    small_x, small_y = reduce_series(x, y)
    assert len(small_x) <= 2000 and np.array_equal(y[small_x], small_y) and np.all(np.diff(small_x) > 0)
    width = -(-n // 400)  # half a percent of the picture: where several spikes are that close the tallest stands for them
    for at in np.flatnonzero(np.abs(y) > 100):
        near = small_y[np.abs(small_x - at) <= width]
        assert (near >= y[at]).any() if y[at] > 0 else (near <= y[at]).any()


@given(st.lists(st.sampled_from([0., 1., -1., 5., float("nan"), float("inf"), float("-inf")]), max_size=60), st.integers(1, 200))
@hypothesis_settings(deadline=None, max_examples=80)
def test_what_is_not_finite_is_neither_hidden_nor_invented(pattern: list, repeat: int) -> None:
    y = np.repeat(np.array(pattern, "f8"), repeat)
    x, small = reduce_series(np.arange(len(y)), y)
    assert np.array_equal(y[x], small, equal_nan=True)
    if len(y):
        assert np.isfinite(y).all() == np.isfinite(small).all()
        if np.isfinite(y).any(): assert np.max(y[np.isfinite(y)]) == np.max(small[np.isfinite(small)])


def test_first_and_last_point_stay() -> None:
    y = np.sin(np.arange(100_000) / 1000)
    x, _ = reduce_series(np.arange(100_000), y)
    assert x[0] == 0 and x[-1] == 99_999


def test_a_million_points_draw_like_two_thousand() -> None:
    big, small = (table_of("loss", np.cumsum(np.random.default_rng(0).normal(size=n))) for n in (1_000_000, 2000))

    def seconds(table: pa.Table) -> float:
        start = time.perf_counter()
        png_bytes(plot_metrics(table))
        return time.perf_counter() - start
    seconds(small)  # fonts
    pairs = [(seconds(big), seconds(small)) for _ in range(5)]
    assert min(b / s for b, s in pairs) < 2.5, pairs


@given(st.lists(st.one_of(st.floats(-10, 10), st.just(float("nan"))), min_size=1, max_size=200), st.floats(.01, .98))
@hypothesis_settings(deadline=None, max_examples=60)
def test_smoothing_is_the_exponential_mean(values: list, weight: float) -> None:
    y, slow, total, mass = np.array(values), [], 0., 0.
    for value in y:
        total, mass = weight * total + (0 if np.isnan(value) else value), weight * mass + (not np.isnan(value))
        slow.append(value if np.isnan(value) else total / mass)
    assert np.allclose(smooth_series(y, weight), slow, atol=1e-3, equal_nan=True)
    assert np.array_equal(smooth_series(y, 0.), y, equal_nan=True)


@pytest.mark.parametrize("n", [1, 2, 20, 2000, 2001, 4001, 12_345])
def test_a_smoothed_line_is_the_mean_scaled_to_the_picture(n: int) -> None:
    y = np.cumsum(np.random.default_rng(n).normal(size=n))
    if n > 20: y[n // 2:n // 2 + 9] = np.nan
    x, line = smooth_line(np.arange(n), y, .9)
    assert len(x) <= 2000 and x[-1] == n - 1
    slow = smooth_series(y, .9 ** (1000 / n))[x]
    there = np.isfinite(line) & np.isfinite(slow)  # where a block is finite in part, the line goes on
    assert there.sum() > len(x) - 12 and np.allclose(line[there], slow[there], atol=1e-2)


def test_smoothing_a_short_series_does_not_lag_behind() -> None:
    y = np.linspace(10., 0., 20)
    _, line = smooth_line(np.arange(20), y, .9)
    assert np.abs(line - y).max() < .1 < np.abs(smooth_series(y, .9) - y).max()


def test_smoothing_goes_along_x_not_along_the_order_of_writing() -> None:
    x = np.array([3, 0, 2, 1])
    places, line = smooth_line(x, x * 1., .5)
    assert places.tolist() == [0, 1, 2, 3] and np.all(np.diff(line) > 0)


def test_ranks() -> None:
    table = pa.concat_tables([table_of("loss", np.full(50, r), r) for r in range(3)])
    band, lines, one = (plot_metrics(table, ranks=r).axes[0] for r in ("band", "lines", 1))
    assert len(band.lines) == 1 and len(band.collections) == 1 and band.lines[0].get_ydata()[0] == 1
    assert [line.get_label() for line in lines.lines] == ["rank 0", "rank 1", "rank 2"]
    assert len(one.lines) == 1 and one.lines[0].get_ydata()[0] == 1 and one.get_legend() is None


def test_a_band_keeps_a_spike_of_one_rank() -> None:
    values = [np.zeros(100_000) for _ in range(2)]
    values[1][54_321] = 50.
    axes = plot_metrics(pa.concat_tables([table_of("loss", v, r) for r, v in enumerate(values)])).axes[0]
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == 50


def test_ranks_with_other_steps_and_times() -> None:
    a = table_of("loss", np.ones(10), 0, step=np.arange(0, 20, 2), time_=np.arange(10.) + 100)
    b = table_of("loss", np.ones(5) * 3, 1, step=np.arange(0, 10, 2), time_=np.arange(5.) + 100.5)
    for x in ("step", "time"):
        line = plot_metrics(pa.concat_tables([a, b]), x=x).axes[0].lines[0]
        assert line.get_ydata().tolist() == [2] * 5 + [1] * 5
    assert line.get_xdata().tolist() == list(range(10))


def test_restarts_are_marked() -> None:
    table = table_of("loss", np.ones(100)).replace_schema_metadata({"restarts": '[{"step": 40, "time": 1000000004.0}, {"step": 70, "time": 1000000007.0}]'})
    marks = [line for line in plot_metrics(table).axes[0].lines if line.get_gid() == "restart"]
    assert [m.get_xdata()[0] for m in marks] == [40, 70]
    assert [t.get_text() for t in plot_metrics(table).axes[0].texts] == ["restart", "restart"]
    marks = [line for line in plot_metrics(table, x="time").axes[0].lines if line.get_gid() == "restart"]
    assert [m.get_xdata()[0] for m in marks] == [4, 7]


ODD = {"one": [1.], "nan": [float("nan")] * 5, "inf": [float("inf")] * 3000, "mixed": [1., float("nan"), float("-inf"), 2.], "zero": [0.] * 50,
       "huge": [1e308, -1e308, 1e308], "tiny": [5e-324, 0., 1e-300], "constant": [7.] * 5000, "all kinds": [float("nan"), 1.] * 3000}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("options", [{}, {"log": True}, {"x": "time"}, {"smooth": .9}, {"ranks": "lines"}], ids=str)
@pytest.mark.filterwarnings("error")
def test_odd_values_draw(kind: str, options: dict) -> None:
    figure = plot_metrics(table_of("loss", np.array(ODD[kind])), **options)
    pixels = np.asarray(Image.open(io.BytesIO(png_bytes(figure, dpi=50))))
    assert np.array_equal(pixels, np.asarray(figure.canvas.buffer_rgba())[..., :3]) and len(np.unique(pixels)) > 1


@pytest.mark.parametrize(("value", "logarithmic"), [(-1., False), (1., True)])
def test_no_logarithm_is_said(value: float, logarithmic: bool) -> None:
    axes = plot_metrics(table_of("loss", np.full(5, value)), log=True).axes[0]
    assert axes.get_yscale() == ("log" if logarithmic else "linear")
    assert axes.get_title(loc="left") == ("loss" if logarithmic else "loss (no positive value: not logarithmic)")


def test_not_finite_is_said() -> None:
    axes = plot_metrics(table_of("loss", np.array([1., float("nan"), 2., float("inf")]))).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["2 not finite"]


def test_wrong_words() -> None:
    table = table_of("loss", np.ones(3))
    for wrong, says in (({"names": "los"}, "There are: loss"), ({"names": ["loss", "x"]}, "'x'"), ({"x": "epoch"}, "'step' or 'time'"),
                        ({"ranks": 7}, "Ranks 0"), ({"ranks": "all"}, "'band'"), ({"smooth": 1}, "smooth=1"), ({"smooth": -1.}, "smooth")):
        with pytest.raises(BenchError, match=says): plot_metrics(table, **wrong)
    with pytest.raises(BenchError, match=r"No metrics yet. Call lb.log\("): plot_metrics(metrics_schema().empty_table(), names="loss")
    with pytest.raises(BenchError, match="train: no metrics yet"): plot_metrics(metrics_schema().empty_table(), title="train")
    with pytest.raises(BenchError, match="names is empty"): plot_metrics(table, names=[])


@pytest.mark.parametrize(("names", "ranks", "rows"), [(1, 1, 10), (3, 2, 1000), (20, 1, 200_000), (300, 1, 70_000), (40, 9, 70_001), (2, 70, 140_000)])
def test_rows_that_take_turns_are_told_apart(names: int, ranks: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    name, rank = rng.integers(0, names, rows), rng.integers(0, ranks, rows) * 3
    words = pa.array([f"m{i}" for i in range(names)])
    table = pa.table([pa.array(np.arange(rows)), pa.array(np.arange(rows) + .5), pa.array(rank.astype("i4")),
                      pa.DictionaryArray.from_arrays(name.astype("i4"), words), pa.array(rng.normal(size=rows))], schema=metrics_schema())
    value, found = table["value"].to_numpy(), split(table)
    assert sum(map(len, found.values())) == len({(n, r) for n, r in zip(name.tolist(), rank.tolist())})
    for word, group in found.items():
        for s in group:
            here = np.flatnonzero((name == int(word[1:])) & (rank == s.rank))
            assert np.array_equal(s.step, here) and np.array_equal(s.time, here + .5) and np.array_equal(s.value, value[here])


def test_a_run_that_has_just_begun_is_an_empty_picture(tmp_path: Path) -> None:
    for status in ("running", "failed"):
        run = Run(tmp_path/status)
        RunWriter(run.directory, new_record(status, "train", status=status, reason="it fell")).create()
        if status == "running": assert run.plot().axes[0].texts[0].get_text() == "train  running is running: no metrics yet"
        else:
            with pytest.raises(BenchError, match="train  failed: no metrics yet. Call lb.log"): run.plot()


def test_names_and_panels() -> None:
    table = pa.concat_tables([table_of(f"m{i}", np.ones(3)) for i in range(30)])
    with pytest.warns(UserWarning, match=r"Of 30 metrics the first 20 are drawn.*names=\['m20', 'm21'\]"): figure = plot_metrics(table)
    assert sum(a.axison for a in figure.axes) == 20 and "10 more metrics" in figure.get_suptitle()
    assert [a.get_title("left") for a in plot_metrics(table, names=["m2", "m1?"]).axes if a.axison] == ["m2", *(f"m1{i}" for i in range(10))]
    assert [a.get_title("left") for a in plot_metrics(table, names=["m3", "m1"]).axes] == ["m3", "m1"]
    assert sum(a.axison for a in plot_metrics(table, names=[f"m{i}" for i in range(30)]).axes) == 30


def test_shows_itself_in_a_cell_and_leaves_pyplot_alone(tmp_path: Path) -> None:
    figure = plot_metrics(table_of("loss", np.ones(3)))
    assert figure._repr_png_()[:4] == b"\x89PNG"
    assert save_png(figure, tmp_path/"p.png").stat().st_size > 1000
    with pytest.raises(BenchError, match="cannot be written"): save_png(figure, tmp_path/"nowhere"/"p.png")
    code = "import sys; from lepton_bench.metrics.plots import *; from lepton_bench.metrics.storage import metrics_schema; " \
           "import pyarrow as pa; " \
           "png_bytes(plot_metrics(pa.Table.from_pylist([dict(step=0, time=1., rank=0, name='a', value=1.)], metrics_schema()))); " \
           "print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip() == "False"
