"""Analyses: questions asked of the same states, each with its own place in a run's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.designs.counts import LIGHT, THOROUGH
from experiments.options import DECLARED, NO_PERIOD, Options, key_of
from experiments.runs.known_files import NAME
from extract import UsageError

#: Settings that every analysis has.
CORE = tuple(name for name, option in DECLARED.items() if option.decides)
#: Settings that an analysis has once a command computed what they are of.
LATER = ("permutations", "manifolds", "shuffles")
#: Settings by which one analysis differs from another, in the order in which names say them. Only
#: some commands depend on the protocol and on what it holds out.
SETTINGS = (*CORE[:4], "protocol", "hold_out", *CORE[4:], *LATER)
#: Settings of which None is an answer, and what it is called.
TOLD = {"period": NO_PERIOD}
#: Of the first analysis of a folder, whose results are not in a subfolder.
MAIN = ""
#: What the user calls it.
NAME_OF_MAIN = "main"
#: Where version 0.1.0, and those before this one, kept the clean protocol.
CLEAN = "clean"
_NAME = re.compile(NAME, re.ASCII)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._=+-]+", re.ASCII)


@dataclass(frozen=True)
class Analysis:
    """A question with the place of its results.

    Attributes
    ----------
    name
        ``MAIN``, ``CLEAN`` or the name of a folder in ``analyses/``.
    settings
        What is asked: values of ``SETTINGS``.
    is_new
        Whether the folder knows nothing of it yet.
    """

    name: str
    settings: dict[str, Any]
    is_new: bool

    @property
    def results(self) -> str:
        """Beginning of the paths of its results below the run's folder."""
        return f"{_folder(self.name)}results/{self._part}"

    @property
    def figures(self) -> str:
        """Beginning of the paths of its figures."""
        return f"{_folder(self.name)}figures/{self._part}"

    @property
    def _part(self) -> str:
        return "clean/" if self.name == CLEAN else ""

    @property
    def place(self) -> str:
        """Folder below the run's in which nothing is of another analysis."""
        return _folder(self.name) or self.results


def settings_asked(command: str, options: Options, hold_out: str | None) -> dict[str, Any]:
    """What a command asks; settings that it does not depend on are not in it.

    ``hold_out`` is the slot that is held out. So many permutations as a command takes by default
    are not asked for: a test of more takes the place of one of fewer.
    """
    asked = {
        name: getattr(options, name)
        for name in SETTINGS
        if command in DECLARED[name].commands and name not in ("hold_out", "permutations")
    }
    if command in DECLARED["hold_out"].commands:
        asked["hold_out"] = hold_out
    if command in DECLARED["permutations"].commands and options.permutations:
        asked["permutations"] = options.permutations
    asked = dict(options.of_file) | asked
    # As a manifest holds them.
    return {name: list(of) if isinstance(of, tuple) else of for name, of in asked.items()}


def will_compute(command: str, options: Options) -> dict[str, Any]:
    """Those of ``LATER`` that an analysis will have once a command has been done."""
    if command == "discover":
        manifolds = None if options.manifolds is None else list(options.manifolds)
        return {"manifolds": manifolds, "shuffles": options.shuffles}
    if command in DECLARED["permutations"].commands and options.permutations != 0:
        usual = LIGHT if command == "all" else THOROUGH
        return {"permutations": options.permutations or usual}
    return {}


def check_name(name: str) -> None:
    """Raise UsageError for a name that is none of a folder, or is taken."""
    if name == CLEAN:
        raise UsageError(f"--as {name}: the name is that of results of earlier versions")
    if not _NAME.fullmatch(name) or name.endswith(".partial"):
        raise UsageError(
            f"--as {name!r}: a name is letters, digits and . _ = + -, at most 80, and begins with "
            "a letter or digit"
        )


def find_analysis(
    asked: Mapping[str, Any],
    named: str | None,
    known: Mapping[str, Mapping[str, Any]],
    default_hold_out: str | None = None,
) -> Analysis:
    """The analysis of a folder that has these settings, or where a new one goes.

    Parameters
    ----------
    asked
        Settings that matter to the command; see :func:`settings_asked`.
    named
        Its name, where the user gave one.
    known
        Settings of the analyses that are there, by name.
    default_hold_out
        Slot that the clean protocol holds out where none is named.

    Raises
    ------
    UsageError
        An analysis of that name has other settings.
    """
    first = {name: value for name, value in asked.items() if name not in LATER}
    if named is not None:
        check_name(named)
        stored = stored_name(named)
        if stored not in known:
            return Analysis(stored, first, True)
        if not agree(known[stored], asked):
            raise UsageError(refusal(named, known[stored], asked))
        return Analysis(stored, {**first, **known[stored]}, False)
    for name, settings in known.items():
        if agree(settings, asked) and _is_of(name, settings, asked, known.get(MAIN)):
            return Analysis(name, {**first, **settings}, False)
    if MAIN not in known:
        return Analysis(MAIN, first, True)
    return Analysis(_free_name(asked, known, default_hold_out), first, True)


def _is_of(
    name: str,
    settings: Mapping[str, Any],
    asked: Mapping[str, Any],
    main: Mapping[str, Any] | None,
) -> bool:
    """Whether an analysis that agrees with what is asked was also meant by it."""
    if name == MAIN or main is None:
        return True
    # Who does not depend on the protocol means that of the first analysis.
    held_out = () if "protocol" in asked else ("protocol", "hold_out")
    if any(settings.get(key, main.get(key)) != main.get(key) for key in held_out):
        return False
    # One that differs from the first by what was computed only is the place of nothing else.
    both = settings.keys() & main.keys() - {*LATER}
    only_later = all(settings[key] == main[key] for key in both)
    return not only_later or all(key in settings for key in asked if key in LATER)


def agree(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether an analysis with these settings answers what is asked."""
    both = [name for name in asked if name in settings]
    return all(_answers(name, settings[name], asked[name]) for name in both)


def _answers(name: str, there: Any, asked: Any) -> bool:
    if name == "permutations":
        return bool(there >= asked)  # a test of more permutations is one of fewer, too
    if name == "manifolds" and there is not None and asked is not None:
        return sorted(there) == sorted(asked)
    return bool(there == asked)


def refusal(named: str, settings: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Why an analysis of this name is not the one that is asked for."""
    return (
        f"the analysis {named} has {in_words(settings, asked)}: choose another --as, or remove it "
        "first (gpu-smds remove)"
    )


def stored_name(named: str) -> str:
    """Name in the manifest of what the user calls so."""
    return MAIN if named == NAME_OF_MAIN else named


def shown_name(name: str) -> str:
    """What the user calls an analysis."""
    return {MAIN: NAME_OF_MAIN, CLEAN: "results/clean"}.get(name, name)


def main_settings(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of the analysis that has ``results/``; None where none has it yet."""
    if "main" in manifest:
        return None if manifest["main"] is None else _complete(manifest["main"])
    if "identity" not in manifest:
        return None
    # Before analyses had names, the study's protocol had results/ whatever was asked first.
    found = manifest["identity"]["experiments"]
    return _complete(found) | {"protocol": "study", "hold_out": None}


def known_analyses(
    manifest: Mapping[str, Any] | None, of_clean: str | None
) -> dict[str, dict[str, Any]]:
    """Settings of all analyses of a folder, by name.

    ``of_clean`` is the slot whose values ``results/clean`` of an earlier version holds out.
    """
    if manifest is None:
        return {}
    main = main_settings(manifest)
    known = {} if main is None else {MAIN: main}
    if main is not None and any(
        key.startswith("results/clean/") for key in manifest.get("files", ())
    ):
        alike = {name: value for name, value in main.items() if name not in LATER}
        known[CLEAN] = alike | {"protocol": "clean", "hold_out": of_clean}
    noted = manifest.get("analyses", {})
    return known | {name: _complete(facts["settings"]) for name, facts in noted.items()}


def noted_of(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a manifest notes of an analysis; of the first one beside the facts of the states."""
    if name == MAIN:
        return manifest
    of: Mapping[str, Any] = manifest if name == CLEAN else manifest.get("analyses", {})
    found: Mapping[str, Any] = of.get(name, {})
    return found


def in_words(settings: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """How settings differ from others, of those that both have."""
    return ", ".join(
        f"{key_of(name)} {shown_of(name, settings[name])}"
        for name in SETTINGS
        if name in settings and name in others and settings[name] != others[name]
    )


def shown(value: Any) -> str:
    """The value of a setting, for people."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.15g}"
    return "default" if value is None else str(value)


def shown_of(name: str, value: Any) -> str:
    """The value of a setting of that name, for people and for names of analyses."""
    return TOLD[name] if value is None and name in TOLD else shown(value)


def _complete(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Noted settings, with what an earlier version did not know yet."""
    more = {name: noted[name] for name in SETTINGS if name in noted}
    if more.get("permutations") == 0:  # no test yet, so that any may follow
        del more["permutations"]
    return {name: noted.get(name, getattr(Options, name)) for name in CORE} | more


def _free_name(
    asked: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], default_hold_out: str | None
) -> str:
    """A name made from what differs from the first analysis, which no other has."""
    main = known[MAIN]
    usual = {"hold_out": default_hold_out} if main.get("hold_out") is None else {}
    parts = [
        f"{key_of(name)}-{shown_of(name, asked[name])}"
        for name in SETTINGS
        # What the first one was never asked is no difference.
        if name in main and name in asked and asked[name] != main[name]
        if asked[name] is not None or name in TOLD
        if name not in usual or asked[name] != usual[name]
    ]
    name = _NOT_IN_NAMES.sub("_", "-".join(parts)).strip("_.-")[:70] or "analysis"
    number, free = 1, name
    while free in known:
        number += 1
        free = f"{name}-{number}"
    return free


def _folder(name: str) -> str:
    return "" if name in (MAIN, CLEAN) else f"analyses/{name}/"
