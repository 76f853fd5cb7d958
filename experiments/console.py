"""What a person sees while a command runs: notes, tables and progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from experiments.visible import visible

Report = Callable[[int, int], None]

# Most characters of a table's cell and of the title of a progress bar.
_CELL, _TITLE = 60, 100


class Screen:
    """Notes, tables and progress bars; nothing at all when quiet.

    They go to standard error, unless they are what a command is for.

    All that is printed comes through here, since names are anyone's: it is made
    :func:`~experiments.visible.visible`, and square brackets and colons are no markup.
    """

    def __init__(self, quiet: bool = False, stderr: bool = True) -> None:
        self._console = Console(
            stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False
        )

        self._said: set[str] = set()

    def note(self, text: str) -> None:
        """Print one line."""
        self._console.print(Text(visible(text)), soft_wrap=True)

    def note_once(self, text: str) -> None:
        """Print one line, unless it was: several runs may find out the same."""
        if text not in self._said:
            self._said.add(text)
            self.note(text)

    def warn(self, text: str) -> None:
        """Print one line that should not be missed."""
        self._console.print(Text(visible(f"warning: {text}")), style="yellow", soft_wrap=True)

    def table(
        self,
        title: str,
        headings: Sequence[str | tuple[str, ...]],
        rows: Sequence[Sequence[str]],
        left: Sequence[str] = (),
    ) -> None:
        """Print a table.

        Parameters
        ----------
        title, headings
            Above the table and above its columns; a heading of several lines is a tuple of them.
        rows
            Cells; those that a short row lacks stay empty.
        left
            Headings of the columns that are aligned on the left, as the first one always is.
        """
        table = Table(title=_text(title, _TITLE))
        for number, heading in enumerate(headings):
            on_the_left = number == 0 or heading in left
            table.add_column(
                Text("\n").join(map(_text, [heading] if isinstance(heading, str) else heading)),
                justify="left" if on_the_left else "right",
                overflow="fold",
                no_wrap=number == 0,
            )
        for cells in rows:
            table.add_row(*(_text(cell) for cell in cells))
        self._console.print(table)

    @contextmanager
    def progress(self, what: str, unit: str) -> Iterator[Report]:
        """Show a bar with the time left; yields what to call with (done, total)."""
        if not self._console.is_terminal:
            # No bar in a log file, but a sign of life.
            self.note(what)
            yield lambda done, total: None
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(visible(unit), markup=False),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(visible(what, _TITLE), total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)


def _text(cell: str, most: int = _CELL) -> Text:
    return Text(visible(cell, most))
