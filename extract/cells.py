"""CSV files whose cells spreadsheets leave alone.

A spreadsheet takes a cell that begins with one of a few characters for a formula, and computes it
when the file is opened: a word ``=HYPERLINK(…)`` becomes a link. An apostrophe in front makes it
text. Words that begin with apostrophes and such a character get one more, so that exactly one is
taken away when the file is read.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

#: Column of a file of sentences that names, as a JSON list, the cells of a row that got an
#: apostrophe.
COLUMN = "neutralised"

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def neutralised(cell: str) -> str:
    """A cell that no spreadsheet computes; :func:`as_written` gives back the text."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def as_written(cell: str) -> str:
    """The text of a cell that :func:`neutralised` gave."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, each ended by a newline; a cell that holds an end of line is in quotes."""
    line = io.StringIO(newline="")
    # The csv module quotes a cell that holds a character of its line terminator. With "\n" alone, a
    # cell with a carriage return would not be quoted, and would end the line for its readers.
    writer = csv.writer(line, lineterminator="\r\n")
    lines = []
    for row in rows:
        line.seek(0)
        line.truncate()
        writer.writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)
