from datetime import date

import numpy as np
import pytest

from extract.prompts import MONTHS, NAMES, fill, month_starts, ordinal, study_prompts
from gpu_smds._files import Folder


def test_sentences_are_the_studys():
    prompts = study_prompts(50, seed=3)
    for i, text in enumerate(prompts.texts):
        name, day, month = (prompts.slots[s][i] for s in ("Name", "Day_Ordinal", "Month"))
        assert text == (
            f"{name} was born on the {day} of {month}. {name} plays volleyball. "
            f"{name}'s favourite color is green. {name} lives in Berlin. "
            f"{name} had a party on her birthday."
        )


def test_labels_are_days_of_2023():
    prompts = study_prompts(3000, seed=1)
    for i in range(len(prompts)):
        month = MONTHS.index(prompts.slots["Month"][i]) + 1
        day = int(prompts.slots["Day_Ordinal"][i][:-2])
        expected = (date(2023, month, day) - date(2023, 1, 1)).days / 365
        assert prompts.labels[i] == expected
    assert prompts.labels.min() == 0
    assert prompts.labels.max() == 364 / 365
    assert set(prompts.slots["Name"]) == set(NAMES)
    # Month first, then the day: February is as frequent as the others, its days more so.
    counts = [prompts.slots["Month"].count(month) for month in MONTHS]
    assert max(counts) < 1.3 * min(counts)
    february = [
        d for d, m in zip(*list(prompts.slots.values())[1:], strict=True) if m == "February"
    ]
    assert {int(d[:-2]) for d in february} == set(range(1, 29))


@pytest.mark.parametrize(
    ("day", "text"),
    [
        *((1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (10, "10th"), (11, "11th"), (12, "12th")),
        *((13, "13th"), (20, "20th"), (21, "21st"), (22, "22nd"), (23, "23rd"), (31, "31st")),
    ],
)
def test_ordinals(day, text):
    assert ordinal(day) == text


def test_seed_decides():
    assert study_prompts(20, seed=5).hash == study_prompts(20, seed=5).hash
    assert study_prompts(20, seed=5).hash != study_prompts(20, seed=6).hash


def test_spans_hold_the_words():
    prompts = study_prompts(30)
    for i, text in enumerate(prompts.texts):
        for j, unit in enumerate(prompts.units):
            start, end = prompts.spans[i, j]
            assert text[start:end] == (prompts.slots[unit][i] if prompts.is_slot[j] else unit)
        assert "".join(text.split()) == "".join(text[a:b] for a, b in prompts.spans[i])


def test_fill_keeps_what_stands_between():
    prompts = fill("In {City} (yes!), {City}'s sun.", {"City": ("New York",)}, np.zeros(1))
    assert prompts.texts == ("In New York (yes!), New York's sun.",)
    assert prompts.units == ("In", "City", "(", "yes", "!", ")", ",", "City", "'s", "sun", ".")


def test_month_starts():
    starts = month_starts()
    assert starts[0] == 0
    assert starts[2] == 59 / 365
    assert len(starts) == 12


def test_csv_is_what_own_prompts_reads(tmp_path):
    from extract import read_prompts

    prompts = study_prompts(40)
    prompts.to_csv(tmp_path / "p.csv")
    again = read_prompts(tmp_path / "p.csv")
    assert again.texts == prompts.texts
    assert again.units == prompts.units
    assert again.hash == prompts.hash


def test_csv_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(folder, old, new):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Folder, "rename", full)
    with pytest.raises(OSError, match="No space"):
        study_prompts(4).to_csv(tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []
