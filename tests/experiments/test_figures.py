"""Figures: whole PNG files, readable labels, undefined sites hatched, no global state."""

import struct
import subprocess
import sys
import warnings
from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
import tolerances
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from experiments import figures
from experiments.figures import (
    alignment,
    circle,
    comparison,
    curves,
    heatmap,
    labels,
    significance,
    similarity,
    style,
    transfer,
    winners,
)
from gpu_smds._files import Folder

SENTENCE = (
    "Name was born on the Day_Ordinal of Month . Name plays volleyball volleyball . Name 's "
    "favourite color is green . Name lives in Berlin . Name had a party on her birthday ."
)
WORDS = SENTENCE.split()
TOKENS = [{"Name": "Lisa", "Day_Ordinal": "th", "Month": "March"}.get(word, word) for word in WORDS]
TOKENS[11:13] = ["volley", "ball"]
LANDMARKS = {"source": 7, "distractor": 12, "destination": WORDS.index("birthday")}
LAYERS = list(range(31))
SAYS = {"title": "Exp 1: a title", "caption": "What was done, on 1000 sentences."}


def scores(n_layers=31, seed=0):
    rng = np.random.default_rng(seed)
    mean = np.where(np.arange(len(WORDS)) > 7, 0.9, 0.38) + rng.normal(
        0, 0.01, (n_layers, len(WORDS))
    )
    mean[:, 7] = 0.97
    ok = np.ones(mean.shape, dtype=bool)
    ok[0] = np.isin(WORDS, ["Name", "Day_Ordinal", "Month"])
    return mean, ok


def draw_independent(path):
    figures.draw_independent(path, *scores(), LAYERS, WORDS, TOKENS, LANDMARKS, [7, 15, 23], **SAYS)


def draw_map(path):
    figures.draw_map(path, *scores(), LAYERS, WORDS, TOKENS, LANDMARKS, cmap="Reds", **SAYS)


def draw_similarity(path, count=34):
    values = np.random.default_rng(0).random((count, count))
    values[1] = values[:, 1] = np.nan
    marks = {role: min(place, count - 1) for role, place in LANDMARKS.items()}
    figures.draw_similarity(path, values, WORDS[:count], TOKENS[:count], marks, 18, **SAYS)


def draw_circle(path):
    rng = np.random.default_rng(0)
    turns = rng.random(200)
    target = circle.on_circle(turns) @ np.array([[0.0, 1.0], [1.0, 0.0]])
    points = target + rng.normal(0, 0.1, target.shape)
    panels = [
        figures.CirclePanel("Month", points, target, turns, 0.97),
        figures.CirclePanel("volleyball", points, None, turns, 0.9),
        figures.CirclePanel("birthday", 40 * points, target, turns, 0.9),
    ]
    figures.draw_circle(path, panels, [("Jan", 0.0), ("Apr", 0.25), ("Jul", 0.5)], **SAYS)


def draw_comparison(path, shift=0):
    models = []
    for i in range(2):
        mean, ok = scores(20 + 5 * i)
        words = WORDS if i == 0 or not shift else [f"{word}{i}" for word in WORDS]
        models.append(
            figures.Model(
                name=f"model {i}",
                mean=mean,
                ok=ok,
                layers=range(len(mean)),
                words=words,
                landmarks=LANDMARKS,
            )
        )
    figures.draw_comparison(path, models, **SAYS)


def draw_alignment(path):
    mean, _ = scores()
    raw = np.full((31, 36), 0.4)
    figures.draw_alignment(
        path,
        mean,
        raw,
        LAYERS,
        words=WORDS,
        tokens=TOKENS,
        landmarks=LANDMARKS,
        raw_tokens=["2", "0", *TOKENS],
        raw_landmarks={"source": 9},
        month_columns={7: 70, 8: 620, 9: 310},
        layer=15,
        **SAYS,
    )


MANIFOLDS = list(winners.COLOURS)


def won(n_layers=31, n_manifolds=8):
    """Every manifold wins a column in turn; a first layer undefined, a word where nobody wins."""
    winner = np.tile(np.arange(len(WORDS)) // 2 % n_manifolds, (n_layers, 1))
    margin = np.tile(np.linspace(0, 0.3, n_layers)[:, None], (1, len(WORDS)))
    winner[0] = winners.UNDEFINED
    winner[:, 20] = winners.NOBODY
    margin[winner < 0] = np.nan
    return winner, margin


def draw_winners(path, n_manifolds=8):
    sites = *won(n_manifolds=n_manifolds), MANIFOLDS[:n_manifolds], LAYERS
    figures.draw_winners(path, *sites, WORDS, TOKENS, LANDMARKS, **SAYS)


def significant_sites():
    """What is significant: words after the source; a layer and a site were not tested."""
    mean, ok = scores()
    significant = np.where(ok, mean > 0.5, np.nan)
    significant[12] = significant[20, 20] = np.nan
    return significant


def draw_tested(path):
    mean, ok = scores()
    band = np.where(np.isnan(significant_sites()), np.nan, 0.35), np.full(mean.shape, 0.42)
    sites = mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS, [7, 12, 23]
    figures.draw_independent(path, *sites, significant=significant_sites(), chance=band, **SAYS)


def draw_tested_map(path):
    figures.draw_map(
        path, *scores(), LAYERS, WORDS, TOKENS, LANDMARKS, significant=significant_sites(), **SAYS
    )


def z_and_p():
    mean, ok = scores()
    z = np.where(np.isnan(significant_sites()), np.nan, (mean - 0.38) / 0.01)
    return (
        z,
        np.where(
            significant_sites() == 1, 0.05, np.where(np.isnan(significant_sites()), np.nan, 0.051)
        ),
        ok,
    )


def draw_significance(path):
    figures.draw_significance(path, *z_and_p(), LAYERS, WORDS, TOKENS, LANDMARKS, **SAYS)


def matrices(count, size):
    values = np.random.default_rng(0).random((count, size, size))
    values[-1, 3] = values[-1, :, 3] = np.nan
    return values


def draw_transfer(path, count=3):
    panels = list(zip((7, 15, 23), matrices(count, len(WORDS)), strict=False))
    figures.draw_transfer(path, panels, WORDS, TOKENS, LANDMARKS, **SAYS)


def draw_layer_transfer(path, count=4):
    names = ("Month", "volleyball", "birthday", "$.")
    panels = list(zip(names, matrices(count, 31), strict=False))
    figures.draw_layer_transfer(path, panels, LAYERS, **SAYS)


DRAWS = [
    draw_independent,
    draw_map,
    draw_similarity,
    lambda path: draw_similarity(path, 12),
    draw_circle,
    draw_comparison,
    lambda path: draw_comparison(path, 1),
    draw_alignment,
    draw_winners,
    lambda path: draw_winners(path, 16),
    draw_tested,
    draw_tested_map,
    draw_significance,
    draw_transfer,
    lambda path: draw_transfer(path, 1),
    draw_layer_transfer,
    lambda path: draw_layer_transfer(path, 1),
]
MODULES = [
    alignment,
    circle,
    comparison,
    curves,
    heatmap,
    significance,
    similarity,
    transfer,
    winners,
]


@pytest.fixture
def drawn(monkeypatch):
    """Figures instead of files."""
    kept = []
    for module in MODULES:
        monkeypatch.setattr(module, "save", lambda figure, _: kept.append(figure))
    return kept


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def look(ax, pixels_of, row, column, reach=0.3):
    """Pixels of a cell's middle."""
    height = pixels_of.shape[0]
    (x0, y0), (x1, y1) = ax.transData.transform(
        [(column - reach, row - reach), (column + reach, row + reach)]
    )
    top, bottom = sorted((int(height - y0), int(height - y1)))
    return pixels_of[top:bottom, int(x0) : int(x1)].reshape(-1, 3)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_png_of_the_size_of_its_figure(draw, tmp_path, monkeypatch):
    made = []
    new = style.new_figure
    for module in MODULES:
        monkeypatch.setattr(
            module, "new_figure", lambda *a, **k: made.append(new(*a, **k)) or made[-1]
        )
    path = tmp_path / "new" / "figure.png"
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(path)
    assert dict(matplotlib.rcParams) == before
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    size = struct.unpack(">II", content[16:24])
    assert size == tuple(round(inches * style.DPI) for inches in made[0].get_size_inches())
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("draw", DRAWS)
def test_labels_neither_collide_nor_leave_the_figure(draw, drawn):
    draw(None)
    (figure,) = drawn
    figure.canvas.draw()
    width, height = figure.bbox.width, figure.bbox.height
    inner = [child for parent in figure.axes for child in parent.child_axes]
    for ax in [*figure.axes, *inner]:
        if not ax.axison:
            continue
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [tick for tick in axis.get_ticklabels() if tick.get_text()]
            boxes = [tick.get_window_extent() for tick in ticks if tick.get_visible()]
            starts = [(b.x0, b.x1) if axis is ax.xaxis else (b.y0, b.y1) for b in boxes]
            starts = sorted(s for s in starts if s[1] > s[0])
            assert all(a[1] <= b[0] for a, b in pairwise(starts))
            for box in boxes:
                assert 0 <= box.x0 <= box.x1 <= width
                assert 0 <= box.y0 <= box.y1 <= height
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height


def test_every_text_is_at_least_ten_pixels_at_800():
    assert style.TEXT / 72 * 800 / style.WIDTH >= 10


@pytest.mark.parametrize("cmap", ["viridis", "Reds"])
def test_undefined_cells_are_hatched_and_others_not(cmap, drawn):
    mean, ok = scores()
    figures.draw_map("", mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS, cmap=cmap, title="t")
    ax = drawn[0].axes[0]
    image = pixels(drawn[0])
    undefined = look(ax, image, 0, 2)
    colours = {tuple(c) for c in undefined}
    assert len(colours) > 3  # the hatch on its ground
    assert np.ptp(undefined, axis=1).max() <= 2  # grey
    assert undefined.min() < 200 < undefined.max()
    assert len({tuple(c) for c in look(ax, image, 3, 2)}) == 1
    assert any(patch.get_gid() == "undefined" and patch.get_hatch() for patch in ax.patches)
    assert "undefined" in [text.get_text() for text in drawn[0].legends[0].get_texts()]


def test_nothing_undefined_nothing_hatched(drawn):
    mean, ok = scores()
    figures.draw_map("", mean, ok | True, LAYERS, WORDS, TOKENS, LANDMARKS, title="t")
    assert not any(patch.get_gid() == "undefined" for patch in drawn[0].axes[0].patches)
    assert "undefined" not in [text.get_text() for text in drawn[0].legends[0].get_texts()]


def test_nan_is_undefined_whatever_ok_says(drawn):
    mean, ok = scores()
    mean[5, 5] = np.nan
    mean[6, 6] = -np.inf
    figures.draw_map("", mean, ok | True, LAYERS, WORDS, TOKENS, LANDMARKS, title="t")
    image = pixels(drawn[0])
    for site in ((5, 5), (6, 6)):
        assert np.ptp(look(drawn[0].axes[0], image, *site), axis=1).max() <= 2


def test_curves_break_where_undefined(drawn):
    mean, ok = scores()
    ok[15, 20] = False
    figures.draw_independent("", mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS, [7, 15, 23], title="t")
    lines = {line.get_label(): line for line in drawn[0].axes[1].lines}
    assert np.flatnonzero(np.isnan(lines["layer 15"].get_ydata())).tolist() == [20]


def test_similarity_boxes_source_and_destination_and_names_the_value(drawn):
    values = np.full((34, 34), 0.02)
    values[1] = values[:, 1] = np.nan
    values[7, LANDMARKS["destination"]] = 0.0123
    figures.draw_similarity("", values, WORDS, TOKENS, LANDMARKS, 18, title="t")
    ax = drawn[0].axes[0]
    (box,) = [p for p in ax.patches if p.get_gid() == "source-destination"]
    assert box.get_xy() == (LANDMARKS["destination"] - 0.5, 6.5)
    assert any("0.012" in text.get_text() for text in ax.texts)
    image = pixels(drawn[0])
    assert (look(ax, image, 20, 5) == 255).all()  # small values are blank
    assert np.unique(look(ax, image, 1, 20)).size > 3  # undefined rows are hatched
    assert len({tuple(c) for c in look(ax, image, 4, 4)}) == 1  # the diagonal is masked


@pytest.mark.parametrize(("count", "numbers"), [(20, True), (21, False)])
def test_similarity_prints_values_where_there_is_room(count, numbers, drawn):
    draw_similarity(None, count)
    printed = [text for text in drawn[0].axes[0].texts if text.get_gid() == "value"]
    assert bool(printed) is numbers


def test_labels_say_words_and_tokens_where_they_say_more():
    texts = labels.positions(WORDS, TOKENS, LANDMARKS).texts
    assert texts[0] == "Name\u00a0(Lisa)"
    assert texts[9] == "Name"
    assert texts[11:13] == ("volley|", "volley|ball")
    assert texts[5] == "Day_Ordinal\u00a0(th)"
    assert labels.positions(["had", "had"], ["had", "had"], {}).texts == ("had", "had")


def test_labels_that_fonts_and_formulas_stumble_on(tmp_path):
    words = ["$x$", "月", "\n", "a" * 60, "%", "_^{", "\x00"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw_map(
            tmp_path / "f.png",
            np.ones((2, 7)),
            np.ones((2, 7), bool),
            [0, 1],
            words,
            words,
            {"source": 1},
            title="$ and 月 _^{",
            caption="$",
        )


def test_long_names_stay_within_the_figure_and_apart(drawn):
    long = "a-long-name-of-somebody/and-of-a-model-that-is-longer-"
    mean, ok = scores(3)
    words = ["x" * 60, *WORDS[1:]]
    marks = {"source": 0, "destination": 7}
    models = [
        figures.Model(
            name=f"{long}{i}", mean=mean, ok=ok, layers=range(3), words=words, landmarks=marks
        )
        for i in range(3)
    ]
    figures.draw_comparison("", models, title="t")
    turns = np.linspace(0, 1, 20, endpoint=False)
    panel = figures.CirclePanel(long, circle.on_circle(turns), None, turns, 1.0)
    names = [(long, -0.125), (long, 0.125), (long, 0.375), (long, 0.625)]
    figures.draw_circle("", [panel, panel, panel], names, title="t")
    values = np.ones((len(words), len(words)))
    figures.draw_similarity("", values, words, words, marks, 0, title="t")
    for figure in drawn:
        figure.canvas.draw()
        titles = [ax.title if ax.title.get_text() else ax._left_title for ax in figure.axes]
        boxes = [t.get_window_extent() for t in titles if t.get_text()]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        for ax in figure.axes:
            boxes += [text.get_window_extent() for text in ax.texts]
            if (legend := ax.get_legend()) is not None:
                boxes.append(legend.get_window_extent())
                assert not legend.get_window_extent().overlaps(ax._left_title.get_window_extent())
        for box in boxes:
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
    shown = [ax.get_title(loc="left") for ax in drawn[0].axes[:3]]
    assert len(set(shown)) == 3  # a name is cut in the middle
    # No name of a circle runs across its ring.
    ax = drawn[1].axes[0]
    centre = ax.transData.transform([[0, 0], [0, circle.RING[1]]])
    for text in ax.texts:
        box = text.get_window_extent()
        away = np.hypot(*(np.clip(centre[0], box.min, box.max) - centre[0]))
        assert away > centre[1][1] - centre[0][1]


def test_landmarks_keep_their_labels_among_very_many_positions(drawn):
    count = 150
    words = [f"word{i}" for i in range(count)]
    marks = {"source": 71, "distractor": 90, "destination": 140}
    figures.draw_map(
        "",
        np.ones((3, count)),
        np.ones((3, count), bool),
        [0, 7, 9],
        words,
        words,
        marks,
        title="t",
    )
    shown = [t.get_text() for t in drawn[0].axes[0].get_xticklabels() if t.get_text()]
    assert {"word71", "word90", "word140"} <= set(shown)
    assert len(shown) < count


@pytest.mark.parametrize("ok", [True, False])
def test_one_site_and_no_landmarks(ok, tmp_path):
    figures.draw_independent(
        tmp_path / "f.png",
        np.ones((1, 1)),
        np.full((1, 1), ok),
        [3],
        ["a"],
        ["a"],
        {},
        [3],
        title="",
    )
    assert (tmp_path / "f.png").exists()


@pytest.mark.parametrize("mirror", [1, -1])
def test_calendar_turns_any_frame_to_the_same_face(mirror):
    turns = np.random.default_rng(1).random(50)
    ideal = circle.on_circle(turns)
    spin = np.array([[0.6, 0.8], [-0.8, 0.6]]) @ np.diag([1, mirror])
    target = 3 * ideal @ spin + [5, 7]
    points, aim = circle.calendar(target, target, turns)
    tolerances.assert_close(points, ideal, tolerances.ROUNDING)
    tolerances.assert_close(aim, ideal, tolerances.ROUNDING)
    tolerances.assert_close(
        circle.on_circle(np.array([0, 0.25])), [[0, 1], [1, 0]], tolerances.ROUNDING
    )


def test_cyclic_colours_are_even_closed_and_in_gamut():
    rgb = circle.cyclic_colours(64).colors
    assert np.shape(rgb) == (64, 3)
    assert np.min(rgb) >= 0
    assert np.max(rgb) <= 1
    steps = np.linalg.norm(np.asarray(rgb) - np.roll(rgb, 1, axis=0), axis=1)
    assert steps.max() < 2.5 * np.median(steps)  # no seam at the new year


def test_spread_labels_keep_order_and_distance():
    heights = alignment.spread([0.97, 0.96, 0.4, 0.95], gap=0.1)
    assert np.argsort(heights).tolist() == [2, 3, 1, 0]
    assert np.diff(sorted(heights)).min() >= 0.1 - tolerances.ROUNDING
    assert heights[2] == 0.4


def outlines(ax):
    """Edges of cells, as sorted pairs of corners, that the outline of significant sites covers."""
    found = []
    for collection in ax.collections:
        if collection.get_gid() == "significant":
            for ends in collection.get_segments():
                (x0, y0), (x1, y1) = ends
                length = round(abs(x1 - x0) + abs(y1 - y0))
                corners = [tuple(c) for c in np.linspace(*ends, length + 1).round(6).tolist()]
                found += [tuple(sorted(pair)) for pair in pairwise(corners)]
    return sorted(found)


def edges_of(mask):
    """Edges between cells of the mask and others, the rim of the panel included."""
    inside = {(int(i), int(j)) for i, j in np.argwhere(mask)}
    found = []
    for i, j in inside:
        for di, dj in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            if (i + di, j + dj) not in inside:
                y, x = i + di / 2, j + dj / 2
                ends = ((x - di / 2, y - dj / 2), (x + di / 2, y + dj / 2))
                found.append(tuple(sorted(ends)))
    return sorted(found)


def said_above(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", [draw_tested, draw_tested_map, draw_significance])
def test_what_is_significant_is_outlined_along_its_cells(draw, drawn):
    draw(None)
    assert outlines(drawn[0].axes[0]) == edges_of(significant_sites() == 1)
    assert heatmap.SIGNIFICANT in said_above(drawn[0])


@pytest.mark.parametrize("seed", range(3))
def test_scattered_sites_are_outlined_each_edge_once(seed, drawn):
    mask = np.random.default_rng(seed).random((31, len(WORDS))) < 0.5
    mean, ok = scores()
    sites = mean, ok | True, LAYERS, WORDS, TOKENS, LANDMARKS
    figures.draw_map("", *sites, significant=mask, title="t")
    assert outlines(drawn[0].axes[0]) == edges_of(mask)


@pytest.mark.parametrize("cmap", ["viridis", "Reds"])
def test_the_outline_is_dark_within_a_light_halo(cmap, drawn):
    mean, ok = scores()
    mask = np.zeros(mean.shape)
    mask[10:20, 12:20] = 1
    sites = mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS
    figures.draw_map("", *sites, cmap=cmap, significant=mask, title="t")
    ax, image = drawn[0].axes[0], pixels(drawn[0])
    across = look(ax, image, 15, 11.5, reach=0.3)  # the border between two columns
    brightness = across.sum(axis=1)
    assert brightness.min() < 3 * 30
    assert brightness.max() > 3 * 250
    assert len(np.unique(look(ax, image, 15, 14), axis=0)) == 1  # not within


@pytest.mark.parametrize("cell", [0.0, np.nan, 1.0])
def test_one_outcome_of_the_test_everywhere(cell, drawn):
    mean, ok = scores()
    significant = np.full(mean.shape, cell)
    sites = mean, ok | True, LAYERS, WORDS, TOKENS, LANDMARKS
    figures.draw_map("", *sites, significant=significant, title="t")
    ax = drawn[0].axes[0]
    assert outlines(ax) == edges_of(significant == 1)
    said = [text for text in said_above(drawn[0]) if "significant" in text]
    assert (
        said
        == {
            "0.0": [f"{heatmap.SIGNIFICANT}: nowhere"],
            "nan": [],
            "1.0": [heatmap.SIGNIFICANT],
        }[str(cell)]
    )


def test_undefined_sites_beside_significant_ones_stay_hatched(drawn):
    draw_tested_map(None)
    undefined = look(drawn[0].axes[0], pixels(drawn[0]), 0, 8)
    assert len(np.unique(undefined, axis=0)) > 3
    assert np.ptp(undefined, axis=1).max() <= 2


def band_of(figure):
    """Lower ends, upper ends and edges of the band, by position."""
    (band,) = [patch for patch in figure.axes[1].patches if patch.get_gid() == "chance"]
    data = band.get_data()
    return data.baseline, data.values, data.edges


def test_the_band_of_chance_spans_the_layers_of_the_curves(drawn):
    mean, ok = scores()
    rng = np.random.default_rng(0)
    lower, upper = 0.3 + 0.05 * rng.random(mean.shape), 0.4 + 0.05 * rng.random(mean.shape)
    lower[7, 3] = upper[15, 4] = np.nan  # one of three layers: the others' count
    lower[:, 9] = np.nan
    chosen = [7, 15, 23]
    sites = mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS, chosen
    figures.draw_independent("", *sites, chance=(lower, upper), title="t")
    low, high, edges = band_of(drawn[0])
    missing = np.isnan(lower + upper)
    rows = [np.where(missing, np.nan, end)[chosen] for end in (lower, upper)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(low, np.nanmin(rows[0], axis=0))
        np.testing.assert_array_equal(high, np.nanmax(rows[1], axis=0))
    assert np.flatnonzero(np.isnan(low)).tolist() == [9]
    np.testing.assert_array_equal(edges, np.arange(len(WORDS) + 1) - 0.5)
    ax = drawn[0].axes[1]
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["layer 7", "layer 15", "layer 23", "chance (permuted labels)"]
    (band,) = [patch for patch in ax.patches if patch.get_gid() == "chance"]
    assert all(band.get_zorder() < line.get_zorder() for line in ax.lines)


def test_no_band_where_nothing_was_tested(drawn):
    mean, ok = scores()
    nothing = np.full(mean.shape, np.nan)
    sites = mean, ok, LAYERS, WORDS, TOKENS, LANDMARKS, [7]
    figures.draw_independent("", *sites, chance=(nothing, nothing), title="t")
    ax = drawn[0].axes[1]
    assert not any(patch.get_gid() == "chance" for patch in ax.patches)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["layer 7"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"significant": np.ones((5, 5))}, "significant sites of"),
        ({"significant": np.full((31, len(WORDS)), 0.04)}, "not tested"),
        ({"significant": np.ones((31, len(WORDS)))}, "undefined"),
        ({"chance": (np.zeros((31, 5)), np.ones((31, 5)))}, "layers, positions"),
        ({"chance": (np.ones((31, len(WORDS))), np.zeros((31, len(WORDS))))}, "above"),
    ],
)
def test_tests_that_do_not_fit_are_named(wrong, says, tmp_path):
    sites = *scores(), LAYERS, WORDS, TOKENS, LANDMARKS
    with pytest.raises(ValueError, match=says):
        figures.draw_independent(tmp_path / "f.png", *sites, [7], **wrong, title="t")
    if "significant" in wrong:
        with pytest.raises(ValueError, match=says):
            figures.draw_map(tmp_path / "f.png", *sites, **wrong, title="t")
    assert not list(tmp_path.iterdir())


def test_a_legend_too_long_for_a_row_takes_two(drawn):
    mean, ok = scores()
    words = [f"a_word_that_is_wide_{i}" for i in range(len(WORDS))]
    sites = mean, ok, LAYERS, words, words, LANDMARKS, [7]
    figures.draw_independent("", *sites, significant=significant_sites(), title="t")
    (figure,) = drawn
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x1 <= figure.bbox.width
    rows = {round(text.get_window_extent().y0 / 10) for text in figure.legends[0].get_texts()}
    assert len(rows) == 2
    assert all(box.y0 > ax.title.get_window_extent().y1 for ax in figure.axes[:2])


def test_sites_that_were_not_tested_are_grey_without_hatching(drawn):
    draw_significance(None)
    ax, image = drawn[0].axes[0], pixels(drawn[0])
    for row, column in ((12, 3), (12, 25), (20, 20)):
        cell = look(ax, image, row, column)
        assert (np.abs(cell - 255 * np.array(to_rgb(significance.UNTESTED))) <= 1).all()
    assert len(np.unique(look(ax, image, 0, 3), axis=0)) > 3  # undefined
    assert {significance.NO_Z, "undefined"} <= set(said_above(drawn[0]))


def test_every_site_tested_and_defined_needs_no_legend_of_them(drawn):
    sites = np.zeros((31, len(WORDS))), np.ones((31, len(WORDS))), np.ones((31, len(WORDS)), bool)
    figures.draw_significance("", *sites, LAYERS, WORDS, TOKENS, LANDMARKS, title="t")
    assert not {significance.NO_Z, "undefined"} & set(said_above(drawn[0]))
    assert not any(c.get_gid() == "untested" for c in drawn[0].axes[0].collections)
    assert (look(drawn[0].axes[0], pixels(drawn[0]), 9, 9) >= 245).all()  # 0 is white


def test_colours_of_z_are_cut_where_few_values_go_beyond_and_the_bar_says_so(drawn):
    z, p, ok = z_and_p()
    z[5, 5], z[6, 6] = 1e4, np.inf
    figures.draw_significance("", z, p, ok, LAYERS, WORDS, TOKENS, LANDMARKS, title="t")
    low, high = significance.ends(z)
    assert low <= -significance.NEAREST
    assert 50 < high < 100
    ax, side = drawn[0].axes
    said = [text.get_text() for text in side.get_yticklabels()]
    assert said[-1] == f"≥ {high:g}"
    assert said[0] == f"−{-low:g}"
    image = pixels(drawn[0])
    for site in ((5, 5), (6, 6)):
        cell = look(ax, image, *site)
        assert len(np.unique(cell, axis=0)) == 1
        assert cell[0, 2] > 1.5 * cell[0, 1]  # purple, not blank or hatched


def test_ends_are_round_numbers_around_zero():
    assert significance.ends(np.full((2, 2), np.nan)) == (-3, 3)
    assert significance.ends(np.array([-0.5, 1.0])) == (-3, 3)
    assert significance.ends(np.full(9, 41.0)) == (-4, 45)
    assert significance.ends(np.full(9, -7.2)) == (-7.5, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda z, p, ok: (z[:5], p, ok), "layers, positions"),
        (lambda z, p, ok: (z, p[:, :5], ok), "layers, positions"),
        (lambda z, p, ok: (z, p, ok[:5]), "layers, positions"),
        (lambda z, p, ok: (z, p + 1, ok), "from 0 to 1"),
        (lambda z, p, ok: (z * np.nan, p, ok), "undefined"),
        (lambda z, p, ok: (z, p * 0, ~ok), "undefined"),
    ],
)
def test_significance_that_does_not_fit_is_named(change, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        figures.draw_significance(
            tmp_path / "f.png", *change(*z_and_p()), LAYERS, WORDS, TOKENS, LANDMARKS, title="t"
        )
    assert not list(tmp_path.iterdir())


def test_transfer_boxes_the_row_of_the_source_and_the_column_of_the_destination(drawn):
    draw_transfer(None)
    panels = drawn[0].axes[:3]
    for ax in panels:
        boxes = {patch.get_gid(): patch.get_bbox() for patch in ax.patches}
        row, column = boxes["source"], boxes["destination"]
        tolerances.assert_close((row.y0 + row.y1) / 2, LANDMARKS["source"], tolerances.LAST_BITS)
        tolerances.assert_close(
            (column.x0 + column.x1) / 2, LANDMARKS["destination"], tolerances.LAST_BITS
        )
        assert (row.x0, row.x1) == (column.y0, column.y1) == (-0.5, len(WORDS) - 0.5)
        assert 1 < row.height < 1.7
        assert 1 < column.width < 1.7
        assert ax.get_ylim() == (len(WORDS) - 0.5, -0.5)  # the first source on top
    assert [ax.get_title(loc="left") for ax in panels] == ["layer 7", "layer 15", "layer 23"]
    assert [bool(ax.get_yticklabels()) for ax in panels] == [True, False, False]
    assert "undefined" in said_above(drawn[0])


@pytest.mark.parametrize("draw", [draw_transfer, draw_layer_transfer])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_transfer_is_square_from_source_row_to_target_column(draw, count, drawn):
    draw(None, count)
    (figure,) = drawn
    image = pixels(figure)
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert len(panels) == count
    boxes = [ax.get_window_extent() for ax in panels]
    for box in boxes:
        tolerances.assert_close(box.width, box.height, tolerances.ROUNDING, relative=True)
        tolerances.assert_close(box.width, boxes[0].width, tolerances.ROUNDING, relative=True)
        assert box.width > 0.95 * 200 * min(5.2, 2.2 * 3 / count)
    size = len(WORDS) if draw is draw_transfer else 31
    values = matrices(count, size)
    colours = matplotlib.colormaps["viridis"]
    for ax, matrix in zip(panels, values, strict=True):
        for row, column in ((10, 20), (20, 10)):
            expected = 255 * np.array(colours(matrix[row, column])[:3])
            assert np.abs(look(ax, image, row, column) - expected).max() <= 2
    undefined = look(panels[-1], image, 3, 20, reach=0.4)
    assert np.ptp(undefined, axis=1).max() <= 2  # grey
    assert len(np.unique(undefined, axis=0)) > 3


def test_transfer_below_zero_is_said_by_the_bar(drawn):
    for low in (0.0, -0.1):
        figures.draw_layer_transfer("", [("a", np.full((2, 2), low))], [0, 1], title="t")
    bars = [figure.axes[0].child_axes[0] for figure in drawn]
    assert [len(bar.patches) for bar in bars] == [0, 1]


def test_transfer_of_one_site_without_landmarks(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (1.0, np.nan):
            panels = [(3, np.full((1, 1), value))]
            figures.draw_transfer(tmp_path / "f.png", panels, ["a"], ["a"], {}, title="")
            figures.draw_layer_transfer(tmp_path / "g.png", [("月", panels[0][1])], [3], title="")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("count", [0, 5])
def test_transfer_of_too_few_or_too_many_is_named(count, tmp_path):
    with pytest.raises(ValueError, match=r"one to 3 .* got \d"):
        figures.draw_transfer(
            tmp_path / "f.png", [(0, np.ones((1, 1)))] * count, ["a"], ["a"], {}, title="t"
        )
    with pytest.raises(ValueError, match=r"one to 4 .* got \d"):
        figures.draw_layer_transfer(
            tmp_path / "f.png", [("a", np.ones((1, 1)))] * count, [0], title="t"
        )
    assert not list(tmp_path.iterdir())


def test_transfer_that_does_not_fit_is_named(tmp_path):
    wrong = np.ones((31, 5))
    with pytest.raises(ValueError, match="expected matrices"):
        figures.draw_layer_transfer(
            tmp_path / "f.png", [("a", np.ones((31, 31))), ("b", wrong)], LAYERS, title="t"
        )
    with pytest.raises(ValueError, match="expected matrices"):
        figures.draw_transfer(tmp_path / "f.png", [(0, wrong)], WORDS, TOKENS, {}, title="t")
    assert not list(tmp_path.iterdir())


def winners_of(drawn, winner, margin, manifolds=MANIFOLDS[:8]):
    """Draw; returns the map, the bars and the pixels."""
    figures.draw_winners("", winner, margin, manifolds, LAYERS, WORDS, TOKENS, LANDMARKS, title="t")
    return *drawn[-1].axes[:2], pixels(drawn[-1])


def test_a_winner_has_its_colour_full_from_a_margin_of_a_fifth_on(drawn):
    winner, margin = np.zeros((31, len(WORDS)), int), np.zeros((31, len(WORDS)))
    margin[10:20], margin[20], margin[21] = 0.2, 7.0, np.inf
    ax, _, image = winners_of(drawn, winner, margin)
    full = np.array(to_rgb(winners.COLOURS["circular"])) * 255
    pale, *strong = (look(ax, image, row, 25) for row in (3, 15, 20, 21))
    for cell in strong:
        assert np.abs(cell - full).max() <= 1
    assert len(np.unique(pale, axis=0)) == 1
    expected = 255 - winners.FAINTEST * (255 - full)
    assert np.abs(pale - expected).max() <= 1


def test_undefined_sites_are_hatched_and_where_nobody_wins_dotted(drawn):
    ax, _, image = winners_of(drawn, *won())
    undefined, nobody = look(ax, image, 0, 3), look(ax, image, 9, 20)
    for cell in (undefined, nobody):
        assert np.ptp(cell, axis=1).max() <= 2  # grey
        assert len(np.unique(cell, axis=0)) > 3
    ground = np.round(np.array(to_rgb(winners.NOBODY_FACE)) * 255)
    assert (nobody == ground).all(axis=1).mean() > 0.6
    assert not (undefined == ground).all(axis=1).mean() > 0.1
    assert "undefined" in [text.get_text() for text in drawn[0].legends[0].get_texts()]


def test_dots_leave_the_lines_of_landmarks_free(drawn):
    winner = np.full((4, 6), winners.NOBODY)
    figures.draw_winners(
        "", winner, winner * np.nan, [], range(4), WORDS[:6], TOKENS[:6], {"source": 3}, title="t"
    )
    (dots,) = [c for c in drawn[0].axes[0].collections if c.get_gid() == "nobody"]
    assert np.abs(dots.get_offsets()[:, 0] - 3).min() > 0.05
    assert len(dots.get_offsets()) % winner.size == 0


def test_bars_count_the_winners_and_leave_the_others_out(drawn):
    winner, margin = won()
    winner[winner == 3] = 4
    _, bars, _ = winners_of(drawn, winner, margin)
    shown = [label.get_text() for label in bars.get_yticklabels()]
    counts = [int(bar.get_width()) for bar in bars.patches if bar.get_gid() == "won"]
    assert shown[-1] == winners.NOBODY_SAYS
    assert dict(zip(shown, counts, strict=True)) == {
        **{MANIFOLDS[i].replace("_", "\u00a0"): (winner == i).sum() for i in range(8) if i != 3},
        winners.NOBODY_SAYS: (winner == winners.NOBODY).sum(),
    }
    assert counts[:-1] == sorted(counts[:-1], reverse=True)
    share = f"{100 * counts[0] / (winner != winners.UNDEFINED).sum():.0f}"
    assert f"{counts[0]} ({share}\u00a0%)" in [text.get_text() for text in bars.texts]


def test_names_in_the_map_lie_on_sites_that_they_won(drawn):
    rng = np.random.default_rng(0)
    winner = np.kron(rng.integers(0, 8, (5, 6)), np.ones((7, 6), int))[:31, : len(WORDS)]
    ax, _, _ = winners_of(drawn, winner, np.zeros(winner.shape))
    written = [text for text in ax.texts if text.get_gid() == "region"]
    assert len(written) > 4
    for text in written:
        corners = ax.transData.inverted().transform(text.get_window_extent().corners())
        columns, rows = np.round(corners).astype(int).T
        here = winner[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert {MANIFOLDS[i].replace("_", "\u00a0") for i in here.ravel()} == {text.get_text()}


def test_a_manifold_keeps_its_colour_among_any_others():
    every = dict(zip(MANIFOLDS, winners.colours_of(MANIFOLDS), strict=True))
    assert winners.colours_of(["torus", "circular"]) == [every["torus"], every["circular"]]
    own = [f"mine{i}" for i in range(10)]
    mixed = winners.colours_of([*own, *MANIFOLDS[:6]])
    assert len(set(mixed)) == 16
    assert mixed[10:] == winners.colours_of(MANIFOLDS[:6])
    assert winners.colours_of(["mine1"]) == winners.colours_of(["mine1", "torus"])[:1]


def test_sixteen_colours_are_told_apart_with_deficient_colour_vision():
    rgb = np.array([to_rgb(color) for color in winners.COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # Machado et al. 2009, severity 1; Ottosson's OKLab.
    protan = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    deutan = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    for sight in (np.eye(3), protan, deutan):
        seen = np.clip(linear @ np.transpose(sight), 0, 1)
        places = np.cbrt(seen @ np.transpose(cones)) @ np.transpose(lab)
        assert min(np.linalg.norm(a - b) for a, b in combinations(places, 2)) > 0.07


@pytest.mark.parametrize("winner", [winners.UNDEFINED, winners.NOBODY, 0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (31, 6)])
def test_one_outcome_everywhere(winner, shape, tmp_path):
    sites = np.full(shape, winner), np.full(shape, 0.1), ["a_$very$_long_name_月"]
    layers, words = range(shape[0]), WORDS[: shape[1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.draw_winners(tmp_path / "f.png", *sites, layers, words, words, {}, title="")
    assert (tmp_path / "f.png").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, m, n: (w[:5], m, n), "layers, positions"),
        (lambda w, m, n: (w, m[:, :5], n), "layers, positions"),
        (lambda w, m, n: (w, m, n[:3]), "from -2 to 2"),
        (lambda w, m, n: (w - 1, m, n), "from -2 to 7"),
        (lambda w, m, n: (w.astype(float), m, n), "integers"),
        (lambda w, m, n: (w, m - 0.1, n), "margin"),
        (lambda w, m, n: (w, m * np.nan, n), "margin"),
        (lambda w, m, n: (w, m, [*n[:7], n[0]]), "named once"),
        (lambda w, m, n: (w, m, [f"m{i}" for i in range(17)]), "up to 16"),
    ],
)
def test_winners_that_do_not_fit_are_named(change, says, tmp_path):
    sites = change(*won(), MANIFOLDS[:8])
    with pytest.raises(ValueError, match=says):
        figures.draw_winners(
            tmp_path / "f.png", *sites, LAYERS, WORDS, TOKENS, LANDMARKS, title="t"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["create", "rename"])
def test_a_failed_save_leaves_nothing_and_keeps_the_old_file(step, tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    draw_map(path)
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Folder, step, fail)
    with pytest.raises(OSError, match="disk full"):
        draw_map(path)
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    assert path.read_bytes() == old


def test_what_was_not_drawn_here_is_not_replaced(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n, a photo")
    with pytest.raises(ValueError, match=r"is not a file of this kind .* choose another name"):
        draw_map(path)
    assert path.read_bytes() == b"\x89PNG\r\n\x1a\n, a photo"


def test_shapes_that_do_not_fit_are_named(tmp_path):
    mean, ok = scores()
    with pytest.raises(ValueError, match="layers, positions"):
        figures.draw_map(tmp_path / "f.png", mean[:5], ok, LAYERS, WORDS, TOKENS, {}, title="t")
    with pytest.raises(ValueError, match=r"layers \[99\]"):
        figures.draw_independent(
            tmp_path / "f.png", mean, ok, LAYERS, WORDS, TOKENS, {}, [99], title="t"
        )
    with pytest.raises(ValueError, match="landmarks"):
        figures.draw_map(
            tmp_path / "f.png", mean, ok, LAYERS, WORDS, TOKENS, {"source": 99}, title="t"
        )
    assert not list(tmp_path.iterdir())


def test_pyplot_is_not_imported():
    code = "import sys, experiments.figures; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
