"""The manifest of a run's folder: what it was made from, which files are its own, what is asked."""

from __future__ import annotations

import json
import platform
import secrets
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError, with_config

from experiments.options import DECLARED, spellings
from experiments.runs.known_files import NAME as ANALYSIS
from experiments.runs.known_files import is_known, names_of_0_1_0
from extract import ExtractError, UsageError
from gpu_smds._files import FilesError, Folder

NAME = "manifest.json"
PROGRAM = "gpu_smds"
#: 1 is that of version 0.1.0, which did not list the files.
FORMAT_VERSION = 2
_PACKAGES = (
    *("gpu-smds", "torch", "transformers", "bitsandbytes", "numpy", "scikit-learn"),
    "safetensors",
)
MOST = 1 << 26

_Int = Annotated[int, Strict()]
_Count = Annotated[int, Strict(), Field(ge=1)]
_Text = Annotated[str, Strict()]
_Bool = Annotated[bool, Strict()]
_Sha256 = Annotated[str, Strict(), Field(pattern="^[0-9a-f]{64}$")]
_AnalysisName = Annotated[str, Strict(), Field(pattern=f"^{ANALYSIS}$")]
_Plain = _Text | _Bool | _Int | Annotated[float, Strict()] | None
_extra = with_config(ConfigDict(extra="allow"))


@_extra
class _Identity(TypedDict):
    states: dict[str, _Plain]
    experiments: dict[str, _Plain]


@_extra
class _Positions(TypedDict):
    words: list[_Text]
    tokens: list[_Text]
    landmarks: dict[str, Annotated[int, Strict(), Field(ge=0)]]
    first: NotRequired[dict[str, Annotated[int, Strict(), Field(ge=0)]]]
    named: NotRequired[dict[str, Annotated[int, Strict(), Field(ge=0)]]]


@_extra
class _Entry(TypedDict):
    sha256: NotRequired[_Sha256]
    was: NotRequired[_Sha256 | None]
    stale: NotRequired[_Bool]


@_extra
class _Test(TypedDict):
    layers: list[Annotated[int, Strict(), Field(ge=0)]]


@_extra
class _Settings(TypedDict):
    source: _Text
    destination: _Text
    distractor: _Text
    manifold: _Text
    period: NotRequired[Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)] | None]
    protocol: NotRequired[Literal["study", "clean"]]
    hold_out: NotRequired[_Text | None]
    only_layers: NotRequired[_Text | None]
    analysis_seed: NotRequired[Annotated[int, Strict(), Field(ge=0)] | None]
    permutations: NotRequired[Annotated[int, Strict(), Field(ge=0)]]
    manifolds: NotRequired[list[_Text] | None]
    shuffles: NotRequired[Annotated[int, Strict(), Field(ge=0)]]


@_extra
class _Analysis(TypedDict):
    settings: _Settings
    significance: NotRequired[_Test]


@_extra
class _Model(TypedDict):
    name: _Text
    commit: NotRequired[_Text | None]


@_extra
class _Chat(TypedDict):
    before: _Text
    after: _Text
    template: _Sha256


@_extra
class _Manifest(TypedDict):
    format_version: Literal[1, 2]
    program: NotRequired[Literal["gpu_smds"]]
    token: NotRequired[Annotated[str, Strict(), Field(pattern="^[0-9a-f]{16}$")]]
    files: NotRequired[dict[str, _Entry]]
    identity: _Identity
    extracted: _Bool
    states_index: NotRequired[_Sha256 | None]
    model: _Model
    tokenizer: dict[str, _Plain]
    n_states: _Count
    positions: _Positions
    chat: NotRequired[_Chat | None]
    batches: list[_Count]
    batches_asked: list[_Int | None]
    memory_budget: NotRequired[_Count | None]
    device: _Text
    significance: NotRequired[_Test]
    main: NotRequired[_Settings | None]
    analyses: NotRequired[dict[_AnalysisName, _Analysis]]
    dtype: NotRequired[Literal["float64", "float32", "float16", "bfloat16"]]
    shape: NotRequired[Annotated[list[_Count], Field(min_length=4, max_length=4)]]
    fingerprint: NotRequired[dict[str, _Plain]]


_ABSENT = object()
#: What identities of states note only where it is asked for.
_ONLY_WHERE_ASKED = {"chat"}
_SCHEMA = TypeAdapter(_Manifest)


def read_manifest(folder: Folder) -> dict[str, Any] | None:
    """Read a folder's manifest; None where there is none.

    Raises
    ------
    ExtractError
        It is damaged, or not one of ours.
    """
    path = folder.path / NAME
    try:
        found: Any = _SCHEMA.validate_json(folder.read(NAME, MOST))
        _check(found)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, FilesError, RecursionError) as error:
        raise ExtractError(
            f"{path} is damaged or not of gpu-smds ({_reason(error)}), so that nobody can tell "
            "which files here are its own: choose another --out"
        ) from error
    manifest: dict[str, Any] = found
    manifest["identity"]["states"].setdefault("final_norm", "post")  # not asked for once
    return manifest


def adopted(manifest: dict[str, Any], folder: Folder) -> dict[str, Any]:
    """The manifest with a list of its files, which version 0.1.0 did not keep."""
    if manifest["format_version"] == FORMAT_VERSION:
        return manifest
    files: dict[str, Any] = {key: {} for key in names_of_0_1_0(folder)}
    return {
        "program": PROGRAM,
        **manifest,
        "format_version": FORMAT_VERSION,
        # Its states are told from others by the ends of the model's files.
        "identity_of": "0.1.0",
        "token": secrets.token_hex(8),
        "files": files,
    }


def new_manifest(facts: Mapping[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
    """A manifest that keeps, as stale, the list of the files that are still to be removed."""
    files = {key: {**entry, "stale": True} for key, entry in (found or {}).get("files", {}).items()}
    token = (found or {}).get("token") or secrets.token_hex(8)
    head = {"program": PROGRAM, "format_version": FORMAT_VERSION, "token": token}
    return {**head, **facts, "files": files}


def merged(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> dict[str, Any]:
    """What two processes made of one manifest: the changes of both; mine where both changed it.

    ``base`` is what both began with.
    """
    found = {}
    for key in {**theirs, **mine}:
        before, own, other = (of.get(key, _ABSENT) for of in (base, mine, theirs))
        if isinstance(own, dict) and isinstance(other, dict):
            value: Any = merged(before if isinstance(before, dict) else {}, own, other)
        else:
            value = other if own == before else own
        if value is not _ABSENT:
            found[key] = value
    return found


def write_manifest(folder: Folder, manifest: Mapping[str, Any]) -> None:
    """Write a folder's manifest in the place of the one before, which is never absent."""
    content = json.dumps(manifest, indent=1, ensure_ascii=False)
    folder.replace(NAME, content.encode("utf-8", "surrogatepass"))


def check_states(
    folder: Path, found: dict[str, Any], wanted: dict[str, Any], may_replace: bool = True
) -> None:
    """Compare the states that a folder holds with those that are asked for.

    ``may_replace`` says whether the command could read others in their place.

    Raises
    ------
    UsageError
        They differ; the message names the first differences, and the options that would do.
    """
    keys = dict.fromkeys(("task", *wanted)) if "task" in found else wanted
    wanted = {key: wanted.get(key) for key in keys}
    asked = {**dict.fromkeys(_ONLY_WHERE_ASKED & found.keys()), **wanted}
    differing = [key for key, value in asked.items() if found.get(key) != value]
    if not differing:
        return
    if {"task", "samples", "seed"} & {*differing}:  # which are the reason of other prompts
        differing = [key for key in differing if key != "prompts"]
    said = [f"{key} {_short(found.get(key))}, asked for {_short(asked[key])}" for key in differing]
    given = [way for key in differing if (way := _option_for(key, found.get(key)))]
    add = f"give {' '.join(given)}, or " if len(given) == len(differing) else ""
    replace = ", or --force-states to replace it and its analyses" if may_replace else ""
    raise UsageError(
        f"{folder} holds a run with {'; '.join(said[:3])}: {add}choose another --out{replace}"
    )


def _option_for(key: str, value: Any) -> str | None:
    """The option that asks for states of a folder; None where nothing short does.

    Of prompts their hash is noted, which is none.
    """
    if key in _ONLY_WHERE_ASKED and DECLARED[key].kind is bool:
        yes, no = spellings(key)
        return yes if value else no
    if key in DECLARED and key != "prompts" and isinstance(value, str | int):
        return f"{spellings(key)[0]} {value}"
    return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _check(manifest: Any) -> None:
    """What a schema does not say; raises FilesError."""
    listed = manifest["format_version"] == FORMAT_VERSION
    if listed and not {"program", "token", "files"} <= manifest.keys():
        raise FilesError("it does not list its files")
    for key in manifest.get("files", ()):
        if not is_known(key):
            raise FilesError(f"it lists {_short(key)}, which no run writes")
    count = len(manifest["positions"]["words"])
    if len(manifest["positions"]["tokens"]) != count:
        raise FilesError("it has other tokens than words")
    landmarks = manifest["positions"]["landmarks"]
    if "source" not in landmarks or any(position >= count for position in landmarks.values()):
        raise FilesError("its landmarks are not among its words")
    first, named = (manifest["positions"].get(key, {}) for key in ("first", "named"))
    if any(position >= count for position in (*first.values(), *named.values())):
        raise FilesError("its words are at positions that it lacks")
    if {"main", "clean"} & manifest.get("analyses", {}).keys():
        raise FilesError("an analysis has a name that is taken")
    if len(manifest["batches_asked"]) != 2:
        raise FilesError("it does not say which batches were asked for")


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        # Names of entries may hold line breaks of many kinds.
        return " ".join(f"{where}: {first['msg']}".split())[:200].removeprefix(": ")
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error).split())[:200]


def _short(value: Any) -> str:
    if value is None:
        return "default"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 48 else text[:45] + "…"
