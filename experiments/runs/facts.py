"""What results say of themselves, checked when they are read, since a sent folder may be forged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError, with_config

_Text = Annotated[str, Strict()]
_Number = Annotated[int, Strict(), Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_extra = with_config(ConfigDict(extra="allow"))


@_extra
class _Of(TypedDict):
    """What every result says."""

    identity: _Text
    seconds: _Seconds
    layers: list[_Number]
    words: list[_Text]
    tokens: list[_Text]
    landmarks: dict[str, _Number]


@_extra
class _Scores(_Of):
    experiment: _Text
    n_states: _Number
    curve_layers: list[_Number]
    similarity_layer: _Number
    protocol: _Text
    manifold: _Text
    hold_out: NotRequired[_Text]
    period: NotRequired[Annotated[float, Field(gt=0, allow_inf_nan=False)]]


@_extra
class _Test(_Of):
    of_layers: list[_Number]
    n_permutations: Annotated[int, Strict(), Field(ge=1)]
    protocol: _Text


_SCORES, _TEST, _DISCOVERY = TypeAdapter(_Scores), TypeAdapter(_Test), TypeAdapter(_Of)


def check_scores(
    facts: Mapping[str, Any],
    shape: Sequence[int],
    expected: Callable[[int, int], Sequence[int]],
) -> None:
    """Make sure of the facts of a result whose mean scores have this shape.

    ``expected`` is the shape for so many layers and positions.

    Raises
    ------
    ValueError
        They are forged, or of other sites.
    """
    _check(_SCORES, facts)
    _check_axes(facts, expected(len(facts["layers"]), len(facts["words"])), shape)
    if not {*facts["curve_layers"], facts["similarity_layer"]} <= {*facts["layers"]}:
        raise ValueError("its curves are of layers that it lacks")


def check_test(facts: Mapping[str, Any], shape: Sequence[int], permutations: int) -> None:
    """Make sure of the facts of a permutation test of sites ``(layers, positions)``."""
    _check(_TEST, facts)
    _check_axes(facts, (len(facts["layers"]), len(facts["words"])), shape)
    if not {*facts["layers"]} <= {*facts["of_layers"]} or permutations < facts["n_permutations"]:
        raise ValueError("it is of layers or permutations that it lacks")


def check_discovery(facts: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Make sure of the facts of a discovery on sites ``(layers, positions)``."""
    _check(_DISCOVERY, facts)
    _check_axes(facts, (len(facts["layers"]), len(facts["words"])), shape)


def _check(schema: TypeAdapter[Any], facts: Mapping[str, Any]) -> None:
    try:
        schema.validate_python(dict(facts))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(" ".join(f"{where}: {first['msg']}".split())) from error


def _check_axes(facts: Mapping[str, Any], expected: Sequence[int], shape: Sequence[int]) -> None:
    count, landmarks = len(facts["words"]), facts["landmarks"]
    if tuple(shape) != tuple(expected) or len(facts["tokens"]) != count:
        raise ValueError(f"its scores {tuple(shape)} are of other layers or words than it says")
    if "source" not in landmarks or max(landmarks.values()) >= count:
        raise ValueError("its landmarks are not among its words")
