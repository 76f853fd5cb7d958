"""Texts of many languages in the encodings that tables of them are in."""

from pathlib import Path

import pytest

from extract import UsageError
from extract.encodings import decoded

TEXTS = [
    ("cp1252", "Anna wohnt in Köln, Jürgen in Gießen"),
    ("cp1252", "Elle est née en février, en août, en décembre, à Noël, ça va"),
    ("cp1252", "août"),
    ("cp1252", "mañana"),
    ("cp1252", "São João, coração, amanhã, opções"),
    ("cp1252", "Malmö är på"),
    ("cp1252", "søndag på øen, læser"),
    ("cp1252", "Þórður á Íslandi, maí"),
    ("cp1252", "“yes” – café"),
    ("cp1252", "5 °C, 3 µm, £5"),
    ("cp1252", "Köln, Málaga, São Paulo, Orléans, Malmö"),
    ("cp1250", "Anna se narodila v říjnu, květnu, září, únor"),
    ("cp1250", "Anna urodziła się w październiku, styczeń"),
    ("cp1250", "Anna októberben született, szőlő, február"),
    ("cp1250", "Ana s-a născut în mai"),
    ("cp1250", "četrtek, šest, žena"),
    ("cp1251", "Анна родилась в мае"),
    ("cp1251", "мая, июня"),
    ("cp1251", "Ганна народилася у п’ятницю, їжак"),
    ("cp1253", "Η Άννα γεννήθηκε τον Μάιο"),
    ("cp1254", "Ayşe mayıs ayında doğdu, çarşamba"),
    ("cp1255", "אנה נולדה בחודש מאי בירושלים"),
    ("cp1256", "ولدت آنا في مايو"),
    ("cp1257", "gegužė, šeštadienis, birželį"),
    ("cp1257", "jūnijs, vētra"),
    ("cp874", "เดือนพฤษภาคม"),
    ("mac_roman", "Anna wohnt in Köln, Zürich"),
    ("mac_roman", "né en août, février"),
    ("cp932", "彼は5月に生まれた"),
    ("gb18030", "他出生于五月"),
    ("big5", "他出生於五月"),
    ("cp949", "그는 5월에 태어났다"),
    ("utf-8", "彼は5月に生まれた, août"),
    ("utf-8-sig", "août"),
    ("utf-16", "août"),
    ("utf-16-le", "text,1"),
    ("utf-16-be", "text,1"),
    ("utf-32", "août"),
]


@pytest.mark.parametrize(("encoding", "words"), TEXTS)
def test_a_text_is_read_in_its_encoding_which_is_said(encoding, words):
    text = "text,label\r\n" + "".join(f'"{w}, {i}.",{i}\r\n' for i, w in enumerate([words] * 3))
    found, said = decoded(Path("p.csv"), text.encode(encoding))
    assert found == text
    assert bool(said) == (not encoding.startswith("utf-8"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        # 五月, or the Korean syllables of the same bytes.
        ("五月,1\n五月,2\n".encode("cp932"), "may be Shift JIS ('五月') or Windows-949"),
        # Three words of Hebrew, or no words, but letters as Russian has them.
        ("אנה נולדה במאי".encode("cp1255"), "may be Windows-1251 ('ард') or Windows-1255 ('אנה')"),
        (bytes(range(128, 256)) * 3, "cannot be read as UTF-8 text"),
        (b"\x80\x81\xff,1\n", "cannot be read as UTF-8 text"),
        (b"PK\x03\x04\x00\x00\x00a", "zero bytes"),
        (b"\xff\xfet\0e\0x", "begins as UTF-16, but is not"),
        ("a,b\n".encode("utf-32-le"), "zero bytes"),
    ],
)
def test_where_it_cannot_be_told_the_error_says_so(data, says):
    with pytest.raises(UsageError) as error:
        decoded(Path("p.csv"), data)
    assert says in str(error.value)
    assert "save it as UTF-8" in str(error.value)
    assert "\n" not in str(error.value)
