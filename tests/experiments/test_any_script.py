"""Sentences in other scripts, from the table to the columns of the results."""

import csv
import unicodedata
from itertools import groupby

import pytest
from command_line import run
from tiny_models import save_tiny

pytestmark = pytest.mark.usefixtures("small_pictures")

# What tells them: sentence, words of the results, source as it is asked for, values beside a name.
SENTENCES = {
    "Kana": (
        "{}は{}に生まれた。誕生日はいつ？",
        "名前 は 月 に 生まれ た 。 誕生 日 は いつ ？",
        ("名前", "月"),
        ["さくら", "健太"],
        [f"{month}月" for month in range(1, 13)],
    ),
    "Arabic": (
        "وُلِد {} في شهر و{}.",
        "وُلِد الاسم في شهر و الشهر .",
        ("الاسم", "الشهر"),
        ["أحمد", "يوسف"],
        ["يناير", "فبراير", "مارس", "أبريل", "مايو", "يونيو", "يوليو", "أغسطس"],
    ),
    "Latin": (
        "{} est né l’été, en {}.",
        "Prénom est né l ’été , en Mois .",
        ("Prénom", "Mois"),
        ["Éric", "Zoé"],
        ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août"],
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", "split")


@pytest.mark.parametrize("script", SENTENCES)
def test_columns_of_the_results(model, tmp_path, script):
    sentence, words, slots, names, values = SENTENCES[script]
    rows = [["text", "label", *(unicodedata.normalize("NFD", slot) for slot in slots)]]
    for i, name in enumerate(names):
        # In every second row accents are characters of their own.
        form = ("NFC", "NFD")[i % 2]
        for label, value in enumerate(values):
            text = unicodedata.normalize(form, sentence.format(name, value))
            rows.append([text, label, name, value])
    path = tmp_path / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    base = ("independent", "--model", model, "--prompts", path, "--out", tmp_path / "run")
    said = run(*base, "--layers", "1", "--source", slots[1])
    assert "sentences differ in length" in said
    with (tmp_path / "run" / "results" / "independent.csv").open(encoding="utf-8") as file:
        found = [unicodedata.normalize("NFC", row["word"]) for row in csv.DictReader(file)]
    # Words of several tokens have one column each.
    assert [word for word, _ in groupby(found)] == words.split()
    assert found.count(slots[1]) == 1
