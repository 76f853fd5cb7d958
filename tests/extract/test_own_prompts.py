import json

import numpy as np
import pytest

from extract import UsageError, read_prompts

GOOD = """text,label,City
"Bob flew to Rome, today.",0.1,Rome
"Bob flew to New York, today.",0.7,New York
"""


def _file(tmp_path, content, name="p.csv"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def test_slots_of_several_words(tmp_path):
    prompts = read_prompts(_file(tmp_path, GOOD))
    assert prompts.units == ("Bob", "flew", "to", "City", ",", "today", ".")
    assert prompts.is_slot == (False, False, False, True, False, False, False)
    assert [prompts.texts[i][slice(*prompts.spans[i, 3])] for i in (0, 1)] == ["Rome", "New York"]
    np.testing.assert_array_equal(prompts.labels, [0.1, 0.7])


def test_jsonl_with_slots_and_two_labels(tmp_path):
    rows = [
        {"text": "It is 5 now.", "label": [1, 2], "slots": {"Hour": 5}},
        {"text": "It is 12 now.", "label": [3, 4], "Hour": "12"},
    ]
    path = _file(tmp_path, "\n".join(map(json.dumps, rows)), "p.jsonl")
    prompts = read_prompts(path)
    assert prompts.units == ("It", "is", "Hour", "now", ".")
    assert prompts.labels.shape == (2, 2)


def test_words_that_differ_become_slots(tmp_path):
    prompts = read_prompts(_file(tmp_path, "text,label\nI like red.,0\nI like blue.,1\n"))
    assert prompts.units == ("I", "like", "word_3", ".")
    assert prompts.slots["word_3"] == ("red", "blue")


def test_a_value_inside_a_word_is_not_the_slot(tmp_path):
    text = "text,label,Month\nMayor Lee spoke in May.,0,May\nMayor Lee spoke in June.,1,June\n"
    prompts = read_prompts(_file(tmp_path, text))
    assert prompts.units == ("Mayor", "Lee", "spoke", "in", "Month", ".")


def test_raw_needs_no_alignment(tmp_path):
    path = _file(tmp_path, "text,label\nOne two.,0\nOne two three.,1\n")
    assert read_prompts(path, align=False).units == ()


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("", "p.csv", "no column 'text'"),
        ("text,label\n", "p.csv", "holds no sentences"),
        ("sentence,label\na,1\n", "p.csv", "no column 'text'"),
        ("text,value\na,1\n", "p.csv", "no column 'label'"),
        ("text,label\na b.,1\na c.,x\n", "p.csv", "line 3: label 'x' is not a number"),
        ("text,label\na b.,1\na c.,nan\n", "p.csv", "line 3: the label 'label' is missing (nan)"),
        ("text,label\na b.,1\na c.,\n", "p.csv", "line 3"),
        ("text,label\na b.,1\na c.\n", "p.csv", "line 3: has another number of cells"),
        ("text,label\na b.,1\na c.,1\n", "p.csv", "all labels are equal"),
        ("text,label\na b.,1\n ,2\n", "p.csv", "line 3: the sentence is empty"),
        ("text,label\nOne two.,0\nOne two three.,1\n", "p.csv", "line 3: has 4 words where"),
        ("text,label,X\na b.,1,b\na c.,2,d\n", "p.csv", "if the column is no slot, give --ignore"),
        ("text,label,X\na b.,1,b\nc a.,2,c\n", "p.csv", "line 3: word 1"),
        ("text,label,A,B\n3 + 4,7,3,4\n3 + 3,6,3,3\n", "p.csv", "stands only where slot 'A' does"),
        ('{"text": "a"}\n', "p.jsonl", "line 1: has no 'label'"),
        ("not json\n", "p.jsonl", "line 1: is not JSON"),
        ("[1]\n", "p.jsonl", "line 1: is not a JSON object"),
        (
            '{"text": "a b.", "label": 1, "slots": {"label": "a"}}\n',
            "p.jsonl",
            "line 1: has 'label' twice, once under 'slots'",
        ),
        ("text,label\n", "p.doc", "must be a .csv, .tsv, .txt or a .jsonl"),
        # A row is named by the line it begins at, blank lines before it or not.
        ('text,label\na b.,1\n\n"a\nc.",x\n', "p.csv", "line 4: label 'x' is not a number"),
        ("text,label,label\na b.,1,2\n", "p.csv", "two columns 'label'"),
        ("text,label,X,X\na b.,1,a,b\n", "p.csv", "two columns 'X'"),
        ('text,label\na b.,1\n"a c.,2\na d.,3\n', "p.csv", "line 3: is not CSV"),
        # Without a complaint these two rows would be read as one.
        ('text,label\na b.,1\n"a c.,2\n"a d.",3\n', "p.csv", "line 3: is not CSV"),
        ("text,label\n" + "a" * 200_000 + ",1\n", "p.csv", "line 2: is not CSV"),
        ('{"text": "a b.", "label": 1' + "0" * 5000 + "}\n", "p.jsonl", "line 1: is not JSON"),
        ('{"text": "a b.", "label": 1' + "0" * 400 + "}\n", "p.jsonl", "line 1: label"),
        (r'{"text": "a \ud83d.", "label": 1}' + "\n", "p.jsonl", "line 1: 'text' holds half"),
    ],
)
def test_errors_name_the_place(tmp_path, content, name, says):
    with pytest.raises(UsageError) as error:
        read_prompts(_file(tmp_path, content, name))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_value_that_is_no_slot_as_well_is_said(tmp_path):
    path = _file(
        tmp_path, "text,label,M\nApril was born in April.,4,April\nBob was born in May.,5,May\n"
    )
    with pytest.raises(UsageError, match="--template and --table"):
        read_prompts(path)
    said = []
    assert read_prompts(path, slots_only=True, say=said.append).spans.tolist() == [
        [[0, 5]],
        [[16, 19]],
    ]
    (line,) = said
    assert "hold M more often" in line
    once = _file(tmp_path, "text,label,M\nA is in April.,4,April\nBob in May!,5,May\n")
    read_prompts(once, slots_only=True, say=said.append)
    assert said == [line]


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0c", "\x1c"])
def test_only_newlines_end_a_line(tmp_path, name, mark):
    texts = [f"One{mark}red.", f"One{mark}blue."]
    if name == "p.csv":
        rows = [f"{text},{label}" for label, text in enumerate(texts)]
        content = "\n".join(["text,label", *rows])
    else:
        rows = [{"text": text, "label": label} for label, text in enumerate(texts)]
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read_prompts(_file(tmp_path, content, name)).texts == tuple(texts)


def test_newlines_of_other_systems(tmp_path):
    (tmp_path / "p.csv").write_bytes(GOOD.replace("\n", "\r\n").encode())
    (tmp_path / "q.csv").write_bytes(GOOD.replace("\n", "\r").encode())
    expected = read_prompts(_file(tmp_path, GOOD, "r.csv")).texts
    assert read_prompts(tmp_path / "p.csv").texts == expected
    assert read_prompts(tmp_path / "q.csv").texts == expected


def test_carriage_returns_in_a_cell_are_kept(tmp_path):
    rows = [{"text": "One\r\nred.", "label": 0}, {"text": "One\r\nblue.", "label": 1}]
    path = _file(tmp_path, "\n".join(map(json.dumps, rows)), "p.jsonl")
    prompts = read_prompts(path)
    prompts.to_csv(tmp_path / "p.csv")
    assert read_prompts(tmp_path / "p.csv").texts == prompts.texts


def test_the_order_of_json_keys_does_not_matter(tmp_path):
    rows = [
        {"text": "Al saw Bo.", "label": 0, "A": "Al", "B": "Bo"},
        {"text": "Cy saw Di.", "label": 1, "B": "Di", "A": "Cy"},
    ]
    prompts = read_prompts(_file(tmp_path, "\n".join(map(json.dumps, rows)), "p.jsonl"))
    assert prompts.units == ("A", "saw", "B", ".")
    assert prompts.slots == {"A": ("Al", "Cy"), "B": ("Bo", "Di")}


def test_spaces_around_a_value_are_not_its_last_token(tmp_path):
    text = "text,label,City\nI saw Rome today.,0, Rome \nI saw Paris today.,1,Paris \n"
    prompts = read_prompts(_file(tmp_path, text))
    found = [t[a:b] for t, (a, b) in zip(prompts.texts, prompts.spans[:, 2], strict=True)]
    assert found == ["Rome", "Paris"]


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_prompts(tmp_path / "none.csv")
