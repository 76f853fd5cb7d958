"""Sentences from a template and a table: where a slot stands is known, not searched."""

import json

import numpy as np
import pytest

from extract import UsageError, fill_template, read_prompts
from extract.task_files import read_task, task_names

BORN = "{Name} was born in {Month}."


def _table(path, *rows, delimiter=","):
    path.write_text("\n".join(delimiter.join(row) for row in rows) + "\n", encoding="utf-8")
    return path


def _people(path):
    rows = [("Name", "Month", "label"), ("April", "April", "4"), ("It", "May", "5")]
    return _table(path / "people.csv", *rows)


def test_a_value_that_stands_twice(tmp_path):
    prompts = fill_template(BORN, _people(tmp_path))
    assert prompts.texts == ("April was born in April.", "It was born in May.")
    assert prompts.units == ("Name", "was", "born", "in", "Month", ".")
    assert prompts.spans[0, 4].tolist() == [18, 23]
    assert prompts.slots == {"Name": ("April", "It"), "Month": ("April", "May")}


def test_it_comes_back_from_the_file_of_a_run(tmp_path):
    prompts = fill_template("=" + BORN, _people(tmp_path))
    prompts.to_csv(tmp_path / "prompts.csv")
    again = read_prompts(tmp_path / "prompts.csv")
    assert again.hash == prompts.hash
    assert (again.slots, again.template) == (prompts.slots, prompts.template)
    again.to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "prompts.csv").read_bytes()
    changed = (tmp_path / "prompts.csv").read_text().replace("It was", "He was")
    (tmp_path / "changed.csv").write_text(changed)
    with pytest.raises(UsageError, match=r"line 3: its text is not what its template gives"):
        read_prompts(tmp_path / "changed.csv")


def test_a_column_of_that_name_that_is_something_else(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text,label,template\nA {b} c.,1,{b}\nA {b} d.,2,{b}\n")
    assert read_prompts(path).slots["template"] == ("{b}", "{b}")


def test_slots_are_columns_whatever_the_case_and_others_are_ignored(tmp_path):
    rows = [
        ("name", "Birth month", "age", "Town"),
        ("Al", "May", "3,5", "Rome"),
        ("Bo", "June", "4", "X"),
    ]
    said = []
    path = _table(tmp_path / "p.csv", *rows, delimiter=";")
    prompts = fill_template("{Name}: {{{birth month}}}", path, label=["Age"], say=said.append)
    assert prompts.texts == ("Al: {May}", "Bo: {June}")
    assert prompts.units == ("Name", ":", "{", "birth month", "}")
    assert prompts.labels.tolist() == [3.5, 4.0]
    assert said == [
        "p.csv: semicolons, decimal commas",
        "p.csv: not in the template, so ignored: Town",
    ]


def test_a_column_is_label_and_slot_beside_letters(tmp_path):
    rows = [json.dumps({"Hour": hour}) for hour in (3, 4, 11)]
    path = _table(tmp_path / "p.jsonl", *([row] for row in rows))
    prompts = fill_template("Call at {Hour}pm.", path, label=["Hour"])
    assert prompts.labels.tolist() == [3, 4, 11]
    assert prompts.units == ("Call", "at", "Hour", "pm", ".")
    assert prompts.texts[2] == "Call at 11pm."


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("No slot.", "the template has no slot"),
        ("{Name was born.", "a lone '{' at character 1"),
        ("Name} was born.", "a lone '}' at character 5"),
        ("{} was born.", "a slot without a name"),
        (
            "{Monht} is it.",
            "the template has {Monht}, and {path} no such column: did you mean {Month}?",
        ),
        ("{xyz} is it.", "no such column: it has Name, Month, label"),
    ],
)
def test_templates_that_cannot_be_used(tmp_path, template, says):
    path = _people(tmp_path)
    with pytest.raises(UsageError) as error:
        fill_template(template, path)
    assert says.replace("{path}", str(path)) in str(error.value)


def test_tables_that_cannot_be_used(tmp_path):
    header = ("Name", "Month", "label")
    path = _table(tmp_path / "p.csv", header, ("Al", "May", "5"), ("Bo", " ", "6"))
    with pytest.raises(UsageError, match="line 3: slot 'Month' is empty"):
        fill_template(BORN, path)
    with pytest.raises(UsageError, match="line 3: the label 'Month' is missing"):
        fill_template("{Name}.", path, label=["Month"])
    with pytest.raises(UsageError, match="rename the column 'label', which has a meaning"):
        fill_template("{Name} {Label}.", path)
    with pytest.raises(UsageError, match="holds no rows"):
        fill_template(BORN, _table(tmp_path / "q.csv", header))
    with pytest.raises(UsageError, match="no column 'label'; it has Name, Month: name the one"):
        fill_template(BORN, _table(tmp_path / "r.csv", header[:2], ("Al", "May")))
    with pytest.raises(UsageError, match=r"--ignore Month: the template has \{Month\}"):
        fill_template(BORN, path, ignore=["Month"])


@pytest.mark.parametrize("name", task_names())
def test_sentences_of_a_task_come_back_from_the_file_of_a_run(tmp_path, name):
    prompts = read_task(name).prompts(40)
    prompts.to_csv(tmp_path / "prompts.csv")
    again = read_prompts(tmp_path / "prompts.csv")
    assert (again.texts, again.slots) == (prompts.texts, prompts.slots)
    np.testing.assert_array_equal(again.spans, prompts.spans)
    assert _labels(again) == _labels(prompts)


def _labels(prompts):
    """Numbers, or the names of categories, whose numbers are those of the names in their order."""
    (names,) = prompts.label_names or ((),)
    return [names[int(label)] if names else label for label in prompts.labels.tolist()]
