import pytest

from extract import UsageError, read_prompts
from extract.landmarks import landmarks_of
from extract.slots import Sentence, find_slot, read_value
from extract.templates import parse_template


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("彼は5月に生まれた。", "5月", ["5月"]),
        ("저는 5월에 태어났다.", "5월", ["5월"]),
        ("민수는 학생이다.", "민수", ["민수"]),
        ("Python을 배운다.", "Python", ["Python"]),
        ("הוא נולד במאי.", "מאי", ["מאי"]),
        ("כתוב בPython.", "Python", ["Python"]),
        ("שני Pythonים.", "Python", ["Python"]),
        ("ولد بمايو.", "مايو", ["مايو"]),
        ("በግንቦት ተወለደ።", "ግንቦት", ["ግንቦት"]),
        ("ฉันเกิดเดือนพฤษภาคมที่นี่", "พฤษภาคม", ["พฤษภาคม"]),
        ("เดือน๕นี้", "๕", ["๕"]),
        ("on the 4th, at 4pm", "4", ["4", "4"]),
        ("at 4pm", "pm", ["pm"]),
        ("H2O", "2", ["2"]),
        ("It costs $5, 5% more at 5:00, 5/9.", "5", ["5"] * 4),
        ("It is -5 here.", "-5", ["-5"]),
        ("Mayor May may", "May", ["May"]),
        ("l'été d’Anna's", "été", ["été"]),
        ("l'été d’Anna's", "Anna", ["Anna"]),
        # Either form of accents; the place is that of the text.
        ("au cafe\u0301 bleu", "caf\u00e9", ["cafe\u0301"]),
        ("au caf\u00e9 bleu", "cafe\u0301", ["caf\u00e9"]),
        ("각이다", "\u1100\u1161\u11a8", ["각"]),
        ("a\u00adb c", "ab", ["a\u00adb"]),
        ("I ❤️ it", "❤", ["❤️"]),
        ("می\u200cخواهم", "می", ["می\u200c"]),
        ("aa aa", "aa", ["aa", "aa"]),
        ("京京京", "京京", ["京京"]),
    ],
)
def test_found(text, value, found):
    assert [text[a:b] for a, b in find_slot(text, value)] == found


PARTS = "where it parts a letter from its marks, or an emoji"


@pytest.mark.parametrize(
    ("text", "value", "inside"),
    [
        ("It is 1.5 here", "1", "the number '1.5'"),
        ("It is 1.5 here", "5", "the number '1.5'"),
        ("It is -1 here", "1", "the number '-1'"),
        ("It is 1,000 here", "1", "the number '1,000'"),
        ("on the 21st", "1", "the number '21'"),
        ("彼は11月に", "1月", "where it parts the number '11'"),
        ("他出生于十一月", "一月", "where it parts the number '十一'"),
        ("syntyi toukokuussa", "toukokuu", "the word 'toukokuussa'"),
        ("п'ять", "ять", "the word \"п'ять\""),
        ("a_b", "b", "the word 'a_b'"),
        ("au cafe\u0301s", "caf\u00e9", "the word 'cafe\u0301s'"),
        # A letter is not parted from its marks, nor an emoji from its parts.
        ("cafe\u0301", "cafe", PARTS),
        ("caf\u00e9", "cafe", PARTS),
        ("हिन्दी", "हिन", PARTS),
        ("ที่", "ที", PARTS),
        ("👩‍👩‍👧", "👩", PARTS),
        ("👍🏽", "👍", PARTS),
        ("1️⃣", "1", PARTS),
        ("x", "\u200b", None),
        ("x", "y", None),
    ],
)  # fmt: skip
def test_not_found(text, value, inside):
    sentence = Sentence(text)
    assert sentence.find(value) == []
    assert (sentence.inside(value) or "").removeprefix("inside ") == (inside or "")


def test_values_as_they_are_compared():
    assert read_value(" \ufeffcafe\u0301\u200b ") == "caf\u00e9"
    assert read_value("New York") == "New York"
    assert read_value(" \u200f") == ""


def _file(tmp_path, content):
    path = tmp_path / "p.csv"
    path.write_text(content, encoding="utf-8")
    return path


def test_values_in_two_forms_are_one(tmp_path):
    rows = [
        "Le cafe\u0301 a\u0300 Ne\u0302me.,0,N\u00eame",
        "Le caf\u00e9 \u00e0 S\u00e8te.,1, Se\u0300te",
    ]
    prompts = read_prompts(_file(tmp_path, "\n".join(["text,label,City", *rows])))
    assert prompts.units == ("Le", "caf\u00e9", "\u00e0", "City", ".")
    assert prompts.slots == {"City": ("N\u00eame", "S\u00e8te")}
    ends = [text[a:b] for text, (a, b) in zip(prompts.texts, prompts.spans[:, 3], strict=True)]
    assert ends == ["Ne\u0302me", "S\u00e8te"]


def test_the_error_says_what_the_value_is_part_of(tmp_path):
    with pytest.raises(UsageError, match=r"line 3: .*'1'.*stands only inside the number '1\.5'"):
        read_prompts(_file(tmp_path, "text,label,N\nIt is 3.,0,3\nIt is 1.5.,1,1\n"))


def test_the_error_names_the_slot_that_holds_the_value(tmp_path):
    rows = ["Bo left Rome for York.,0,Rome,York", "Bo left New York for York.,1,New York,York"]
    assert read_prompts(_file(tmp_path, "\n".join(["text,label,A,B", *rows]))).slots["B"]
    rows[1] = "Bo left Rome for New York.,1,New York,York"
    with pytest.raises(
        UsageError, match=r"line 3: .*'York' of slot 'B' stands only where slot 'A'"
    ):
        read_prompts(_file(tmp_path, "\n".join(["text,label,A,B", *rows])))


def test_a_mark_behind_a_slot_of_a_template_belongs_to_it():
    template = parse_template("{Name}ের জন্ম {Month}এ।")  # a Bengali genitive: রহিম, রহিমের
    sentence, spans = template.filled({"Name": "রহিম", "Month": "মে"})
    assert sentence == "রহিমের জন্ম মেএ।"
    assert [name for name, _ in template.words] == ["Name", "র", "জন্ম", "Month", "এ", "।"]
    assert [sentence[a:b] for a, b in spans] == ["রহিমে", "র", "জন্ম", "মে", "এ", "।"]


def test_a_sentence_that_prints_nothing(tmp_path):
    with pytest.raises(UsageError, match="line 3: the sentence is empty"):
        read_prompts(_file(tmp_path, "text,label\na b.,1\n\u200b\u200f,2\n"))


def test_names_of_words_in_two_forms():
    first = {"Pre\u0301nom": 0, "mois": 2, "pass\u00e9": 3}
    found = landmarks_of(first, ["Pre\u0301nom"], "Pr\u00e9nom", "passe\u0301", "volleyball")
    assert found == {"source": 0, "destination": 3}


def test_names_of_columns_in_two_forms(tmp_path):
    path = _file(tmp_path, "Pha\u0301se,l\nmai vert,0\nmai bleu,1\n")
    assert read_prompts(path, text="ph\u00e1se", label=["l"]).texts == ("mai vert", "mai bleu")
