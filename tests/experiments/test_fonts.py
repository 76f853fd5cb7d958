"""Fonts of figures: scripts that an installed font has, and a line about those that none has."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from tiny_models import save_tiny

from experiments import figures
from experiments.console import Screen
from experiments.figures import fonts, labels, style
from experiments.reports.undrawable import saying_what_is_undrawable


def make_font(path: Path, family: str, drawn: str, blank: str = "", size: int = 900) -> Path:
    """A font of squares, and of glyphs without an outline as fonts of coloured pictures have."""
    names = {f"u{ord(c):x}": c for c in drawn + blank}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(c): name for name, c in names.items()})
    glyphs = {}
    for name in (".notdef", *names):
        pen = TTGlyphPen(None)
        if names.get(name, "") in drawn:
            pen.moveTo((50, 0))
            for corner in ((50, size), (size, size), (size, 0)):
                pen.lineTo(corner)
            pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 50)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(monkeypatch):
    """Paths of fonts that matplotlib's list does not hold; beside its own there are no others."""
    paths = []
    caches = (fonts._has, fonts._families_with, fonts._faces, fonts._codes)
    for cache in caches:
        cache.cache_clear()
    own = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(path) for path in paths])
    yield paths
    for cache in caches:
        cache.cache_clear()


def draw(path, words):
    count = len(words)
    figures.draw_map(
        path, np.ones((2, count)), np.ones((2, count), bool), [0, 1], words, words, {}, title="t"
    )


def pixels(text):
    """Where a line of text has ink."""
    figure = style.new_figure("", height=1)
    figure.text(0.1, 0.5, text, fontsize=13, fontweight="bold")
    style.use_fonts(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 0] < 128


def test_a_font_that_has_the_words_is_found_among_those_installed(
    installed, tmp_path, monkeypatch, caplog
):
    words = ["月", "a", "月曜"]
    with figures.undrawable_words() as missing:
        draw(tmp_path / "boxes.png", words)
    assert missing == {"月": "月", "月曜": "月曜"}

    for cache in (fonts._families_with, fonts._faces):
        cache.cache_clear()
    installed += [
        make_font(tmp_path / "one.ttf", "Test Sans One", "月"),
        make_font(tmp_path / "two.ttf", "Test Sans Both", "月曜", size=500),
        make_font(tmp_path / "blank.ttf", "A Sans", "", "月曜日"),
        make_font(tmp_path / "none.ttf", "Last Resort", "月曜日水"),
    ]
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    installed.append(tmp_path / "broken.ttf")
    drawn = []
    monkeypatch.setattr(style.File, "write", lambda *_: None)
    with figures.undrawable_words() as missing, warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = style.use_fonts
        monkeypatch.setattr(style, "use_fonts", lambda f: (whole(f), drawn.append(f)))
        draw(tmp_path / "glyphs.png", words)
    assert missing == {}
    assert not caplog.records
    ticks = {t.get_text(): t for t in drawn[-1].axes[0].get_xticklabels()}
    own = Text().get_fontfamily()
    assert ticks["月曜"].get_fontfamily() == [*own, "Test Sans Both"]
    assert ticks["a"].get_fontfamily() == own
    # No font for what only fonts of boxes and of blanks have.
    assert fonts.families("日水") == []
    # And that font's squares are there, which are full and smaller than the boxes.
    assert pixels("月曜").any(axis=1).sum() < pixels("□□").any(axis=1).sum()
    assert pixels("月曜").sum() > pixels("□□").sum()


def test_japanese_has_its_own_shapes_of_chinese_characters(installed, tmp_path):
    for country in ("HK", "JP", "KR", "SC"):
        installed.append(
            make_font(tmp_path / f"{country}.ttf", f"Noto Sans CJK {country}", "月のᄀ")
        )
    assert fonts.families("月") == ["Noto Sans CJK SC"]
    assert fonts.families("月の") == ["Noto Sans CJK JP"]
    assert fonts.families("月ᄀ") == ["Noto Sans CJK KR"]


def test_one_line_says_which_words_no_font_can_draw(installed, tmp_path, capsys):
    with saying_what_is_undrawable(Screen()):
        for name in "ab":
            draw(tmp_path / f"{name}.png", ["月", "मार्च", "🎂", "May", "$x$"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no installed font can draw 月, मार्च, 🎂: the figures have boxes there" in said
    assert "fonts-noto-cjk and fonts-noto-core and fonts-symbola (Debian, Ubuntu)" in said
    with saying_what_is_undrawable(Screen()):
        draw(tmp_path / "c.png", ["שלום", "مرحبا", "é", "мир"])
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("small_pictures")
def test_the_command_warns_once(installed, tmp_path):
    model = save_tiny(tmp_path / "tiny", "llama", "together", bos=True)
    months = ("一月", "三月", "五月", "七月")
    rows = [f"{name} born in {m} .,{i},{name},{m}" for i, m in enumerate(months) for name in "ABCD"]
    (tmp_path / "own.csv").write_text("\n".join(["text,label,Name,Month", *rows]) + "\n")
    base = ("--model", model, "--prompts", tmp_path / "own.csv", "--source", "Month")
    said = run("all", *base, "--permutations", 0, "--out", tmp_path / "run")
    assert said.count("no installed font can draw") == 1


def test_scripts_from_right_to_left_stand_the_right_way_round():
    # Lamed alone is taller than its line: the first letter is on the right.
    ink = pixels("לאאאא")
    columns = np.flatnonzero(ink.any(axis=0))
    top = np.flatnonzero(ink[np.flatnonzero(ink.any(axis=1))[0]])
    assert top.mean() > columns.mean()
    # Arabic letters are joined: there is ink from the first to the last one.
    ink = np.flatnonzero(pixels("سسس").any(axis=0))
    assert len(ink) == np.ptp(ink) + 1
    # Beside a role the word is first, as in every legend.
    names = labels.positions(["לאאאא"], ["לאאאא"], {"source": 0})
    legend = pixels(names.legend(["לאאאא"], "source")).sum(axis=0)
    word = pixels("לאאאא").sum(axis=0)[: columns[-1] + 1]
    np.testing.assert_array_equal(legend[: len(word)], word)


def test_signs_are_no_formulas_and_hidden_characters_are_seen(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(style.File, "write", lambda *_: None)
    whole = style.use_fonts
    monkeypatch.setattr(style, "use_fonts", lambda f: (whole(f), drawn.append(f)))
    words = ["$5", "a_b$c$", "x\u200by", "\x00", "می\u200cخواهم"]
    draw(tmp_path / "f.png", words)
    assert not any(text.get_parse_math() for text in drawn[-1].findobj(Text))
    shown = [text.get_text() for text in drawn[-1].axes[0].get_xticklabels()]
    assert shown == ["$5", "a_b$c$", "x\\u200by", "\\x00", "می\u200cخواهم"]


def test_wide_letters_count_as_two(installed, tmp_path):
    installed.append(make_font(tmp_path / "a.ttf", "Test Sans", "あ"))
    assert len(labels.short("あ" * 9)) == 9
    assert labels.short("あ" * 10) == "あ" * 8 + "…"
