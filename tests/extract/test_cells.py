"""Words that a spreadsheet would compute are text in every file, and come back as they were."""

import csv
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiments.designs.experiment import SITES
from experiments.designs.pairs import Subspaces
from experiments.designs.similarity import SIMILARITY
from experiments.runs import tables
from extract import UsageError, read_prompts, study_prompts
from extract.cells import as_written, neutralised
from extract.prompts import Prompts
from gpu_smds import ScoreMap

FORMULAS = ('=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x")
TEXTS = ("", "'", "''", "'s", "' =1", "a=1", " =1", "1-1", "–1", '"=1"')

# Mostly of what decides.
_texts = st.text(st.sampled_from("'=+-@\t\r\na1 ")) | st.text()


@given(_texts)
@example("'=")
@example("''")
def test_reading_gives_back_what_was_written(text):
    cell = neutralised(text)
    assert as_written(cell) == text
    assert cell[:1] not in tuple("=+-@\t\r")
    assert cell in (text, f"'{text}")


@given(_texts, _texts)
def test_no_two_texts_are_one_cell(one, other):
    assert (neutralised(one) == neutralised(other)) == (one == other)


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_get_an_apostrophe(text):
    assert neutralised(text) == f"'{text}"


@pytest.mark.parametrize("text", TEXTS)
def test_other_cells_stay(text):
    assert neutralised(text) == text


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("as_is", [False, True])
def test_tables_of_results(tmp_path, as_is):
    words, tokens = ("=1+1", "-2", "'@x"), ("+a", "b", "\tc")
    n = len(words)
    sites = ScoreMap(
        np.full((1, 1, n), -0.01),
        np.zeros((1, 1, n), np.int8),
        ("fold", "layer", "position"),
        metadata={"layers": [0], "words": words, "tokens": tokens},
    )
    pairs = ScoreMap(
        np.full((1, 1, n, n), -0.01),
        np.zeros((1, 1, n, n), np.int8),
        ("fold", "layer", "a", "b"),
        metadata={"similarity_layer": 0, "words": words, "tokens": tokens},
    )
    layers = ScoreMap(np.full((1, 1, 1), -0.5), np.zeros((1, 1, 1), np.int8), ("fold", "a", "b"))
    found = Subspaces(0, np.full((n, n), -0.5), np.zeros((n, n, 2)), np.zeros((n, n), np.int8))

    def check(name, columns):
        rows = _rows(tmp_path / name)
        for row in rows:
            for position, word in columns.items():
                kind = tokens if word.startswith("token") else words
                expected = kind[int(row[position])]
                assert row[word] == (expected if as_is else neutralised(expected))
                assert as_is or as_written(row[word]) == expected
            assert "-0.01" in row.values() or "-0.5" in row.values()

    tables.write_result(tmp_path / "a.csv", SITES, sites, as_is=as_is)
    check("a.csv", {"position": "word"})
    check("a.csv", {"position": "token"})
    tables.write_result(tmp_path / "b.csv", SIMILARITY.layout, pairs, as_is=as_is)
    check("b.csv", {"position_a": "word_a", "position_b": "token_b"})
    tables.write_pairs(tmp_path / "c.csv", pairs, [0], words, as_is=as_is)
    check("c.csv", {"source": "source_word", "target": "target_word"})
    tables.write_subspaces(tmp_path / "d.csv", found, words, as_is=as_is)
    check("d.csv", {"position_a": "word_a", "position_b": "word_b"})
    tables.write_layer_pairs(tmp_path / "e.csv", {"=w": layers}, [0], as_is=as_is)
    (row,) = _rows(tmp_path / "e.csv")
    assert row["word"] == ("=w" if as_is else "'=w")
    assert row["score"] == "-0.5"


def _own(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _formulas(path):
    """Sentences whose texts, slots and slot names are formulas; half of the rows have none."""
    rows = []
    for i in range(8):
        name = f"=A{i}" if i % 2 else f"A{i}"
        text = f"{name} said {-i - 1}." if i != 3 else f"'{name} said -4."
        rows.append([text, -i / 8, name, str(-i - 1)])
    rows[3][2] = "'=A3"
    return _own(path, ["text", "label", "=who", "'@day"], rows)


def test_sentences_come_back_from_the_file_of_a_run(tmp_path):
    prompts = read_prompts(_formulas(tmp_path / "own.csv"))
    prompts.to_csv(tmp_path / "prompts.csv")
    rows = _rows(tmp_path / "prompts.csv")
    assert list(rows[0]) == ["text", "label", "'=who", "''@day", "neutralised"]
    assert [row["label"] for row in rows[:2]] == ["0.0", "-0.125"]  # numbers stay numbers
    assert json.loads(rows[0]["neutralised"]) == ["'@day"]
    assert json.loads(rows[1]["neutralised"]) == ["text", "=who", "'@day"]
    for row in rows:
        assert not [c for k, c in row.items() if k != "label" and c[:1] in tuple("=+-@")]
    again = read_prompts(tmp_path / "prompts.csv")
    assert again.hash == prompts.hash
    assert again.slots == prompts.slots
    again.to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "prompts.csv").read_bytes()


def test_only_where_it_is_needed(tmp_path):
    prompts = study_prompts(6)
    prompts.to_csv(tmp_path / "study.csv")
    assert "neutralised" not in (tmp_path / "study.csv").read_text().splitlines()[0]
    assert read_prompts(tmp_path / "study.csv").hash == prompts.hash
    # A formula in the name of a slot alone.
    path = _own(tmp_path / "own.csv", ["text", "label", "=a"], [["I x", 0, "x"], ["I y", 1, "y"]])
    prompts = read_prompts(path)
    prompts.to_csv(tmp_path / "named.csv")
    assert [row["neutralised"] for row in _rows(tmp_path / "named.csv")] == ["", ""]
    assert read_prompts(tmp_path / "named.csv").slots == prompts.slots


def test_as_is(tmp_path):
    prompts = read_prompts(_formulas(tmp_path / "own.csv"))
    prompts.to_csv(tmp_path / "prompts.csv", as_is=True)
    assert list(_rows(tmp_path / "prompts.csv")[0]) == ["text", "label", "=who", "'@day"]
    assert read_prompts(tmp_path / "prompts.csv").hash == prompts.hash


def test_a_file_without_the_column_is_never_altered(tmp_path):
    rows = [["'@anna said 1", 0, "'@anna"], ["'=bert said 1", 1, "'=bert"]]
    prompts = read_prompts(_own(tmp_path / "own.csv", ["text", "label", "'=who"], rows))
    assert prompts.texts == ("'@anna said 1", "'=bert said 1")
    assert prompts.slots == {"'=who": ("'@anna", "'=bert")}


@given(
    st.lists(st.tuples(_texts, _texts), min_size=1, max_size=4),
    st.lists(st.text(st.sampled_from("'=+-@a"), min_size=1), min_size=2, max_size=2, unique=True),
)
def test_any_texts_and_slots(tmp_path_factory, cells, names):
    """Without alignment every text is taken that a file can hold."""
    cells = [(f"{text}x", word) for text, word in cells if "\0" not in text + word]
    cells = [(t, w) for t, w in cells if (t + w).isascii()] + [("x", "-"), ("y", "'")]
    slots = {names[0]: tuple(w for _, w in cells), names[1]: tuple(f"={w}" for _, w in cells)}
    labels = np.arange(len(cells), dtype=np.float64)
    none = np.zeros((len(cells), 0, 2), dtype=np.int64)
    prompts = Prompts(tuple(t for t, _ in cells), labels, (), (), none, slots)
    path = tmp_path_factory.mktemp("any") / "prompts.csv"
    prompts.to_csv(path)
    again = read_prompts(path, align=False)
    assert again.texts == prompts.texts
    assert again.slots == prompts.slots
    assert again.hash == prompts.hash


@pytest.mark.parametrize(
    ("header", "cell", "says"),
    [
        (("text", "label", "neutralised"), "yes", "must be a JSON list of columns"),
        (("text", "label", "neutralised"), '["other"]', "must be a JSON list of columns"),
        (("text", "label", "neutralised"), "3", "must be a JSON list of columns"),
        (("text", "label", "neutralised"), "[" * 100_000, "must be a JSON list of columns"),
        (("neutralised", "label", "text"), "", "rename the column 'neutralised'"),
    ],
)
def test_a_column_of_that_name_that_is_something_else(tmp_path, header, cell, says):
    rows = [[{"text": f"I {i}", "label": i}.get(name, cell) for name in header] for i in range(2)]
    with pytest.raises(UsageError, match=says):
        read_prompts(_own(tmp_path / "own.csv", header, rows))


def test_a_slot_of_that_name_in_json_lines(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "I x", "label": 1, "neutralised": "x"}\n')
    with pytest.raises(UsageError, match="rename the slot 'neutralised'"):
        read_prompts(path)
