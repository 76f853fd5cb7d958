"""The 16 shapes of smds and the registry of their names."""

from __future__ import annotations

from collections.abc import Callable

from gpu_smds.geometry.shapes.base import (
    BaseShape,
    PeriodicShape,
    PointShape,
    refuse_categories,
)
from gpu_smds.geometry.shapes.continuous import (
    CircularShape,
    EuclideanShape,
    LogLinearShape,
    SemicircularShape,
    SpiralShape,
)
from gpu_smds.geometry.shapes.discrete import (
    ChainShape,
    ClusterShape,
    DiscreteCircularShape,
    GraphGeodesicShape,
    HierarchicalShape,
    PolytopeShape,
)
from gpu_smds.geometry.shapes.surfaces import (
    CylindricalShape,
    GeodesicShape,
    KleinBottleShape,
    SphericalShape,
    TorusShape,
)

__all__ = [
    "SHAPES",
    "BaseShape",
    "ChainShape",
    "CircularShape",
    "ClusterShape",
    "CylindricalShape",
    "DiscreteCircularShape",
    "EuclideanShape",
    "GeodesicShape",
    "GraphGeodesicShape",
    "HierarchicalShape",
    "KleinBottleShape",
    "LogLinearShape",
    "PeriodicShape",
    "PointShape",
    "PolytopeShape",
    "SemicircularShape",
    "SphericalShape",
    "SpiralShape",
    "TorusShape",
    "categorical_names",
    "manifold_names",
    "periodic_names",
    "refuse_categories",
]

#: Names that the ``manifold`` argument takes, and their shapes with the parameters of smds.
SHAPES: dict[str, Callable[[], BaseShape]] = {
    "chain": ChainShape,
    "circular": CircularShape,
    "cluster": ClusterShape,
    "cylindrical": CylindricalShape,
    "discrete_circular": DiscreteCircularShape,
    "euclidean": EuclideanShape,
    "geodesic": GeodesicShape,
    "graph_geodesic": GraphGeodesicShape,
    "hierarchical": lambda: HierarchicalShape([100.0, 10.0, 1.0]),
    "klein_bottle": KleinBottleShape,
    "log_linear": LogLinearShape,
    "polytope": PolytopeShape,
    "semicircular": SemicircularShape,
    "spherical": SphericalShape,
    "spiral": SpiralShape,
    "torus": TorusShape,
}


def manifold_names() -> list[str]:
    """Names that the ``manifold`` argument takes."""
    return sorted(SHAPES)


def periodic_names() -> list[str]:
    """Names of the shapes that close on themselves, whose labels may have a period."""
    return [name for name in manifold_names() if isinstance(SHAPES[name](), PeriodicShape)]


def categorical_names() -> list[str]:
    """Names of the shapes that ask only whether labels are equal, and take text."""
    return [name for name in manifold_names() if SHAPES[name]().categorical]
