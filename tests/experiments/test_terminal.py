"""Names of words, slots, files and models never reach the terminal as anything but text."""

import csv
import io

import pytest
from hostile.names import HOSTILE, PLAIN
from rich.console import Console
from tiny_models import save_tiny
from typer.testing import CliRunner

from experiments import cli, console
from experiments.cli import app
from experiments.console import Screen
from experiments.visible import visible


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items())
def test_what_a_terminal_would_obey_is_shown(name, shown):
    assert visible(name) == shown
    assert visible(visible(name)) == shown


@pytest.mark.parametrize("text", PLAIN)
def test_text_of_any_script_stays_as_it_is(text):
    assert visible(text) == text


def test_long_names_are_cut_in_the_middle():
    assert visible("ab" * 50_000, 11) == "ababa…babab"
    name = visible(f"the word {'x' * 100_000} is not there")
    assert name.startswith("the word xxx")
    assert name.endswith("xxx is not there")
    assert len(name) < 400
    assert len(visible("word " * 100_000)) <= 3000
    assert len(visible("\x1b" * 100_000)) <= 3000


@pytest.fixture
def printed(monkeypatch):
    """What a screen prints to a terminal that shows colours."""
    file = io.StringIO()

    def on_a_terminal(stderr, **arguments):
        assert stderr
        facts = {"force_terminal": True, "color_system": None, "width": 200}
        return Console(file=file, **facts, **arguments)

    monkeypatch.setattr(console, "Console", on_a_terminal)
    return file


def _note(name):
    Screen().note(f"the word {name} is here")


def _warning(name):
    Screen().warn(f"the word {name} is here")


def _title(name):
    with Screen().progress(f"the word {name} is here", "sites") as report:
        report(1, 2)


def _table(name):
    Screen().table(name, ["first", name], [[name, name], [name]], left=[name])


def _error(name, capsys):
    try:
        with cli._errors_in_one_line(debug=False):
            raise ValueError(f"the word {name} is here")
    except cli.typer.Exit:
        return capsys.readouterr().err
    raise AssertionError("no exit")


# What rich itself sends to draw a bar: moves of the cursor, and hiding it.
_OF_A_BAR = ("\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[1A", "\r")


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items())
@pytest.mark.parametrize("show", [_note, _warning, _title, _table])
def test_on_the_screen(printed, show, name, shown):
    show(name)
    text = printed.getvalue()
    for sequence in _OF_A_BAR if show is _title else ():
        text = text.replace(sequence, "")
    assert shown in text
    assert not any(visible(c) != c for c in text.replace("\n", ""))
    if show in (_note, _warning):
        assert text.count("\n") == 1


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items())
def test_in_an_error(capsys, name, shown):
    text = _error(name, capsys)
    # Errors of other libraries have several lines: here they are one.
    assert shown.replace(r"\n", " ") in text
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert visible(text[:-1]) == text[:-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("all", "--\x1b[31mred"),
        ("all", "more\x1b[31m\n"),
        ("\x1b[31mred\nline",),
        ("all", "--positions", "\x1b[2J\n"),
        ("all", "--samples", "\x1b[2J\n"),
        ("all", "--model", "\x1b[2J\nname"),
        ("all", "--prompts", "\x1b[2J\nname.csv"),
        ("all", "--device", "\x1b[2J\n" * 10_000),
        ("all", "--manifold", "\u202ering"),
    ],
)
def test_wrong_use_is_one_line(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    *notes, error = result.output.removesuffix("\n").split("\n")
    assert error.startswith("error: ")
    assert len(error) < 3100
    assert all(note.startswith("gpu-smds all: ") for note in notes)
    assert all(visible(line) == line for line in (*notes, error))


@pytest.mark.parametrize("name", ["--out", "--prompts", "--model", "--layers", "--source"])
@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_nothing_is_no_value(name, value):
    result = CliRunner().invoke(app, ["all", name, value])
    assert result.exit_code == 2
    assert result.output == f"error: {name} is empty: give it a value, or leave it out\n"


def test_the_aliases_are_printed():
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    assert all(visible(line) == line for line in result.output.splitlines())


SLOTS = ("[/x]", "[bold]", "\x1b[31mred")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A model in a folder with a hostile name, and sentences with hostile slots and words."""
    folder = tmp_path_factory.mktemp("hostile")
    model = save_tiny(folder / "mo\x1b[31mdel", "llama")
    path = folder / "prompts\x1b[0m.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", *SLOTS])
        for i in range(24):
            cells = [f"a{i}", f"b{i}\x1b[5m", f"c{i}\x07"]
            writer.writerow(
                [f"x {cells[0]} y {cells[1]} \x1b[2J z {cells[2]} end.", i / 24, *cells]
            )
    return model, path


def test_a_run_on_hostile_names(hostile, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model, path = hostile
    out = tmp_path / "out\x1b[31m"
    base = ("--model", str(model), "--prompts", str(path), "--out", str(out))
    roles = ("--source", "[/x]", "--distractor", "[bold]", "--destination", "\x1b[31mred")
    printed = ""
    for command, more in (
        ("all", ("--permutations", "20")),
        ("discover", ("--shuffles", "2")),
        ("transfer", ()),
        ("figures", ()),
    ):
        result = CliRunner().invoke(app, [command, *base, *roles, *more])
        assert result.exit_code == 0, result.output
        printed += result.output
    assert all(c >= " " or c == "\n" for c in printed)
    assert all(visible(line) == line for line in printed.split("\n"))
    heading = next(line for line in printed.splitlines() if "experiment" in line and "[/x]" in line)
    assert "[bold]" in heading
    assert r"\x1b[31mred" in heading
    figures = {file.name for file in (out / "figures").iterdir()}
    assert figures >= {
        *(f"{name}.png" for name in ("independent", "similarity", "reuse", "rigid", "circle")),
        *(f"{name}.png" for name in ("significance", "discover", "transfer", "subspaces")),
    }
    summary = (out / "results" / "summary.txt").read_text(encoding="utf-8")
    assert all(visible(line) == line for line in summary.splitlines())
