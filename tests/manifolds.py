"""The table of shapes: one row per shape and kind of labels. A new shape adds a row."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from smds.shapes import continuous_shapes, discrete_shapes, spatial_shapes
from smds.stress import StressMetrics

import gpu_smds

LABELS = {
    "continuous": lambda rng, n: rng.random(n),
    "days": lambda rng, n: rng.integers(0, 365, n) / 365,
    "integers": lambda rng, n: rng.integers(0, 40, n).astype(float),
    "months": lambda rng, n: rng.integers(0, 12, n).astype(float),
    "uneven": lambda rng, n: rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]).astype(float),
    "balanced": lambda rng, n: np.arange(n) % 5 + 0.0,
    "column": lambda rng, n: rng.random((n, 1)),
    "pairs": lambda rng, n: rng.random((n, 2)),
    "triples": lambda rng, n: rng.random((n, 3)),
    "degrees": lambda rng, n: np.stack(
        [rng.uniform(-80, 80, n), rng.uniform(-170, 170, n)], axis=1
    ),
    "levels": lambda rng, n: rng.integers(0, 4, (n, 3)).astype(float),
}


@dataclass(frozen=True)
class Row:
    """A shape with its parameters, its labels and where its answer is not determined."""

    shape: str
    labels: str
    n_components: int
    parameters: dict[str, Any] = field(default_factory=dict)
    #: Why the embedding is one of many; parity is then impossible and the status says so.
    undetermined: str = ""
    #: Why the distances have fewer dimensions than components. smds fills the rest with rounding
    #: noise, to which an orthonormal map gives the same weight as to the shape.
    rank_below: str = ""

    @property
    def ours(self):
        return getattr(gpu_smds, self.shape)(**self.parameters)

    @property
    def theirs(self):
        for module in (continuous_shapes, discrete_shapes, spatial_shapes):
            if hasattr(module, self.shape):
                return getattr(module, self.shape)(**self.parameters)
        raise AssertionError(f"smds has no {self.shape}")

    @property
    def id(self):
        extra = "-".join(f"{k}" for k in self.parameters)
        return "-".join(filter(None, [self.shape, self.labels, str(self.n_components), extra]))


_HALF = "labels that span half the ring lie on a line"

TABLE = [
    Row("CircularShape", "continuous", 2),
    Row("CircularShape", "days", 2),
    Row("CircularShape", "months", 2),
    Row("CircularShape", "column", 2),
    Row("CircularShape", "days", 2, {"normalize_labels": False}),
    Row("CircularShape", "continuous", 2, {"radious": 3.0}),
    Row("SemicircularShape", "continuous", 2),
    Row("SemicircularShape", "integers", 2),
    Row("SemicircularShape", "days", 1, {"normalize_labels": False}),
    Row("EuclideanShape", "continuous", 1),
    Row("EuclideanShape", "integers", 1, {"normalize_labels": False}),
    Row("EuclideanShape", "pairs", 2),
    Row("EuclideanShape", "triples", 2),
    Row("LogLinearShape", "continuous", 1),
    Row("LogLinearShape", "integers", 1),
    Row("LogLinearShape", "months", 1, {"normalize_labels": True}),
    Row("SpiralShape", "continuous", 2),
    Row("SpiralShape", "months", 2),
    Row("SpiralShape", "days", 2, {"num_turns": 1.0, "initial_radius": 0.1, "growth_rate": 0.5}),
    Row("ClusterShape", "uneven", 2),
    Row("ClusterShape", "months", 3),
    Row("ClusterShape", "uneven", 3),
    Row("ClusterShape", "balanced", 2, undetermined="five equal clusters have four equal axes"),
    Row("ClusterShape", "continuous", 2, undetermined="every sample is its own cluster"),
    Row("DiscreteCircularShape", "months", 2),
    Row("DiscreteCircularShape", "integers", 3),
    Row("DiscreteCircularShape", "continuous", 2, rank_below=_HALF),
    Row("DiscreteCircularShape", "months", 2, {"num_points": 24}, rank_below=_HALF),
    Row("HierarchicalShape", "levels", 2, {"level_distances": np.array([100.0, 10.0, 1.0])}),
    Row("HierarchicalShape", "levels", 4, {"level_distances": np.array([3.0, 2.0, 1.0])}),
    Row("PolytopeShape", "months", 3, {"seed": 1}),
    Row("PolytopeShape", "uneven", 3, {"seed": 2, "n_iter": 100}),
    Row("PolytopeShape", "months", 4, {"seed": 3, "n_dim": 4}),
    Row("GraphGeodesicShape", "pairs", 3, {"n_neighbors": 8}),
    Row("GraphGeodesicShape", "column", 2, {"n_neighbors": 9}, rank_below="a line"),
    Row("SphericalShape", "degrees", 3),
    Row("SphericalShape", "degrees", 2, {"radius": 2.0}),
    Row("CylindricalShape", "degrees", 3),
    Row("GeodesicShape", "degrees", 3),
    Row("TorusShape", "pairs", 3),
    Row("TorusShape", "triples", 3),
    Row("TorusShape", "column", 3),
    Row("TorusShape", "pairs", 4, {"radii": (1.0, 0.3)}),
    Row("KleinBottleShape", "pairs", 4),
    Row("ChainShape", "continuous", 2, rank_below=_HALF),
]

#: Those of smds; a metric of our own has no counterpart to be compared with.
METRICS = tuple(metric.value for metric in StressMetrics)
