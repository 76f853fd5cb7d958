"""Tables and templates on the command line, with a small model."""

import csv

import numpy as np
import pytest
from command_line import run
from tiny_models import save_tiny

from experiments.runs.examples import examples
from extract import Positions, Prompts, Tokens, read_prompts

NAMES = ("April", "Anna", "May", "José")
MONTHS = ("April", "May", "März", "August", "June")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


def _people(path, delimiter=";", encoding="cp1252", label=lambda i: f"{i},5"):
    rows = [["Name", "Month", "Value", "Note", ""]]
    for i, month in enumerate(MONTHS):
        rows += [[name, month, label(i), "x", ""] for name in NAMES]
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*rows, [""] * 5])
    return path


def _given(table, *more):
    template = "{Name} was born in {Month}."
    return "--template", template, "--table", table, "--source", "Month", "--layers", "0", *more


def test_a_template_from_the_table_to_the_sentences_of_the_run(model, tmp_path):
    table, out = _people(tmp_path / "people.CSV"), tmp_path / "run"
    said = run("independent", "--model", model, *_given(table, "--label", "value"), "--out", out)
    assert "people.CSV: semicolons, decimal commas, Windows-1252 (such as 'José'" in said
    assert "not in the template, so ignored: Note" in said
    assert said.count("people.CSV: semicolons") == 1
    prompts = read_prompts(out / "prompts.csv")
    assert prompts.texts[0] == "April was born in April."
    assert prompts.units == ("Name", "was", "born", "in", "Month", ".")
    assert sorted(set(prompts.labels.tolist())) == [0.5, 1.5, 2.5, 3.5, 4.5]
    # The states are of the same sentences, from that file or from the settings of the run.
    (tmp_path / "again.csv").write_bytes((out / "prompts.csv").read_bytes())
    again = "--prompts", tmp_path / "again.csv", "--layers", "0", "--out", out
    assert "are used again" in run("extract", "--model", model, *again)
    assert "are used again" in run("extract", "--config", out / "run.toml", "--out", out)
    inside = _people(out / "people.csv")
    said = run("all", "--model", model, *_given(inside, "--label", "value"), "--out", out, expect=2)
    assert "people.csv lies in the folder of the run" in said


def test_a_dry_run_shows_where_slots_stand_and_which_token_has_which_column(model, tmp_path):
    table = _people(tmp_path / "people.csv")
    given = "--model", model, *_given(table, "--label", "value"), "--out", tmp_path / "run"
    said = run("similarity", *given, "--dry-run")
    assert "sentence 1: ⟦April⟧Name was born in ⟦April⟧Month." in said
    assert "sentence 11: ⟦May⟧Name was born in ⟦März⟧Month." in said
    assert "sentence 20: ⟦José⟧Name was born in ⟦June⟧Month." in said
    assert "1:was 2:born 3:in" in said
    assert not (tmp_path / "run").exists()


def test_tokens_stand_behind_their_columns():
    prompts = Prompts(
        ("Al saw it .", "Bertha saw it ."),
        np.arange(2.0),
        ("Who", "saw", "it", "."),
        (True, False, False, False),
        np.array([[(0, 2), (3, 6), (7, 9), (10, 11)], [(0, 6), (7, 10), (11, 13), (14, 15)]]),
        {"Who": ("Al", "Bertha")},
    )
    ids = [[9, 0, 1, 2, 3], [9, 4, 5, 1, 2, 3]]
    offsets = [
        np.array([(0, 0), (0, 2), (2, 6), (6, 9), (9, 11)]),
        np.array([(0, 0), (0, 4), (4, 6), (6, 10), (10, 13), (13, 15)]),
    ]
    special = [np.array([True] + [False] * (len(row) - 1)) for row in ids]
    tokens = Tokens(ids, offsets, special, ["<s>", "Al", "saw", "it", "."], {9: "<s>"})
    columns = np.array([[0, 1, 2, 3, 4, 4], [0, 2, 3, 4, 5, 5]])
    words = ("<s>", "Who", "saw", "it", ".", "<last>")
    positions = Positions("word", words, tuple("abcdef"), columns, {}, {}, ())
    assert examples(prompts, tokens, positions) == [
        "sentence 1: ⟦Al⟧Who saw it .",
        "  column:token  0:<s>  1:Al  2:saw  3:it  4,5:.",
        "sentence 2: ⟦Bertha⟧Who saw it .",
        "  column:token  0:<s>  –:Bert  1:ha  2:saw  3:it  4,5:.",
    ]
    assert examples(prompts, None, None) == [
        "sentence 1: ⟦Al⟧Who saw it .",
        "sentence 2: ⟦Bertha⟧Who saw it .",
    ]


def test_categories_are_asked_for_with_shapes_that_take_them(model, tmp_path):
    table = _people(tmp_path / "p.tsv", "\t", "utf-16", lambda i: MONTHS[i])
    given = "--model", model, *_given(table, "--label", "Month", "--ignore", "Value")
    said = run("independent", *given, "--out", tmp_path / "run", expect=2)
    assert "the labels are names (April, August, June, …), and circular takes numbers" in said
    assert "or --manifold polytope" in said
    assert not (tmp_path / "run").exists()
    out = tmp_path / "run"
    said = run("independent", *given, "--manifold", "cluster", "--out", out)
    assert "a plane has room for 3 categories at equal distances, and there are 5" in said
    assert "categories of Month by number: 0 April, 1 August, 2 June, 3 May, 4 März" in said
    assert read_prompts(out / "prompts.csv").label_names == (tuple(sorted(MONTHS)),)
    said = run("discover", *given, "--shuffles", "0", "--out", out)
    assert "polytope" in said
    assert "hierarchical" not in said
    assert "euclidean" not in said


def test_the_source_of_categories_is_the_slot_that_names_them(model, tmp_path):
    colours = {"red": 0, "lime": 1, "blue": 2, "grey": 3, "pink": 4}
    rows = [(f"{n} likes {c}.", c, n, c) for c in colours for n in NAMES]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(map(",".join, [("text", "label", "Name", "Colour"), *rows])))
    given = "--prompts", path, "--manifold", "cluster", "--layers", "0", "--out", tmp_path / "run"
    assert "source: Colour" in run("independent", "--model", model, *given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--template", "{A}"), "--template needs a table with its slots: give --table FILE"),
        (("--table", "t.csv"), "--table fills a template: give --template too"),
        (("--template", "{A}", "--table", "t.csv", "--prompts", "p.csv"), "--prompts does not go"),
        (("--template", "{A}", "--table", "t.csv", "--samples", "5"), "--samples does not go"),
        (("--template", "{A}", "--table", "t.csv", "--seed", "5"), "--seed does not go"),
        (("--template", "{A}", "--table", "t.csv", "--text", "B"), "--text does not go"),
        (("--template", "{A}", "--table", "t.csv", "--task", "hour"), "--task does not go"),
        (("--label", "A"), "--label names columns of a table: give --prompts FILE"),
        (("--template", "{A}", "--table", "t.xlsx"), "t.xlsx is a workbook: save its sheet as CSV"),
    ],
)
def test_what_does_not_go_together(model, tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    said = run("all", "--model", model, *given, "--out", tmp_path / "run", expect=2)
    assert f"error: {says}" in said
