"""The options of all commands: one declaration each, from which the command line is made.

A new option is a field of :class:`Options`, and whatever reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.designs import EXPERIMENTS
from extract.errors import UsageError
from extract.landmarks import DESTINATION, DISTRACTOR, SOURCE
from extract.prompts import STUDY_TASK

#: The commands and what each does, in the order of the help.
COMMANDS = {
    "all": "The whole study: extract, the experiments, figures and a summary.",
    "extract": "Read the sentences and save the hidden states.",
    **{row.name: f"Exp {row.number}: {row.help}" for row in EXPERIMENTS if row.help},
    "significance": "Is it more than chance? Permutation test of Exp 1 at every layer and word.",
    "transfer": "Does one word's map decode another, one layer's another? All pairs.",
    "discover": "Which manifold is it? Many shapes scored at every layer and word.",
    "figures": "Draw the figures of a finished run again.",
}
_EVERY = frozenset(COMMANDS)
#: Commands that may read the model, and write more than figures.
_READING = _EVERY - {"figures"}
#: Commands that ask something of the states.
_ASKING = _EVERY - {"extract"}
#: Commands that score by one of the protocols.
_HOLDING_OUT = _EVERY - {"extract", "discover"}

#: In the place of a period, that there is none: a task's, or that of other questions of a file.
NO_PERIOD = "none"
# A decimal number and nothing more; Python also reads 5_9 and nan.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

#: Headings of the help, in its order.
GROUPS = ("Model", "Sentences", "Question", "Run", "Output")


@dataclass(frozen=True)
class Declared:
    """How an option is given on the command line.

    Attributes
    ----------
    group
        Heading of the help under which it stands.
    commands
        Commands on which it has an effect; the others refuse it.
    kind
        Type of its value on the command line.
    help
        What it does.
    flags
        Its spellings; none is that of its field.
    choices
        Values that it may have, if they are few.
    least
        Smallest value of a number.
    read
        Makes the field's value of what was given.
    in_files
        Kind of its value in a file of settings, where that is another.
    decides
        Whether results depend on it, so that another value is another question; experiments find
        it in ``Setting.asked``.
    """

    group: str
    commands: frozenset[str]
    kind: Any
    help: str
    flags: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    least: int | None = None
    read: Callable[[Any], Any] = lambda value: value
    in_files: Any = None
    decides: bool = False

    def why_not(self, command: str) -> str:
        """Why a command that it has no effect on refuses it, after its name."""
        if len(self.commands) > 3:
            return f"has no effect on {command}: leave it out"
        *most, last = (name for name in COMMANDS if name in self.commands)
        listed = f"{', '.join(most)} and {last}" if most else last
        return f"is for {listed}, not for {command}"


def _option(
    group: str,
    commands: Iterable[str],
    kind: Any,
    help: str,
    default: Any = None,
    *flags: str,
    **more: Any,
) -> Any:
    declared = Declared(group, frozenset(commands), kind, help, flags, **more)
    return field(default=default, metadata={"declared": declared})


def _listed(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(","))


def period_of(given: str | float) -> float:
    """A period as a number, in the units of the labels.

    Raises
    ------
    UsageError
        Neither a positive number nor the name of a period of labels in days.
    """
    from gpu_smds.geometry.periods import NAMED_PERIODS, as_period

    try:
        return as_period(float(given) if _NUMBER.fullmatch(str(given).strip()) else given)
    except ValueError:
        raise UsageError(
            f"--period {given}: a period is a positive number in the units of the labels, or for "
            f"labels in days {', '.join(NAMED_PERIODS)}; {NO_PERIOD} for none"
        ) from None


def _period(given: str | float) -> float | None:
    return None if str(given).strip().lower() == NO_PERIOD else period_of(given)


@dataclass(frozen=True)
class Options:
    """Options of one call, with the defaults of the command line."""

    models: tuple[str, ...] = _option(
        "Model",
        _EVERY,
        list[str],
        "Alias (see gpu-smds models), hub id, local folder or GGUF file; may be given several "
        "times. Default: smollm2.",
        ("smollm2",),
        "--model",
        read=tuple,
    )
    revision: str | None = _option("Model", _EVERY, str, "Branch, tag or commit of a hub model.")
    quantize: str | None = _option(
        "Model",
        _EVERY,
        str,
        "Weights by bitsandbytes: 4bit (nf4, computed in bfloat16), 8bit, study (fp4, computed in "
        "float16, which overflows), or none. Default: 4bit for llama and qwen, else none.",
        choices=("none", "4bit", "8bit", "study"),
    )
    dtype: str | None = _option(
        "Model",
        _EVERY,
        str,
        "Precision of model and states. Default: the model's.",
        choices=("float32", "float16", "bfloat16"),
    )
    device: str | None = _option(
        "Model", _EVERY, str, "cpu, cuda or cuda:N. Default: cuda where there is one."
    )
    trust_remote_code: bool = _option(
        "Model", _READING, bool, "Run code that comes with a hub model.", False
    )
    task: str = _option(
        "Sentences",
        _EVERY,
        str,
        "Ready task (see gpu-smds tasks), or a task file of your own, by its path: sentences, and "
        "the words, the shapes and the period that are asked of them unless others are given.",
        STUDY_TASK,
    )
    samples: int = _option("Sentences", _EVERY, int, "Sentences to draw from the template.", 1000)
    seed: int = _option("Sentences", _EVERY, int, "Seed of the drawn sentences.", 42, least=0)
    prompts: Path | None = _option(
        "Sentences",
        _EVERY,
        str,
        "Own sentences: a CSV, TSV or JSONL file with columns text, label and slots.",
        read=Path,
    )
    template: str | None = _option(
        "Sentences",
        _EVERY,
        str,
        'Own sentence with slots, such as "{Name} was born in {Month}."; every row of --table '
        "fills it.",
    )
    table: Path | None = _option(
        "Sentences",
        _EVERY,
        str,
        "What fills the slots of --template: a CSV, TSV or JSONL file with a column for each.",
        read=Path,
    )
    label: tuple[str, ...] = _option(
        "Sentences",
        _EVERY,
        list[str],
        "Columns of the label, separated by commas: numbers, dates such as 2024-05-03, or names of "
        "categories. Default: label, or label_0, label_1, …",
        (),
        read=_listed,
    )
    text: str | None = _option(
        "Sentences", _EVERY, str, "Column of the sentences of --prompts. Default: text."
    )
    ignore: tuple[str, ...] = _option(
        "Sentences", _EVERY, list[str], "Columns that are no slots.", (), read=_listed
    )
    positions: str = _option(
        "Sentences",
        _EVERY,
        str,
        "Columns: the same word in every sentence; slots and the last token, where the wording "
        "differs; or the plain token index.",
        "word",
        choices=("word", "slots", "raw"),
    )
    chat: bool = _option(
        "Sentences",
        _EVERY,
        bool,
        "Put every sentence as a user's message into the model's chat template, up to where the "
        "answer begins, or not.",
        False,
        "--chat",
        "--no-chat",
    )
    layers: str | None = _option(
        "Sentences",
        _EVERY,
        str,
        "Hidden states to keep, such as 0,5,10-15; 0 is the embeddings. Default: all.",
    )
    final_norm: str = _option(
        "Sentences",
        _EVERY,
        str,
        "The last hidden state: after the model's final norm, as transformers and the study have "
        "it, or before it, as all others are.",
        "post",
        choices=("post", "pre"),
    )
    source: str = _option(
        "Question", _ASKING, str, "Word or slot where the label is read.", SOURCE, decides=True
    )
    destination: str = _option(
        "Question",
        _ASKING,
        str,
        "Word or slot where it is needed, or last: the last token.",
        DESTINATION,
        decides=True,
    )
    distractor: str = _option(
        "Question",
        _ASKING,
        str,
        "Word that has nothing to do with it.",
        DISTRACTOR,
        decides=True,
    )
    manifold: str = _option(
        "Question", _ASKING, str, "Ideal shape of the labels.", "circular", decides=True
    )
    period: float | None = _option(
        "Question",
        _ASKING,
        str,
        "How far labels lie apart that mean the same, on a manifold that closes on itself: a "
        "number in their units, such as 7 for weekdays 0 to 6; for labels in days also day (1), "
        "week (7) or year (365.2425); or none. Labels are then taken as they are. Default: that "
        "of the task, else none, so that on a circle the smallest and the largest label meet.",
        read=_period,
        in_files=float | str,
        decides=True,
    )
    non_finite: str = _option(
        "Question",
        _ASKING,
        str,
        "A layer and word where states of some sentences hold NaN or inf: undefined gives it no "
        "score, omit scores it without these sentences, which are counted in a column of the CSV "
        "files. The permutation test and transfer leave them out everywhere; in Exp 3 a map of "
        "another word has no score there.",
        "undefined",
        choices=("undefined", "omit"),
        decides=True,
    )
    only_layers: str | None = _option(
        "Question",
        _ASKING,
        str,
        "Layers that are looked at, such as 0,5,10-15, of those that were kept. Default: all.",
        decides=True,
    )
    analysis_seed: int | None = _option(
        "Question",
        _ASKING,
        int,
        "Seed of folds, permutations and shuffles. Default: the study's folds.",
        least=0,
        decides=True,
    )
    protocol: str = _option(
        "Question",
        _HOLDING_OUT,
        str,
        "study: the experiments as the study ran them. clean: every score is of sentences that "
        "neither map nor z-score has seen, equal sentences are never split, circular labels are "
        "fractions of a turn, and unseen labels and names are held out too.",
        "study",
        choices=("study", "clean"),
    )
    hold_out: str | None = _option(
        "Question",
        {"all", "figures"},
        str,
        "With --protocol clean: slot whose values are held out. Default: Name, where there is one.",
    )
    permutations: int | None = _option(
        "Question",
        {"all", "significance"},
        int,
        "Permutations of the labels. Default: 1000 for significance; for all 200, on all layers if "
        "that takes under two minutes, else on those of the curves; 0 leaves the test of all out.",
        least=0,
    )
    test_layers: str | None = _option(
        "Question",
        {"all"},
        str,
        "Layers that the permutation test of all looks at: all, or those of the curves. Default: "
        "all if that takes under two minutes.",
        choices=("all", "curves"),
    )
    manifolds: tuple[str, ...] | None = _option(
        "Question",
        {"discover"},
        str,
        "Shapes to try, separated by commas. Default: those that take the labels.",
        read=_names,
    )
    shuffles: int = _option(
        "Question",
        {"discover"},
        int,
        "Shuffles of the labels whose scores are the baseline, or 0.",
        9,
        least=0,
    )
    batch_size: int | None = _option(
        "Run",
        _READING,
        int,
        "Most sentences at a time. Default: as many as --batch-tokens hold.",
        least=1,
    )
    batch_tokens: int | None = _option(
        "Run",
        _READING,
        int,
        "Most tokens at a time, padding included; halved when memory runs out. Default: 512 on a "
        "CPU, 8192 on a GPU.",
        least=1,
    )
    memory_budget: int | None = _option(
        "Run",
        _READING,
        int,
        "Bytes that the experiments may take at a time. Default: a part of what is free when the "
        "folder is begun.",
        least=1,
    )
    save: bool = _option(
        "Run",
        _READING,
        bool,
        "Keep the hidden states in files, or in memory only.",
        True,
        "--save",
        "--no-save",
    )
    config: Path | None = _option(
        "Run",
        _EVERY,
        str,
        "Settings as a TOML file: a table for each heading of this help, in small letters, with "
        "options by their names, such as samples = 500 in [sentences]; for several questions of "
        "the same states an [[analysis]] table each, with the options under Question and as. The "
        "command line overrides it. Paths in it are as on the command line.",
        read=Path,
    )
    as_name: str | None = _option(
        "Run",
        _ASKING,
        str,
        "Name of the analysis: its results go to analyses/NAME in the folder of the run. Default: "
        "the first question asked of the states has results/ and figures/, and another one a name "
        "made from what it asks otherwise. A name that is there brings its settings; main is that "
        "of results/.",
        None,
        "--as",
    )
    force: bool = _option(
        "Run",
        _READING - {"extract"},
        bool,
        "Compute the analysis again. The states stay, and so do the other analyses.",
        False,
    )
    force_states: bool = _option(
        "Run",
        _READING,
        bool,
        "Read the model again: the states of the folder, and all of its analyses, are replaced. "
        "Other files in it stay, and those that were edited are kept as NAME.changed.",
        False,
    )
    dry_run: bool = _option(
        "Run",
        _EVERY,
        bool,
        "Say what it would take: sentences, bytes, memory, disk, and the time, from a short trial.",
        False,
    )
    out: Path | None = _option(
        "Output",
        _EVERY,
        str,
        "Folder of the run; with several models, of all runs. Default: runs/<model>, and "
        "runs/<model>-<task> of another task than date.",
        read=Path,
    )
    csv_as_is: bool = _option(
        "Output",
        _READING,
        bool,
        "Write words into CSV files as they are. Default: one that begins with =, +, -, @, a tab "
        "or a carriage return gets an apostrophe in front, or a spreadsheet would compute it.",
        False,
    )
    quiet: bool = _option("Output", _EVERY, bool, "Print errors only.", False, "--quiet", "-q")
    debug: bool = _option("Output", _EVERY, bool, "Show tracebacks.", False)
    #: Fields that the user gave a value for.
    given: frozenset[str] = frozenset()
    #: Settings of a question in a file that have no effect on the command: only on its place.
    of_file: tuple[tuple[str, Any], ...] = ()

    @property
    def own_sentences(self) -> bool:
        """Whether the sentences are not the study's, so that its words and labels mean nothing."""
        return not self.draws or self.task != STUDY_TASK

    @property
    def draws(self) -> bool:
        """Whether sentences are drawn, of a task, with ``samples`` and ``seed``."""
        return self.prompts is None and self.template is None


#: Every option by the name of its field.
DECLARED: dict[str, Declared] = {
    f.name: f.metadata["declared"] for f in fields(Options) if "declared" in f.metadata
}


def spellings(name: str) -> tuple[str, ...]:
    """Spellings of an option on the command line, the usual one first."""
    return DECLARED[name].flags or (f"--{name.replace('_', '-')}",)


def key_of(name: str) -> str:
    """Name of an option in a file: its spelling on the command line, without the dashes."""
    return spellings(name)[0].lstrip("-")
