"""Which options go together."""

from __future__ import annotations

from experiments.options import Options, spellings
from extract.errors import UsageError

#: What a template excludes, and why.
_WITHOUT_TEMPLATE = {
    "prompts": "the table fills the template",
    "task": "the template is the task",
    "samples": "every row of the table is a sentence",
    "seed": "every row of the table is a sentence",
    "text": "the template is the text",
}


def check_together(command: str, options: Options) -> None:
    """Refuse options that do not go together, or names that are none.

    Raises
    ------
    UsageError
        With what to leave out or to give.
    """
    if options.as_name is not None:
        from experiments.runs.analysis import check_name

        check_name(options.as_name)
    _check_sentences(options)
    if options.shuffles == 1:
        raise UsageError("--shuffles must be 0 or at least 2: one gives no standard deviation")
    if options.permutations == 0 and command == "significance":
        raise UsageError("--permutations must be at least 1")


def _check_sentences(options: Options) -> None:
    """Refuse two kinds of sentences at once, and what one kind has no use for."""
    if options.template is not None and options.table is None:
        raise UsageError("--template needs a table with its slots: give --table FILE")
    if options.table is not None and options.template is None:
        raise UsageError("--table fills a template: give --template too, or --prompts instead")
    if options.template is not None:
        for name, why in _WITHOUT_TEMPLATE.items():
            if name in options.given:
                raise UsageError(f"{spellings(name)[0]} does not go with --template: {why}")
    if "task" in options.given and not options.draws:
        raise UsageError("--task brings its own sentences: leave out either it or --prompts")
    for name in ("text", "label", "ignore"):
        if name in options.given and options.draws:
            raise UsageError(
                f"{spellings(name)[0]} names columns of a table: give --prompts FILE, or "
                "--template and --table"
            )
