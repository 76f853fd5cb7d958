"""Settings of a run from a file: TOML, with a table for each group of options.

Several questions of the same states are a table ``[[analysis]]`` each.

The file may name options that have no effect on the command at hand: it is of a whole study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError

from experiments.options import DECLARED, GROUPS, Declared, key_of
from extract.errors import UsageError
from extract.toml_table import read_toml

#: Options that are asked for each time: what a file of somebody else's must not decide.
_EACH_TIME = ("config", "trust_remote_code", "force", "force_states", "dry_run", "quiet", "debug")
#: Options of names between commas, which may be a list in a file; so may those of several values.
_LISTS = ("models", "manifolds")
#: What an analysis may have beside the options under Question.
_OF_ANALYSIS = ("as_name", "memory_budget")
#: Table of one of several questions of the same states.
ANALYSIS = "analysis"


@dataclass(frozen=True)
class Settings:
    """What a file says.

    Attributes
    ----------
    values
        Options by the names of their fields.
    analyses
        The same of each ``[[analysis]]`` table: what differs from ``values``.
    """

    values: dict[str, Any]
    analyses: tuple[dict[str, Any], ...] = ()


def read_settings(path: Path) -> Settings:
    """Read the options of a file.

    Raises
    ------
    UsageError
        No such file, or not TOML; an unknown table or key, or one that is given each time; a value
        of the wrong kind or out of range. The message names file, table and key.
    """
    found = read_toml(path)
    analyses = _analyses(path, found.pop(ANALYSIS, []))
    values: dict[str, Any] = {}
    for group, table in found.items():
        for key, value in _table(path, group, table).items():
            name = _named(path, group, key)
            values[name] = _value(f"{path}: [{group}] {key}", name, value)
    if analyses and "as_name" in values:
        raise UsageError(f"{path}: as stands in [run]: it belongs to each [[{ANALYSIS}]]")
    return Settings(values, analyses)


def _analyses(path: Path, tables: Any) -> tuple[dict[str, Any], ...]:
    """Options of the ``[[analysis]]`` tables."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError(f"{path}: {ANALYSIS} must be one or more tables, [[{ANALYSIS}]]")
    found = []
    for number, table in enumerate(tables, 1):
        where = f"[[{ANALYSIS}]] {number}"
        values = {}
        for key, value in table.items():
            name = _named_of_analysis(path, where, key)
            values[name] = _value(f"{path}: {where}: {key}", name, value)
        found.append(values)
    names = [values["as_name"] for values in found if "as_name" in values]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: two [[{ANALYSIS}]] tables have the name {name!r}")
    return tuple(found)


def _named_of_analysis(path: Path, where: str, key: str) -> str:
    """Field of an option that an analysis may have."""
    names = {key_of(name): name for name in DECLARED}
    own = [key for key, name in names.items() if DECLARED[name].group == "Question"]
    own += [key_of(name) for name in _OF_ANALYSIS]
    name = names.get(key.replace("_", "-"))
    if name is None:
        raise UsageError(f"{path}: {where} has no key {key!r}{_nearest(key, own)}")
    if DECLARED[name].group != "Question" and name not in _OF_ANALYSIS:
        raise UsageError(
            f"{path}: {where} names a {key}: all analyses are of the same states, so that it "
            f"belongs to [{DECLARED[name].group.lower()}]"
        )
    return name


def _table(path: Path, group: str, table: Any) -> Mapping[str, Any]:
    known = [name.lower() for name in GROUPS]
    if group not in known:
        # A key above all tables is most likely an option without its table.
        for name, declared in DECLARED.items():
            if key_of(name) == group.replace("_", "-"):
                raise UsageError(
                    f"{path}: {group} stands in no table: it belongs to [{declared.group.lower()}]"
                )
        raise UsageError(f"{path}: unknown table [{group}]{_nearest(group, [*known, ANALYSIS])}")
    if not isinstance(table, Mapping):
        raise UsageError(f"{path}: {group} must be a table, [{group}]")
    return table


def _named(path: Path, group: str, key: str) -> str:
    """Field of an option that stands in a group."""
    names = {key_of(name): name for name in DECLARED}
    name = names.get(key.replace("_", "-"))
    if name is None:
        raise UsageError(f"{path}: [{group}] has no key {key!r}{_nearest(key, list(names))}")
    if name in _EACH_TIME:
        raise UsageError(f"{path}: [{group}] {key} is given on the command line only")
    own = DECLARED[name].group.lower()
    if own != group:
        raise UsageError(f"{path}: {key} belongs to [{own}], and stands in [{group}]")
    return name


def _value(where: str, name: str, value: Any) -> Any:
    """The field's value of one of a file."""
    declared = DECLARED[name]
    try:
        checked = _adapter(name).validate_python(value)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_context=False)[0]["msg"]
        raise UsageError(f"{where}: {reason[0].lower()}{reason[1:]}, got {value!r}") from error
    texts = checked if isinstance(checked, list) else [checked]
    if not texts or any(isinstance(text, str) and not text.strip() for text in texts):
        raise UsageError(f"{where} is empty: give it a value, or leave it out")
    if isinstance(checked, list) or name == "models":
        return tuple(text.strip() for text in texts)
    return declared.read(checked)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_kind(name, DECLARED[name]), config=ConfigDict(strict=True))


def _kind(name: str, declared: Declared) -> Any:
    if declared.choices:
        return Literal[declared.choices]
    if declared.in_files is not None:
        return declared.in_files
    if declared.kind is int:
        return Annotated[int, Strict(), Field(ge=declared.least)]
    if name in _LISTS or declared.kind == list[str]:
        return list[str] | str
    return declared.kind


def _nearest(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f", only {', '.join(known)}"
