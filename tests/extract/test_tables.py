"""Tables as people have them: delimiters, encodings, kinds of labels, and what is said of them."""

import csv
import io
import json
import random

import numpy as np
import pytest

from extract import UsageError, fill_template, read_prompts
from extract.table_file import read_table

TOWNS = [
    ("Anna wohnt in Köln, gern.", "3,5", "Köln"),
    ("Anna wohnt in Zürich, gern.", "4,25", "Zürich"),
]


PLACES = [("Rome", "41.9", "12.5"), ("Oslo", "59.9", "10.7")]


def _read(path, content, encoding="utf-8", **columns):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    said = []
    return read_prompts(path, say=said.append, **columns), said


def _table(rows, delimiter, header=("text", "label", "Stadt")):
    return "\r\n".join(delimiter.join(row) for row in [header, *rows]) + "\r\n"


@pytest.mark.parametrize(
    ("name", "delimiter", "encoding", "said"),
    [
        ("p.csv", ";", "utf-8", "p.csv: semicolons, decimal commas"),
        ("p.CSV", ";", "utf-8-sig", "p.CSV: semicolons, decimal commas"),
        ("p.csv", ";", "cp1252", "p.csv: semicolons, decimal commas, Windows-1252 (such as 'Köln'"),
        ("p.tsv", "\t", "utf-16", "p.tsv: tabs, decimal commas, UTF-16"),
        ("p.txt", "\t", "utf-16-le", "p.txt: tabs, decimal commas, UTF-16"),
        ("p.Txt", "\t", "utf-16-be", "p.Txt: tabs, decimal commas, UTF-16"),
        ("p.csv", "|", "utf-8", "p.csv: bars, decimal commas"),
    ],
)
def test_dialects_and_encodings(tmp_path, name, delimiter, encoding, said):
    prompts, lines = _read(tmp_path / name, _table(TOWNS, delimiter), encoding)
    assert prompts.texts == tuple(text for text, _, _ in TOWNS)
    assert prompts.slots == {"Stadt": ("Köln", "Zürich")}
    np.testing.assert_array_equal(prompts.labels, [3.5, 4.25])
    (line,) = lines
    assert line.startswith(said)


def test_of_a_plain_file_nothing_is_said(tmp_path):
    rows = [('"A, b."', "1", "A"), ('"C, b."', "-2.5e0", "C")]
    prompts, lines = _read(tmp_path / "p.csv", _table(rows, ","))
    assert (lines, prompts.labels.tolist()) == ([], [1.0, -2.5])


def test_what_excel_leaves(tmp_path):
    """Empty columns and rows at the end, blanks in the header, cells that only some rows have."""
    rows = [("A b.", " 1 ", "A", "", ""), ("C b.", "2", "C", "", "", ""), ("",) * 5, (" ", "") * 2]
    content = _table(rows, ",", (" text", "label ", "\u00a0Who ", "", ""))
    prompts, lines = _read(tmp_path / "p.csv", content)
    assert prompts.slots == {"Who": ("A", "C")}
    assert (lines, prompts.labels.tolist()) == ([], [1.0, 2.0])


def test_the_delimiter_by_which_all_rows_are_even(tmp_path):
    rows = [("A b c.", "1", "A"), ("D b c.", "2", "D")]
    content = _table(rows, ";", ("text", "label", "Who, then"))
    assert _read(tmp_path / "p.csv", content)[0].slots == {"Who, then": ("A", "D")}
    content = "sep=;\r\n" + _table(rows, ";")
    assert _read(tmp_path / "q.csv", content)[0].slots == {"Stadt": ("A", "D")}


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (["5_9", "5_10", "6_1"], None),
        (["1", "x", "3"], "line 3: label 'x' is not a number, and 2 of 3 are numbers"),
        (["1", "1_0", "3"], "line 3: label '1_0' is not a number"),
        (["x", "2", "y"], "line 3: label '2' is a number, and 2 of 3 are names"),
        (["1", "inf", "3"], "line 3: label 'inf' is not finite"),
        (["1", "1e999", "3"], "line 3: label '1e999' is too large"),
        (["1", "", "3"], "line 3: the label 'label' is missing"),
        (["inf", "inf", "1"], "line 2: label 'inf' is not finite"),
        (["2024-05-03", "May", "2024-05-04"], "line 3: label 'May' is not a date, and 2 of 3 are"),
        (["2024-05-03", "NaT", "2024-05-04"], "line 3: the label 'label' is missing (NaT)"),
        (["red", "NA", "blue"], "line 3: the label 'label' is missing (NA)"),
        (["2024-05-03", "2024-13-03", "2024-05-04"], "line 3: label '2024-13-03' is not a date"),
        (
            ["2024-05-03", "2024-05-03T10:00Z", "2024-05-04"],
            "line 3: label '2024-05-03T10:00Z' has",
        ),
        (["03.05.2024", "04.05.2024", "05.05.2024"], "write dates as 2024-05-03"),
        (['"1,234"', '"2,000"', '"3,000"'], "line 2: label '1,234' of 'label' may have a decimal"),
        (['"1,234.5"', "2", "3"], "line 2: label '1,234.5' is not a number"),
        (['"1,234.5"', '"2,000.0"', '"3,000.1"'], "line 2: label '1,234.5' of 'label' is a number"),
        (['"1.234,5"', '"2.000,0"', '"3.000,1"'], "line 2: label '1.234,5' of 'label' is a number"),
        (["1 000", "2 000", "3 000"], "line 2: label '1 000' of 'label' is a number"),
        (["５", "６", "７"], "line 2: label '５' of 'label' is a number in a notation"),
    ],
)
def test_a_label_is_a_number_only_where_the_whole_cell_is_one(tmp_path, labels, says):
    rows = [(f"{word} b.", label) for word, label in zip("ABC", labels, strict=True)]
    content = _table(rows, ",", ("text", "label"))
    if says is None:
        prompts, _ = _read(tmp_path / "p.csv", content)
        assert prompts.label_names == (("5_10", "5_9", "6_1"),)
        assert prompts.labels.tolist() == [1.0, 0.0, 2.0]
        return
    with pytest.raises(UsageError) as error:
        _read(tmp_path / "p.csv", content)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("null", "line 2: the label 'label' is missing"),
        ("NaN", "line 2: the label 'label' is missing (nan)"),
        ("{}", "line 2: a label of 'label' must be a number or a text"),
        ("[[1]]", "line 2: a label of 'label' must be a number or a text"),
        ("[]", "line 2: 'label' is an empty list"),
        ("[1, 2]", "line 2: has 2 labels, others 1"),
        ("true", "line 2: label 'true' is not a number"),
    ],
)
def test_labels_of_json_lines(tmp_path, label, says):
    rows = [
        f'{{"text": "{w} b.", "label": {x}}}' for w, x in zip("ABC", (1, label, 2), strict=True)
    ]
    with pytest.raises(UsageError) as error:
        _read(tmp_path / "p.jsonl", "\n".join(rows))
    assert says in str(error.value)


def test_keys_that_only_some_lines_have(tmp_path):
    rows = [{"text": "A b.", "label": 1}, {"text": "C b.", "label": 2, "note": "x"}]
    content = "\n".join(map(json.dumps, rows))
    assert _read(tmp_path / "p.jsonl", content, ignore=["note"])[0].slots["word_1"] == ("A", "C")
    with pytest.raises(UsageError, match=r"line 2: has slots \['note'\], the first sentence \[\]"):
        _read(tmp_path / "p.jsonl", content)


def test_dates_become_days(tmp_path):
    rows = [("A b.", "1970-01-02"), ("C b.", "1969-12-31T12:00"), ("D b.", "2024-05-03 06:00:00")]
    prompts, lines = _read(tmp_path / "p.csv", _table(rows, ",", ("text", "label")))
    assert prompts.labels.tolist() == [1.0, -0.5, 19846.25]
    assert lines == ["dates of label: as days since 1970-01-01"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_categories_by_name(tmp_path, kind):
    rows = [("A b.", "red", 2), ("C b.", "blue", 2), ("D b.", "red", 3)]
    if kind == "csv":
        content = _table([(t, c, str(x)) for t, c, x in rows], ",", ("text", "Colour", "x"))
    else:
        content = "\n".join(json.dumps({"text": t, "Colour": c, "x": x}) for t, c, x in rows)
    prompts, lines = _read(tmp_path / f"p.{kind}", content, label=["colour,x"])
    assert prompts.labels.tolist() == [[1, 2], [0, 2], [1, 3]]
    assert prompts.label_names == (("blue", "red"), ())
    assert lines == ["categories of Colour by number: 0 blue, 1 red"]
    prompts.to_csv(tmp_path / "prompts.csv")
    again = read_prompts(tmp_path / "prompts.csv")
    assert (again.hash, again.label_names) == (prompts.hash, prompts.label_names)


def test_categories_that_are_formulas_come_back(tmp_path):
    prompts, _ = _read(tmp_path / "p.csv", "text,label\nA b.,=1+1\nC b.,'=1+1\n")
    prompts.to_csv(tmp_path / "prompts.csv")
    assert ",'=1+1," in (tmp_path / "prompts.csv").read_text()
    again = read_prompts(tmp_path / "prompts.csv")
    assert again.label_names == (("'=1+1", "=1+1"),)
    assert again.hash == prompts.hash


def test_columns_are_chosen(tmp_path):
    header = ("sentence", "label", "lat", "lon", "id", "Town")
    rows = [(f"I saw {t}.", "0", x, y, t[:1], t) for t, x, y in PLACES]
    content = _table(rows, ",", header)
    prompts, _ = _read(
        tmp_path / "p.csv", content, text="Sentence", label=["lat", "lon"], ignore=["id"]
    )
    assert prompts.labels.tolist() == [[41.9, 12.5], [59.9, 10.7]]
    assert prompts.slots == {"Town": ("Rome", "Oslo")}


def test_a_chosen_label_is_a_slot_where_it_stands_in_the_texts(tmp_path):
    rows = [("I saw New York at 3.", "New York", "3"), ("I saw Rome at 4.", "Rome", "4")]
    content = _table(rows, ",", ("text", "Town", "Hour"))
    prompts, _ = _read(tmp_path / "p.csv", content, label=["Town"])
    assert prompts.units == ("I", "saw", "Town", "at", "Hour", ".")
    assert prompts.label_names == (("New York", "Rome"),)
    prompts, _ = _read(tmp_path / "p.csv", content, label=["Hour"])
    assert prompts.slots == {"Town": ("New York", "Rome"), "Hour": ("3", "4")}
    # Where it would be in the way of a slot, it is none.
    content = _table([(*row, row[2]) for row in rows], ",", ("text", "Town", "Hour", "Number"))
    prompts, _ = _read(tmp_path / "p.csv", content, label=["Number"])
    assert list(prompts.slots) == ["Town", "Hour"]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"label": ["lt"]}, "--label lt: {} has no such column: did you mean 'lat'?"),
        ({"text": "satz"}, "--text satz: {} has no such column: it has text, lat, Town"),
        ({"label": ["lat"], "ignore": ["lat"]}, "--ignore lat: the column is the text or a label"),
        ({"label": ["text"]}, "--label text: the column is the text"),
        ({}, "{}: no column 'label'; it has text, lat, Town: name the one that is the label"),
    ],
)
def test_columns_that_are_not_there(tmp_path, columns, says):
    path = tmp_path / "p.csv"
    with pytest.raises(UsageError) as error:
        _read(path, "text,lat,Town\nI saw Rome.,1,Rome\nI saw Oslo.,2,Oslo\n", **columns)
    assert str(error.value).startswith(says.format(path))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.xlsx", b"PK", "is a workbook: save its sheet as CSV"),
        ("p.csv", b"\xff\xfet\0e\0x", "begins as UTF-16, but is not"),
        ("p.csv", bytes(range(256)) * 3, "p.csv: "),
        ("p.csv", b"text;label,x\nA;b,1\n", "may be separated by commas or semicolons"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, content, says):
    with pytest.raises(UsageError) as error:
        _read(tmp_path / name, content)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "word", "named"),
    [
        ("cp1252", "février", "Windows-1252"),
        ("cp1251", "Анна родилась в мае", "Windows-1251"),
        ("cp932", "5月に生まれた", "Shift JIS"),
        ("gb18030", "出生于五月", "GB 18030"),
        ("cp949", "태어났다", "Windows-949"),
    ],
)
def test_other_encodings_are_found_out_and_said(tmp_path, encoding, word, named):
    content = f"text,label\n{word} A {word}.,1\n{word} B {word}.,2\n"
    prompts, lines = _read(tmp_path / "p.csv", content, encoding)
    assert prompts.texts[0] == f"{word} A {word}."
    assert named in lines[0]


def test_labels_are_equal_in_either_form_and_without_what_prints_nothing(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text,label\na b.,\u200be\u0301te\u0301\na c.,\u00e9t\u00e9\na d.,hiver\n")
    assert read_prompts(path).label_names == (("hiver", "\u00e9t\u00e9"),)
    path.write_text("text,label\na b.,\ufeff1\na c.,2\u200f\n")
    assert read_prompts(path).labels.tolist() == [1, 2]
    path.write_text("text,label\na b.,\u200b\na c.,2\n")
    with pytest.raises(UsageError, match="line 2: the label 'label' is missing"):
        read_prompts(path)


_CELLS = ("Köln", "New York", "a;b", "c,d", "e\tf", 'say "hi"', "x|y", "two\nlines", "=SUM(1)")
_CELLS += ("'q", "  pad ", "日本", "-5", "{b}", "#N/A", "🙂", "None", "3,5")


@pytest.mark.parametrize("seed", range(40))
def test_any_table_is_read_as_it_was_written(tmp_path, seed):
    """Whatever stands in its cells, between them and at its end, and in every Unicode encoding."""
    rng = random.Random(seed)
    columns = ["Name", "Town", "id", "label"]
    rng.shuffle(columns)
    labels = rng.choice(
        [("1.5", "-2"), ("2024-05-01", "2024-05-02"), ("red", "blue"), ("0,5", "1")]
    )
    rows = [[i % 2 if c == "label" else rng.choice(_CELLS) for c in columns] for i in range(4)]
    rows = [[labels[cell] if isinstance(cell, int) else cell for cell in row] for row in rows]
    surplus = [""] * rng.randint(0, 2)
    file = io.StringIO(newline="")
    writer = csv.writer(
        file,
        delimiter=rng.choice(",;\t|"),
        lineterminator=rng.choice(["\n", "\r\n"]),
        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    )
    writer.writerow([f"{' ' * rng.randint(0, 1)}{column}" for column in columns] + surplus)
    writer.writerows([*(row + surplus for row in rows), *[[""] * 4 + surplus] * rng.randint(0, 2)])
    path = tmp_path / rng.choice(["p.csv", "p.TSV", "p.txt"])
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
    path.write_bytes(file.getvalue().encode(encoding))
    table = read_table(path)
    assert table.columns == tuple(columns)
    assert [list(row.cells.values()) for row in table.rows] == rows
    prompts = fill_template("{Name} lives {{in}} {town}.", path)
    prompts.to_csv(tmp_path / "prompts.csv")
    again = read_prompts(tmp_path / "prompts.csv")
    assert (again.hash, again.label_names) == (prompts.hash, prompts.label_names)
