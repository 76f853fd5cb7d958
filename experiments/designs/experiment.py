"""What an experiment is: one row with all that commands, tables, figures and summary need of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.designs.setting import Progress, Setting, said_of

if TYPE_CHECKING:
    from gpu_smds import Checkpoint, OnePass, ScoreMap
    from gpu_smds._files import File

#: Roles of positions, in the order in which tables show them.
ROLES = ("source", "distractor", "destination")

Results = Mapping[str, "ScoreMap"]


@dataclass(frozen=True)
class Layout:
    """Along which axes an experiment's scores lie.

    Attributes
    ----------
    columns
        Headings of its CSV file; the last one is the status.
    rows
        The rows of the file.
    shape
        Shape of the mean scores for so many layers and positions.
    best
        Layer number and scores ``(positions,)`` of the summary.
    """

    columns: tuple[str, ...]
    rows: Callable[[ScoreMap], Iterable[tuple[object, ...]]]
    shape: Callable[[int, int], tuple[int, ...]]
    best: Callable[[ScoreMap], tuple[int | None, np.ndarray]]


def best_layer(scores: ScoreMap, position: int) -> int:
    """Index along the layer axis of the highest mean score at a position; -1 where none is."""
    column = scores.mean[:, position]
    return -1 if np.isnan(column).all() else int(np.nanargmax(column))


def layer_of_source(scores: ScoreMap) -> int:
    """Index of the layer where the source scores best and every landmark has a score; -1 if none.

    A source may score best at the embeddings, where all other words are the same in every sentence.
    Where no layer has a score at every landmark, it is the best one of the source.
    """
    landmarks = scores.metadata["landmarks"]
    source = scores.mean[:, landmarks["source"]]
    shared = np.isfinite(scores.mean[:, list(landmarks.values())]).all(1)
    if not shared.any():
        return best_layer(scores, landmarks["source"])
    return int(np.argmax(np.where(shared, source, -np.inf)))


def std_of(scores: ScoreMap) -> np.ndarray:
    """Standard deviation over folds, NaN where there is only one."""
    one_fold = scores.scores.shape[scores.dims.index("fold")] == 1
    return np.full_like(scores.std, np.nan) if one_fold else scores.std


def _rows_of_sites(scores: ScoreMap) -> Iterable[tuple[object, ...]]:
    facts, mean, std = scores.metadata, scores.mean, std_of(scores)
    words, tokens, status = facts["words"], facts["tokens"], scores.worst_status
    return (
        (layer, p, words[p], tokens[p], mean[i, p], std[i, p], status[i, p])
        for i, layer in enumerate(facts["layers"])
        for p in range(mean.shape[1])
    )


def _best_of_sites(scores: ScoreMap) -> tuple[int | None, np.ndarray]:
    """The scores in the layer where the source scores best."""
    facts = scores.metadata
    best = layer_of_source(scores)
    return facts["layers"][best] if best >= 0 else None, scores.mean[best]


#: One score per layer and position; ``std`` is over folds, empty where there is only one.
SITES = Layout(
    columns=("layer", "position", "word", "token", "score", "std", "status"),
    rows=_rows_of_sites,
    shape=lambda layers, positions: (layers, positions),
    best=_best_of_sites,
)


@dataclass(frozen=True)
class Shown:
    """A result with what its figure says beside the numbers.

    Attributes
    ----------
    scores
        The result; its metadata names layers, words, tokens and landmarks.
    title, caption
        Above the figure and below it.
    marks
        What a permutation test of the same sites adds: ``significant`` and ``chance``; may be
        empty.
    """

    scores: ScoreMap
    title: str
    caption: str
    marks: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, Any]:
        """Names of layers and positions, as figures take them."""
        facts = self.scores.metadata
        return {name: facts[name] for name in ("layers", "words", "tokens", "landmarks")}


@dataclass(frozen=True)
class Verdict:
    """A hypothesis, whether the numbers support it (None: undecided), and the numbers.

    ``why_not`` says why it cannot be tested; ``of`` are the landmarks that must hold the label.
    """

    name: str
    claim: str
    supported: bool | None
    numbers: str
    why_not: str | None = None
    of: tuple[str, ...] = ("source",)


def draw_heatmap(file: File, shown: Shown) -> None:
    """One cell per layer and position: the figure of most experiments."""
    from experiments.figures import draw_map

    mean = shown.scores.mean
    draw_map(file, mean, np.isfinite(mean), **shown.axes, title=shown.title, caption=shown.caption)


@dataclass(frozen=True)
class Experiment:
    """An experiment of the study.

    Attributes
    ----------
    number, name
        "1", and the name of its command and of its files.
    question
        What it asks, as progress bars say it.
    captions
        How its scores are made, for its figure, by protocol.
    title
        What its figure asks; ``{shape}`` is what is looked for, ``{source}`` the source's word.
    help
        What its command does; "" where it has none and is a part of ``all``.
    plan
        Announces its computation to a pass over the states that it shares with other experiments,
        and returns what gives the scores once the pass is over.
    compute
        Computes it by a pass of its own, where it has no ``plan``.
    layout
        Axes of the scores.
    figure
        Draws them.
    verdict
        The hypothesis that is decided once this experiment is there, from the results of all;
        None where other results that it needs are missing.
    chance
        What unstructured data score on a circle by the study's protocol; may be empty.
    footnote
        What is said below the table of the summary; may be empty.
    holds_out
        What of ``Setting.held_out`` it needs; None where it needs nothing.
    """

    number: str
    name: str
    question: str
    captions: Mapping[str, str]
    title: str
    help: str = ""
    plan: Callable[[Setting, OnePass], Callable[[], ScoreMap]] | None = None
    compute: Callable[[Setting, Progress, Checkpoint | None], ScoreMap] | None = None
    layout: Layout = SITES
    figure: Callable[[File, Shown], None] = draw_heatmap
    verdict: Callable[[Results], Verdict | None] | None = None
    chance: str = ""
    footnote: str = ""
    holds_out: str | None = None

    def caption(self, facts: Mapping[str, Any]) -> str:
        """How scores with these facts were made, for their figure."""
        protocol = facts["protocol"]
        stretched = protocol == "study" and facts.get("period") is None
        on_a_circle = stretched and facts.get("manifold") == "circular"
        chance = f" {self.chance}" if self.chance and on_a_circle else ""
        return self.captions[protocol] + chance + said_of(protocol)

    def titled(self, model: str, scores: ScoreMap) -> str:
        """Title of its figure."""
        facts = scores.metadata
        source = facts["words"][facts["landmarks"]["source"]]
        asked = self.title.format(shape=shape_of(scores), source=source)
        return f"{model}: {asked} (Exp {self.number}{self._called})"

    @property
    def _called(self) -> str:
        return f", {self.name}" if self.help else ""


#: What the shapes are called, in the singular.
_NOUNS = {
    "circular": "circle",
    "discrete_circular": "ring of steps",
    "semicircular": "half circle",
    "euclidean": "flat space",
    "log_linear": "logarithmic line",
    "cluster": "set of clusters",
    "chain": "chain",
    "spiral": "spiral",
    "hierarchical": "tree",
    "spherical": "sphere",
    "cylindrical": "cylinder",
    "torus": "torus",
    "klein_bottle": "Klein bottle",
    "polytope": "polytope",
}


def shape_of(scores: ScoreMap) -> str:
    """What a result looked for, as a noun."""
    manifold = str(scores.metadata.get("manifold", "circular"))
    noun = _NOUNS.get(manifold, f"{manifold.replace('_', ' ')} manifold")
    return noun + of_period(scores.metadata.get("period"))


def of_period(period: float | None) -> str:
    """The period of the labels, for the end of what they lie on; nothing where there is none."""
    return "" if period is None else f" of period {period:.15g}"
