"""Task files: those that come with the package hold what they must, and faults are one line."""

import re

import numpy as np
import pytest

from extract import UsageError, read_prompts, study_prompts
from extract.prompts import NAMES, TEMPLATE
from extract.task_files import own_file, read_task, task_names
from gpu_smds.geometry.manifold import resolve_manifold

OWN = """
title = "Where a colour stands"
template = "{Name} likes the {Colour} door of the house."
manifold = "circular"
period = 3
shapes = ["circular", "euclidean"]
source = "Colour"
destination = "house"
distractor = "door"
[slots]
Name = ["Anna", "Paul"]
[label]
slot = "Colour"
unit = "thirds of the colour circle"
[label.values]
red = 0
green = 1
blue = 2
[question]
text = "{Name}'s favourite colour is"
slot = "Colour"
"""


@pytest.fixture
def own(tmp_path):
    """Write a task, changed, and read it."""

    def read(*changes):
        text = OWN
        for before, after in changes:
            assert before in text
            text = text.replace(before, after, 1)
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return read_task(str(path))

    return read


@pytest.mark.parametrize("name", task_names())
def test_a_ready_task_can_be_drawn_and_asked(name):
    task = read_task(name)
    prompts = task.prompts(400, seed=3)
    assert len(set(prompts.texts)) >= 200
    different = np.unique(prompts.labels, axis=0)
    assert len(different) >= 3
    assert all(getattr(task, role) in prompts.units for role in ("source", "distractor"))
    position = {unit: prompts.units.index(unit) for unit in prompts.units}
    assert position[task.source] < position[task.distractor] < position[task.destination]
    # Nothing before the source tells the label.
    assert task.source == (task.label.slot if task.label else "Month")
    assert task.manifold in task.shapes
    for shape in task.shapes:
        assert resolve_manifold(shape).takes(prompts.labels), shape
    assert set(task.answers) == set(task.values[task.question.slot])
    assert len(set(task.answers.values())) >= 2
    assert task.published is None or task.published.winner in task.shapes
    if task.period is not None:
        assert np.ptp(prompts.labels) < task.period


@pytest.mark.parametrize("name", [name for name in task_names() if name != "date"])
def test_slots_are_balanced_and_independent_of_the_label(name):
    task = read_task(name)
    prompts = task.prompts(1000, seed=0)
    for slot, values in prompts.slots.items():
        counts = np.unique(values, return_counts=True)[1]
        assert len(counts) == len(task.values[slot])
        assert np.ptp(counts) <= 1
    of_label = prompts.slots[task.label.slot]
    for slot in task.slots:
        together = len(set(zip(of_label, prompts.slots[slot], strict=True)))
        cells = len(task.values[slot]) * len(task.label.values)
        expected = cells * (1 - np.exp(-1000 / cells))
        assert abs(together - expected) < 5 * np.sqrt(cells)


def test_the_date_is_the_study():
    task, study = read_task("date"), study_prompts(50, seed=7)
    assert task.prompts(50, seed=7).hash == study.hash
    assert task.template == TEMPLATE
    assert task.slots["Name"] == list(NAMES)
    drawn = study_prompts(1000).slots
    assert all({*drawn[slot]} <= {*task.slots[slot]} for slot in drawn)


def test_seeds_and_sizes_draw_other_sentences(own):
    task = own()
    assert task.prompts(60, 1).hash == own().prompts(60, 1).hash
    assert task.prompts(60, 1).hash != task.prompts(60, 2).hash
    assert task.prompts(1).texts[0].startswith(("Anna likes the ", "Paul likes the "))


def test_categories_are_numbered_in_their_order(own):
    task = own(
        ("red = 0", 'red = "warm"'),
        ("green = 1", 'green = "cold"'),
        ("blue = 2", 'blue = "cold"'),
        ('unit = "', 'categories = ["cold", "warm"]\nunit = "'),
    )
    assert task.labels == {"red": 1.0, "green": 0.0, "blue": 0.0}
    assert task.answers == {"red": "warm", "green": "cold", "blue": "cold"}


def test_sentences_come_back_whatever_form_their_accents_have(own, tmp_path):
    drawn = own(('"Paul"', '"Jose\u0301"'), ("blue =", '"aple\u0301" =')).prompts(30)
    assert {*drawn.slots["Name"]} == {"Anna", "Jos\xe9"}
    drawn.to_csv(tmp_path / "prompts.csv")
    assert read_prompts(tmp_path / "prompts.csv").hash == drawn.hash


def test_labels_may_have_two_numbers(own):
    task = own(("red = 0", "red = [0, 1]"), ("= 1", "= [1, 0]"), ("= 2", "= [2.5, 0]"))
    assert task.prompts(9).labels.shape == (9, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('title = "Where a colour stands"', ""), "title: is missing"),
        (("period = 3", "perid = 3"), "perid: is no key of a task"),
        (("period = 3", "period = 0"), "period: must be above 0, got 0"),
        (("period = 3", "period = [3]"), "period"),
        (("period = 3", "period = "), "is not TOML"),
        (("{Colour}", "{Color}"), "slots.Color: is missing: the template has a slot"),
        (("{Name} likes", "Paul likes"), "slots.Name: the template has no such slot"),
        (("{Name} likes", "{Name!r} likes"), "slots.Name!r: is missing: the template has a slot"),
        (("{Name}'s", "{Nam}'s"), "question: the template has no slot 'Nam'"),
        (('"Anna", "Paul"', '"Anna", "Anna"'), "slots.Name: must be different texts"),
        (('"Anna", "Paul"', '"Anna", " "'), "slots: a value is empty"),
        (('source = "Colour"', 'source = "Tone"'), "source: the template has no word or slot"),
        (('"Anna", "Paul"', '"Anna", "Paul\\u200b"'), "slots: a value is empty"),
        (("red = 0", 'red = "0"'), "label.values.red: must be a number"),
        (("red = 0", "red = true"), "label.values.red: must be a number"),
        (("red = 0", "red = nan"), "label.values.red: must be a number"),
        (("red = 0", "red = [0, 1]"), "label.values: some labels have more numbers"),
        (("green = 1\nblue = 2", "green = 0\nblue = 0"), "label.values: all labels are equal"),
        (('unit = "', 'categories = ["a"]\nunit = "'), "label.values.red: 0 is none of a"),
        (('slot = "Colour"\nunit', 'slot = "Name"\nunit'), "slots.Name: is the slot of the label"),
        (('title = "', 'sentences = "study"\ntitle = "'), "sentences: the study's have its"),
        (("text = ", "ask = "), "question.ask: is no key of a task"),
    ],
)
def test_a_fault_is_one_line_with_file_and_key(own, change, said):
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        own(change)
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_answer_that_lacks_is_named(own):
    asked = 'colour is"\n'
    with pytest.raises(UsageError, match=r"question\.answers: has no answer for 'green'"):
        own((asked, asked + 'answers = { red = "rose" }\n'))
    answers = 'answers = { red = "rose", green = "green", blue = "sky" }\n'
    assert own((asked, asked + answers)).answers["blue"] == "sky"


def test_what_is_no_task(tmp_path):
    with pytest.raises(UsageError, match="unknown task 'hours': choose one of date, "):
        read_task("hours")
    with pytest.raises(UsageError, match="cannot be read"):
        read_task(str(tmp_path / "none.toml"))
    assert own_file("hour") is None
    assert own_file("./hour") is not None
