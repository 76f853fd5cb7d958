"""Order in a run's folder: files compared with the list, and what killed processes left removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments.runs.analysis import MAIN, Analysis
from experiments.runs.files import RunFiles, is_checked_elsewhere, kept_as, sha256_of
from experiments.runs.known_files import folders_of
from experiments.runs.lock import LOCK, check_lock, is_lock
from extract import ExtractError


def check_files(files: RunFiles, beginnings: Sequence[str] | None = None) -> list[str]:
    """Compare files with the list, and clean up after processes that were killed.

    Parameters
    ----------
    files
        Those of the run.
    beginnings
        Folders whose files are compared, such as ``results/``; "" is the run's own. None is all of
        them, for who holds the folder alone.

    Returns
    -------
    sentences : list of str
        What was changed or is missing. A changed file is kept as ``NAME.changed``, and a missing
        one is off the list, so that both are made again where they are needed.

    Raises
    ------
    ExtractError
        A link or a folder has the name of a file, or of a subfolder; something that is not of the
        run has the name of one of its files.
    """
    facts = files.manifest.facts
    if facts is None:
        return []
    with files.manifest.changing():
        analyses = (files.manifest.facts or {}).get("analyses", {})
        every = ["", *(f"{folder}/" for folder in folders_of(analyses))]
        of = every if beginnings is None else beginnings
        _remove_unfinished(files, of)
        found = []
        for key, entry in list(files.entries.items()):
            if beginnings is not None and key[: key.rfind("/") + 1] not in of:
                continue
            sentence = _compare(files, key, entry)
            if sentence is not None:
                del files.entries[key]
                files.unwritten |= bool(sentence)
                found.append(sentence)
        if beginnings is None and any(entry.get("stale") for entry in files.entries.values()):
            remove_stale(files)
        # Known before hours of work end at it.
        files.refuse_foreign(of)
        _refuse_foreign_locks(files, of)
    return [sentence for sentence in found if sentence]


def _refuse_foreign_locks(files: RunFiles, beginnings: Sequence[str]) -> None:
    """Raise UsageError where the lock of an analysis is not one of ours; see ``Analysis.place``."""
    for beginning in beginnings:
        if beginning.startswith("analyses/"):
            beginning = beginning[: beginning.index("/", len("analyses/")) + 1]
        where = files.where(f"{beginning}x")
        if where is not None and beginning:
            check_lock(where[0], where[0].path)


def remove_stale(files: RunFiles) -> None:
    """Remove files of the run that was here before, as far as they are as it wrote them."""
    stale = [key for key, entry in files.entries.items() if entry.get("stale")]
    for key in stale:
        where = files.where(key)
        if where is not None and where[0].kind(where[1]) == "file":
            digest = files.entries[key].get("sha256")
            if digest is None or digest == sha256_of(*where):
                where[0].remove(where[1])
            else:
                files.say(kept_as(files.path / key, where[0].set_aside(where[1])))
        del files.entries[key]
    if stale:
        files.manifest.write()
        for name in {key.split("/")[1] for key in stale if key.startswith("analyses/")}:
            _remove_place(files, Analysis(name, {}, False))


def remove_analysis(files: RunFiles, analysis: Analysis) -> None:
    """Remove the files of an analysis, and its folders where nothing else is in them."""
    facts = files.manifest.facts
    assert facts is not None
    for key in files_of(files.entries, analysis):
        files.remove(key)
    if analysis.name == MAIN:
        facts["main"] = None
        facts.pop("significance", None)
    else:
        facts["analyses"].pop(analysis.name, None)
    files.manifest.write()
    _remove_place(files, analysis)


def files_of(keys: Iterable[str], analysis: Analysis) -> list[str]:
    """Those files of a run that are of an analysis."""
    of = (analysis.results, analysis.figures)
    return [key for key in keys if key[: key.rfind("/") + 1] in of]


def _remove_place(files: RunFiles, analysis: Analysis) -> None:
    """Remove the lock of an analysis, and its folders where nothing is left in them."""
    where = files.where(f"{analysis.place}x")
    if where is not None:
        folder, _ = where
        if folder.kind(LOCK) == "file" and is_lock(folder.head(LOCK, 1 << 12)):
            folder.remove(LOCK)
        _remove_empty(files, analysis)


def remove_states(files: RunFiles) -> None:
    """Remove the states; who needs them reads them again.

    The manifest says so first, so that a process that is killed leaves none that are believed. It
    keeps their SHA-256, so that others in their place are noticed.
    """
    before = (files.manifest.facts or {}).get("states_before")
    digests = {
        key.removeprefix("states/"): files.entries[key]["sha256"]
        for key in files.listed("states/")
        if "sha256" in files.entries[key]
    }
    files.manifest.note(extracted=False, states_index=None, states_before=digests or before)
    for key in files.listed("states/"):
        files.remove(key)
    files.manifest.write()


def _remove_empty(files: RunFiles, analysis: Analysis) -> None:
    """Remove folders of an analysis in which nothing is left."""
    folders = [analysis.results, analysis.figures]
    if analysis.name != MAIN:
        folders += [analysis.place, "analyses/"]
    for folder in folders:
        *parts, name = folder.rstrip("/").split("/")
        where = files.where("/".join([*parts, "x"]))
        if where is not None:
            where[0].remove_folder(name)


def _compare(files: RunFiles, key: str, entry: dict[str, Any]) -> str | None:
    """None where a file is as listed; else what to say of it, or "" where that is nothing."""
    where, path = files.where(key), files.path / key
    kind = None if where is None else where[0].kind(where[1])
    if where is None or kind is None:
        # Killed before it was there, or checked by those who read it.
        quiet = is_checked_elsewhere(key) or "was" in entry or entry.get("stale")
        return "" if quiet else f"{path} is missing: it is made again when needed"
    folder, name = where
    if kind != "file":
        raise ExtractError(
            f"{path} is a {kind} where the run has a file: remove it, or choose another --out"
        )
    if is_checked_elsewhere(key):
        return None
    digest = sha256_of(folder, name)
    if "sha256" not in entry and (files.manifest.facts or {}).get("identity_of") == "0.1.0":
        entry["sha256"] = digest  # that version did not note it
    if digest == entry.get("sha256"):
        entry.pop("was", None)
        return None
    if digest == entry.get("was"):  # killed before the new one got its name
        entry["sha256"] = entry.pop("was")
        return None
    return kept_as(path, folder.set_aside(name))


def _remove_unfinished(files: RunFiles, beginnings: Sequence[str]) -> None:
    """Remove what killed processes left half-written; nobody else writes there now."""
    assert files.manifest.facts is not None
    end = f".{files.manifest.facts['token']}.partial"
    for beginning in beginnings:
        where = files.where(f"{beginning}x")
        for name in where[0].names() if where else ():
            ours = name.startswith(".") and name.endswith(end)
            if where and ours and where[0].kind(name) == "file":
                where[0].remove(name)
    if "" in beginnings:
        files.manifest.remove_unfinished()
