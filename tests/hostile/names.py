"""Names of words, slots, files and models that a terminal would obey, and such that are sound."""

# What a name holds → how it is shown.
HOSTILE = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "safe\rfake": r"safe\rfake",
    "one\ntwo": r"one\ntwo",
    "a\tb": r"a\tb",
    "abc\b\b\b": r"abc\x08\x08\x08",
    "\x9b2J\x85": r"\x9b2J\x85",
    "\x7f\x00\x0b\x0c": r"\x7f\x00\x0b\x0c",
    "\u202etxt.exe": r"\u202etxt.exe",
    "\u2066a\u2069": r"\u2066a\u2069",
    "a\u2028b\u2029c": r"a\u2028b\u2029c",
    "Mo\u200bnth\ufeff": r"Mo\u200bnth\ufeff",
    "Mo\u200dnth": r"Mo\u200dnth",
    "Mo\u00adnth\u2060": r"Mo\xadnth\u2060",
    "Month\ufe0f\u3164": r"Month\ufe0f\u3164",
    "tag\U000e0041": r"tag\U000e0041",
    "\udcff.csv": r"\udcff.csv",
    "[/x]": "[/x]",
    "[bold]": "[bold]",
    ":smile:": ":smile:",
    "{task.total}": "{task.total}",
}
# Text of scripts that need their joiners, marks and signs.
PLAIN = (
    "Anna's café – 20 €",
    "日本語",
    "עברית",
    "می\u200cخواهم",
    "क्\u200dष",
    "ന്\u200d",
    "\u0600123",
    "e\u0301",
    "👩\u200d🚀 ❤\ufe0f 1\ufe0f\u20e3",
)
