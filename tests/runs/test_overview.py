"""A long run seen from its overview: what is drawn is what all points would give, and without the overview nothing is missing."""
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs.test_plot_in_a_cell import points, same

from lepton_bench.metrics import overview
from lepton_bench.metrics.live_series import RunSeries, light_table, reduced_panel, restarts_of, series_of
from lepton_bench.metrics.storage import MetricsWriter, read_metrics, restarts
from lepton_bench.metrics.overview import BLOCK, make_blocks, overview_path, points_of, read_overview
from lepton_bench.metrics.ring import Ring
from lepton_bench.store.runs import metrics_path, ring_path

NAMES = ["loss", "accuracy"]


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    "So that small runs have overviews of several stretches."
    monkeypatch.setattr(overview, "STRETCH", 6000)


def write(folder: Path, count: int = 40_000, attempt: int = 0, begin: int = 0, ranks: int = 1, seed: int = 0, batch: int = 700,
          bad: bool = True) -> MetricsWriter:
    "So many steps, with some values that are not finite and a spike."
    writer, values = MetricsWriter(metrics_path(folder, attempt)), np.random.default_rng(seed).normal(size=(ranks, count, 2)).cumsum(axis=1)
    values[:, count // 3] = 1e4
    if bad: values[:, [5, count // 2], 0], values[0, -300:-20, 1], values[0, 7, 1] = np.nan, np.nan, np.inf
    for i in range(0, count, batch):
        for rank in range(ranks):
            made = points(np.arange(begin + i, begin + min(i + batch, count)), 2, values[rank, i:i + batch].ravel())
            made["time"] += attempt * 1e6
            assert writer.write(rank, made, NAMES, 2 * min(i + batch, count))
    return writer


def full(folder: Path, timed: bool = False) -> RunSeries:
    "Everything read, no overview."
    series = RunSeries(folder, timed)
    series.poll()
    series.fill()
    assert not any(a.overview for a in series.attempts.values())
    return series


def opened(folder: Path, timed: bool = False) -> RunSeries:
    series = RunSeries(folder, timed)
    series.poll()
    assert any(a.overview for a in series.attempts.values())
    return series


numbers = st.one_of(st.floats(-1e9, 1e9), st.sampled_from([math.nan, math.inf, -math.inf, 0.]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(numbers, min_size=1, max_size=30), min_size=1, max_size=5), st.integers(1, 9), st.randoms())
def test_blocks_say_what_their_points_say(series, most, shuffle):
    value, sizes = np.concatenate(series), np.array([len(s) for s in series])
    step = np.array(shuffle.sample(range(1000), len(value)))
    blocks = make_blocks(step, step * .5, value, sizes, most)
    ends = [(a + i, a + min(i + most, n)) for a, n in zip(np.cumsum(sizes) - sizes, sizes) for i in range(0, n, most)]
    assert len(blocks) == len(ends) and blocks["count"].tolist() == [b - a for a, b in ends]
    for block, (a, b) in zip(blocks, ends):
        here, there = value[a:b], step[a:b].tolist()
        right = here[np.isfinite(here)]
        assert block["wrong"] == len(here) - len(right) and (block["low_step"], block["high_step"]) == (min(there), max(there))
        kept = [there.index(s) for s in block["step"]]
        assert kept == sorted(kept) and kept[0] == 0 and kept[-1] == b - a - 1 and np.array_equal(here[kept], block["value"], equal_nan=True)
        assert (block["low_time"], block["high_time"]) == (min(there) * .5, max(there) * .5) and block["time"].tolist() == (block["step"] * .5).tolist()
        if len(right):
            shown = block["value"][np.isfinite(block["value"])]
            assert (shown.min(), shown.max()) == (right.min(), right.max()) and block["mean"] == pytest.approx(right.mean(), abs=1e-3)
        if len(right) < len(here): assert not np.isfinite(block["value"]).all()


def covers(x, y, panel_x, panel_y, columns: int, slack: float) -> None:
    "In each column the panel has what the points have, no more, and at most `slack` to the side."
    real = dict(zip(x.tolist(), y.tolist()))
    assert all(real[a] == b for a, b in zip(panel_x.tolist(), panel_y.tolist()) if math.isfinite(b)), "only points that exist"
    edges = np.linspace(x.min(), x.max() + 1, columns + 1)
    for a, b in zip(edges, edges[1:]):
        here, near = y[(x >= a) & (x < b)], panel_y[(panel_x >= a - slack) & (panel_x < b + slack)]
        here, near = here[np.isfinite(here)], near[np.isfinite(near)]
        if len(here): assert near.min() <= here.min() and near.max() >= here.max()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("x", ["step", "time"])
def test_a_panel_from_blocks_reaches_as_far_as_all_points_in_every_column(tmp_path, seed, x):
    write(tmp_path, 60_000, seed=seed)
    series, exact, width = opened(tmp_path, x == "time"), full(tmp_path, x == "time"), 60
    for name in NAMES:
        (part,), (panel_x, panel_y) = reduced_panel(series, name, x, width=width)
        (whole,), (full_x, _) = reduced_panel(exact, name, x, width=width)
        assert part == whole and part["points"] == 60_000 and (panel_x[0], panel_x[-1]) == (full_x[0], full_x[-1])
        step, when, value = series_of(exact, name, 0)
        covers(step if x == "step" else when, value, panel_x, panel_y, width, (1 if x == "step" else .1) * (BLOCK + 60_000 / width))
    assert not series.more and any(a.overview for a in series.attempts.values()), "nothing else had to be read"


def test_blocks_are_exact_in_columns_made_of_blocks(tmp_path):
    write(tmp_path)
    blocks, _ = read_overview(metrics_path(tmp_path, 0)).series["loss", 0]
    value, edges = series_of(full(tmp_path), "loss", 0)[2], np.cumsum([0, *blocks["count"]])
    for block, a, b in zip(blocks, edges, edges[1:]):
        assert np.nanmin(block["value"]) == np.nanmin(value[a:b]) and np.nanmax(block["value"]) == np.nanmax(value[a:b])
    assert np.isin(points_of(blocks)[0], np.arange(40_000)).all() and (np.diff(points_of(blocks)[0]) > 0).all()


@pytest.mark.parametrize("ranks", ["band", "lines", 1])
@pytest.mark.parametrize("smooth", [0., .6])
def test_what_blocks_cannot_know_is_drawn_from_points_in_the_end(tmp_path, ranks, smooth):
    "The mean of ranks; and panels wider than there are blocks."
    write(tmp_path, ranks=2)
    series, exact = opened(tmp_path), full(tmp_path)
    for width in (40, 600):
        first = reduced_panel(series, "loss", ranks=ranks, smooth=smooth, width=width)
        if (ranks == "band" or width == 600) and any(a.overview for a in series.attempts.values()):
            assert series.more
            before = series.version
            while series.more: series.poll(budget=0)
            assert series.version > before and not any(a.overview for a in series.attempts.values())
        parts, arrays = reduced_panel(series, "loss", ranks=ranks, smooth=smooth, width=width)
        wanted, expected = reduced_panel(exact, "loss", ranks=ranks, smooth=smooth, width=width)
        assert parts == wanted and [p["label"] for p in first[0]] == [p["label"] for p in wanted] and not series.more
        if not any(a.overview for a in series.attempts.values()):
            assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, expected, strict=True))


def test_a_band_from_blocks_is_as_wide_as_its_ranks(tmp_path):
    write(tmp_path, ranks=3)
    (band, mean), (x, low, high, *_) = reduced_panel(opened(tmp_path), "loss", width=40)
    (exact, _), (ex, elow, ehigh, *_) = reduced_panel(full(tmp_path), "loss", width=40)
    assert band["points"] == exact["points"] and np.nanmin(low) == np.nanmin(elow) and np.nanmax(high) == np.nanmax(ehigh) and band["label"] == exact["label"]
    assert np.nanmean(np.abs(np.interp(ex, x, np.nan_to_num(high)) - np.nan_to_num(ehigh))) < .2 * np.nanmax(high)


@pytest.mark.parametrize("smooth", [.3, .9, .99])
def test_smoothing_over_blocks_is_smoothing(tmp_path, smooth):
    write(tmp_path, 400_000, batch=5000, bad=False)
    step, _, value = series_of(full(tmp_path), "loss", 0)
    (_,), (x, _, found) = reduced_panel(opened(tmp_path), "loss", smooth=smooth, width=100)
    (_,), (ex, _, expected) = reduced_panel(full(tmp_path), "loss", smooth=smooth, width=100)
    a, b = np.isfinite(found), np.isfinite(expected)
    difference = np.abs(np.interp(step, x[a], found[a]) - np.interp(step, ex[b], expected[b]))
    far = np.abs(step - len(step) // 3) > 10_000  # the spike of one point is flatter here
    assert difference[far].max() < .05 * np.ptp(value[far])


@pytest.mark.parametrize("x", ["step", "time"])
@pytest.mark.parametrize("ends", [(100, 150), (9_000, 9_300), (0, 12_345), (39_990, 50_000), (7_003, 33_333), (-5, -1)])
def test_a_range_is_drawn_in_detail(tmp_path, ends, x):
    write(tmp_path, ranks=2)
    series, exact, start = opened(tmp_path, x == "time"), full(tmp_path, x == "time"), 1.7e9 if x == "time" else 0.
    ends = tuple(e * (.1 if x == "time" else 1) for e in ends)
    for ranks in (0, "lines", "band"):
        parts, arrays = reduced_panel(series, "loss", x, ranks=ranks, width=300, range=ends, start=start)
        wanted, expected = reduced_panel(exact, "loss", x, ranks=ranks, width=300, range=ends, start=start)
        assert parts == wanted and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, expected, strict=True))
        for along in arrays[:1]: assert (along >= ends[0] - 1e-6).all() and (along <= ends[1] + 1e-6).all()
    along, value = series_of(exact, "loss", 0)[x == "time"], series_of(exact, "loss", 0)[2]
    inside = (along >= ends[0] + start) & (along <= ends[1] + start)
    parts, _ = reduced_panel(series, "loss", x, ranks=0, width=300, range=ends, start=start)
    assert sum(p["points"] for p in parts) == inside.sum() and (not parts or parts[0]["wrong"] == (~np.isfinite(value[inside])).sum())


def test_a_wide_range_is_drawn_from_blocks(tmp_path):
    "And its edges from points: the counts are true."
    write(tmp_path)
    series = opened(tmp_path)
    (part,), (x, _) = reduced_panel(series, "loss", width=20, range=(5_003, 36_007))
    assert part["points"] == 31_005 and part["wrong"] == 1 and 5_003 <= x[0] < x[-1] <= 36_007 and not series.more
    smoothed = reduced_panel(series, "loss", width=20, range=(5_003, 36_007), smooth=.5)[1]
    assert len(smoothed) == 3 and 5_003 <= smoothed[0].min() < smoothed[0].max() <= 36_007


@pytest.mark.parametrize("begin", [20_000, 20_123, 3, 39_999])
def test_a_restart_replaces_to_the_point(tmp_path, begin):
    write(tmp_path, bad=False).close()
    write(tmp_path, 30_000, attempt=1, begin=begin, seed=1, bad=False).close()
    series = opened(tmp_path)
    table = read_metrics(tmp_path)
    (part,), (x, _) = reduced_panel(series, "loss", width=40)
    assert part["points"] == begin + 30_000 == table.num_rows // 2 and restarts_of(series) == restarts(table) and x.max() == begin + 29_999
    assert any(a.overview for a in series.attempts.values()), "still seen from the overviews"
    same(tmp_path, series)


def test_opened_at_any_moment_of_a_run(tmp_path):
    "The overview, the file beyond it, the ring beyond that; then on with the file alone."
    writer = MetricsWriter(metrics_path(tmp_path, 0))
    ring = Ring.create(ring_path(tmp_path, 0, 0), 1 << 12)
    reader = Ring.open(ring_path(tmp_path, 0, 0))
    readers: list[RunSeries] = []
    for turn in range(60):
        for i in range(turn * 150, turn * 150 + 150): ring.log(i, {"loss": math.sin(i), "accuracy": i, **({"late": 1.} if turn > 40 else {})})
        if turn % 4:
            records, end = reader.read()
            assert writer.write(0, records, reader.names(), end)
            if turn % 3: reader.advance(end)
        if turn % 9 == 0: readers.append(RunSeries(tmp_path))
        logged = 300 * (turn + 1) + 150 * max(0, turn - 40)
        for series in readers:
            series.poll()
            assert len(series) == logged
            parts, _ = reduced_panel(series, "loss", width=10)
            assert parts[0]["points"] == 150 * (turn + 1) and parts[0]["last"] == math.sin(150 * turn + 149)
    assert len(readers) == 7 and overview_path(metrics_path(tmp_path, 0)).exists()
    for series in readers: same(tmp_path, series)
    for r in (ring, reader): r.close()


def test_without_it_or_with_a_torn_one_nothing_is_missing(tmp_path):
    write(tmp_path).close()
    path, whole = overview_path(metrics_path(tmp_path, 0)), overview_path(metrics_path(tmp_path, 0)).read_bytes()
    expected = reduced_panel(full(tmp_path), "loss", width=600)
    for size in (*range(0, len(whole), len(whole) // 40), len(whole) - 1, None):
        if size is None: path.unlink()
        else: path.write_bytes(whole[:size])
        series = RunSeries(tmp_path)
        series.poll()
        assert len(series) == 80_000 and series.names() == NAMES
        assert reduced_panel(series, "loss", width=30)[0] == expected[0]
    same(tmp_path, series)


def test_a_damaged_one_raises_nothing(tmp_path):
    write(tmp_path).close()
    right = read_overview(metrics_path(tmp_path, 0))
    path, whole, draw = overview_path(metrics_path(tmp_path, 0)), overview_path(metrics_path(tmp_path, 0)).read_bytes(), random.Random(0)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 20)): data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(bytes(data))
        found = read_overview(metrics_path(tmp_path, 0))
        for key, (blocks, _) in found.series.items() if found else ():
            assert blocks.tobytes() == right.series[key][0][:len(blocks)].tobytes(), "what is taken is right"
    path.write_bytes(b"no Arrow at all" * 100)
    assert read_overview(metrics_path(tmp_path, 0)) is None


def test_metrics_that_are_shorter_than_their_overview(tmp_path):
    "A power failure: what was not synced is gone, in whichever file."
    write(tmp_path).close()
    path = metrics_path(tmp_path, 0)
    data = path.read_bytes()
    for share in (.9, .4, .02):
        path.write_bytes(data[:int(share * len(data))])
        series = RunSeries(tmp_path)
        series.poll()
        with pytest.warns(UserWarning, match="damaged"): rows = read_metrics(tmp_path).num_rows
        assert len(series) == rows


def test_no_room_for_the_overview_costs_no_metrics(tmp_path):
    overview_path(metrics_path(tmp_path, 0)).mkdir(parents=True)
    writer = write(tmp_path)
    assert writer.problem is None and writer.close() and read_metrics(tmp_path).num_rows == 80_000
    os.rmdir(overview_path(metrics_path(tmp_path, 0)))


def test_a_small_run_has_none(tmp_path):
    write(tmp_path, 1000, bad=False).close()
    assert not overview_path(metrics_path(tmp_path, 0)).exists() and [p.name for p in (tmp_path/"metrics").iterdir()] == ["0.arrow"]


def test_the_picture_of_a_long_run(tmp_path):
    write(tmp_path, 300_000, batch=5000, bad=False)
    series = opened(tmp_path)
    table = light_table(series)
    assert 2000 < table.num_rows < 20_000 and max(table["value"].to_pylist()) == 1e4 and any(a.overview for a in series.attempts.values())


@pytest.mark.parametrize("most", [3, 64])
def test_steps_that_go_to_and_fro(tmp_path, monkeypatch, most):
    "A bound cuts through every block: then all points are read, at once where they are few."
    monkeypatch.setattr("lepton_bench.metrics.live_series.NEAR", most)
    writer = MetricsWriter(metrics_path(tmp_path, 0))
    for k in range(40): writer.write(0, points(np.arange(1000), 2, seed=k), NAMES, 2000 * (k + 1))
    series, exact = opened(tmp_path), full(tmp_path)
    for options in ({}, {"range": (100, 299.5)}):
        while True:
            parts, arrays = reduced_panel(series, "loss", width=60, **options)
            if not series.more: break
            series.poll()
        wanted, expected = reduced_panel(exact, "loss", width=60, **options)
        assert parts == wanted and parts[0]["points"] == (40_000 if not options else 8000)
        if options and most == 3: assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, expected, strict=True))
    MetricsWriter(metrics_path(tmp_path, 1)).write(0, points(np.arange(500, 600), 2), NAMES, 200)
    while series.poll() and series.more: pass
    parts, _ = reduced_panel(series, "loss", width=60)
    while series.more:
        series.poll()
        parts, _ = reduced_panel(series, "loss", width=60)
    assert parts[0]["points"] == read_metrics(tmp_path).num_rows // 2 == 20_100
