"""Analyses: questions asked of the same states, each with its own place in a run's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.known_files import NAME
from experiments.options import Options
from extract import UsageError

#: Settings by which one analysis differs from another, in the order in which names say them.
SETTINGS = ("source", "destination", "distractor", "manifold", "protocol", "hold_out")
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
        What is asked: the values of ``SETTINGS``.
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


def settings_of(options: Options, hold_out: str | None) -> dict[str, Any]:
    """What an analysis by these options asks; ``hold_out`` is the slot that is held out."""
    return {
        "source": options.source,
        "destination": options.destination,
        "distractor": options.distractor,
        "manifold": options.manifold,
        "protocol": options.protocol,
        "hold_out": hold_out,
    }


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
    manifest: Mapping[str, Any] | None,
    default_hold_out: str | None = None,
) -> Analysis:
    """The analysis of a folder that has these settings, or where a new one goes.

    Parameters
    ----------
    asked
        Its settings.
    named
        Its name, where the user gave one.
    manifest
        Of the folder; None where there is none yet.
    default_hold_out
        Slot that the clean protocol holds out where none is named.

    Raises
    ------
    UsageError
        An analysis of that name has other settings.
    """
    settings = dict(asked)
    if named is not None:
        check_name(named)
    named = MAIN if named == NAME_OF_MAIN else named
    if manifest is None:
        return Analysis(named or MAIN, settings, True)
    main = main_settings(manifest)
    known = known_analyses(manifest, default_hold_out)
    if named is not None:
        if named not in known:
            return Analysis(named, settings, True)
        if known[named] != settings:
            raise UsageError(
                f"the analysis {named or NAME_OF_MAIN} is of {in_words(known[named], settings)}: "
                "choose another --as, or remove it first (gpu-smds remove)"
            )
        return Analysis(named, settings, False)
    for name, others in known.items():
        if others == settings:
            return Analysis(name, settings, False)
    if main is None:
        return Analysis(MAIN, settings, True)
    return Analysis(_free_name(settings, main, known, default_hold_out), settings, True)


def main_settings(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of the analysis that has ``results/``; None where none has it yet."""
    if "main" in manifest:
        noted = manifest["main"]
        return None if noted is None else {name: noted.get(name) for name in SETTINGS}
    if "identity" not in manifest:
        return None
    # Before analyses had names, the study's protocol had results/ whatever was asked first.
    found = manifest["identity"]["experiments"]
    return {name: found.get(name) for name in SETTINGS} | {"protocol": "study", "hold_out": None}


def known_analyses(
    manifest: Mapping[str, Any], default_hold_out: str | None
) -> dict[str, dict[str, Any]]:
    """Settings of all analyses of a folder, by name."""
    main = main_settings(manifest)
    known = {} if main is None else {MAIN: main}
    if main is not None and any(
        key.startswith("results/clean/") for key in manifest.get("files", ())
    ):
        known[CLEAN] = main | {"protocol": "clean", "hold_out": default_hold_out}
    known |= {
        name: {key: facts["settings"].get(key) for key in SETTINGS}
        for name, facts in manifest.get("analyses", {}).items()
    }
    return known


def named_settings(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of the analyses that ``--as`` can name."""
    main = main_settings(manifest)
    found = {} if main is None else {NAME_OF_MAIN: main}
    for name, facts in manifest.get("analyses", {}).items():
        found[name] = {key: facts["settings"].get(key) for key in SETTINGS}
    return found


def in_words(settings: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """How settings differ from others."""
    return ", ".join(
        f"{name.replace('_', '-')} {settings[name]}"
        for name in SETTINGS
        if settings[name] != others[name]
    )


def _free_name(
    settings: Mapping[str, Any],
    main: Mapping[str, Any],
    known: Mapping[str, Any],
    default_hold_out: str | None,
) -> str:
    """A name made from what differs from the first analysis, which no other has."""
    usual = {"hold_out": default_hold_out} if main["hold_out"] is None else {}
    parts = [
        f"{name.replace('_', '-')}-{settings[name]}"
        for name in SETTINGS
        if settings[name] not in (main[name], usual.get(name), None)
    ]
    name = _NOT_IN_NAMES.sub("_", "-".join(parts)).strip("_.-")[:70] or "analysis"
    number, free = 1, name
    while free in known:
        number += 1
        free = f"{name}-{number}"
    return free


def _folder(name: str) -> str:
    return "" if name in (MAIN, CLEAN) else f"analyses/{name}/"
