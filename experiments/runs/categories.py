"""Labels that are categories: which shapes may be asked of them, and how they are predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from experiments.options import Options
from extract import Prompts, UsageError
from gpu_smds.geometry.manifold import resolve_manifold
from gpu_smds.geometry.shapes import categorical_names

#: Shapes that ask of labels only whether they are equal; all others take them for quantities.
OF_CATEGORIES = tuple(categorical_names())
#: Most categories that lie at equal distances in the two dimensions of a map.
_AT_EQUAL_DISTANCES = 3


def with_categories(command: str, options: Options, prompts: Prompts) -> Options:
    """The options with shapes that take categories, where the labels are some.

    Those of a task have an order, and its file says which shapes are asked of them.

    Raises
    ------
    UsageError
        Another shape was asked for.
    """
    if not any(prompts.label_names) or command == "extract" or options.draws:
        return options
    if command == "discover" and options.manifolds is None:
        fit = [name for name in OF_CATEGORIES if resolve_manifold(name).takes(prompts.labels)]
        return replace(options, manifolds=tuple(fit))
    asked = (options.manifold,) if command != "discover" else options.manifolds or ()
    for name in asked:
        if name not in OF_CATEGORIES:
            few = ", ".join(next(names for names in prompts.label_names if names)[:3])
            of_one = "" if prompts.labels.ndim == 1 else "one column of names and "
            option = "--manifolds" if command == "discover" else "--manifold"
            many = len(np.unique(prompts.labels)) > _AT_EQUAL_DISTANCES
            raise UsageError(
                f"the labels are names ({few}, …), and {name} takes numbers: give the label as "
                f"numbers, or {of_one}{option} {'polytope' if many else 'cluster'}"
            )
    return options


def crowded(command: str, options: Options, prompts: Prompts) -> str | None:
    """What is said where clusters are asked for that no plane has room for; else None."""
    count = len(np.unique(prompts.labels))
    if options.manifold != "cluster" or command in ("extract", "discover", "figures"):
        return None
    if options.draws or count <= _AT_EQUAL_DISTANCES:
        return None
    return (
        f"manifold cluster: a plane has room for {_AT_EQUAL_DISTANCES} categories at equal "
        f"distances, and there are {count}, so that scores stay low whatever the states hold: "
        "--manifold polytope gives each a place on a sphere"
    )


def quantities(prompts: Prompts) -> np.ndarray:
    """Labels ``(n, k)`` whose differences mean something: categories as columns of 0 and 1."""
    columns = prompts.labels.reshape(len(prompts), -1)
    if not any(prompts.label_names):
        return columns
    found = [
        column[:, None] == np.arange(len(names)) if names else column[:, None]
        for column, names in zip(columns.T, prompts.label_names, strict=True)
    ]
    return np.concatenate(found, axis=1).astype(np.float64)
