"""``gpu-smds`` as a user calls it, in this process."""

from typer.testing import CliRunner

from experiments.cli import app


def run(*arguments, expect=0, answer=None):
    """What a command prints, in one line; it ends with the exit code ``expect``."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
    assert result.exit_code == expect, result.output
    return " ".join(result.output.split())
