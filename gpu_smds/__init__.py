"""gpu_smds: Supervised Multi-Dimensional Scaling over all layers and tokens at once.

``score_map`` scores every site of a hidden-state array by cross-validation, ``fit_map`` fits one
map per site, ``similarity_map`` and ``transfer_map`` compare the fitted maps; ``discover`` and
``compare_manifolds`` ask which manifold it is. ``SupervisedMDS`` and ``HybridSMDS`` are the
scikit-learn faces for a single site, drop-ins for those of ``smds``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_smds.angles import principal_angles
    from gpu_smds.bootstrap import BootstrapMap, Interval, bootstrap_map
    from gpu_smds.checkpoint import Checkpoint
    from gpu_smds.comparison import Comparison, compare_manifolds, run_statistical_validation
    from gpu_smds.discovery import Discovery, discover, discover_manifolds
    from gpu_smds.estimator import SupervisedMDS
    from gpu_smds.fitted import FittedMap
    from gpu_smds.hybrid import HybridSMDS
    from gpu_smds.maps import fit_map, score_map
    from gpu_smds.nested import NestedMap, nested_map
    from gpu_smds.one_pass import OnePass
    from gpu_smds.p_values import SignificanceMap
    from gpu_smds.parametrization import (
        ComputedSMDSParametrization,
        SMDSParametrization,
        UserProvidedSMDSParametrization,
    )
    from gpu_smds.results import ScoreMap
    from gpu_smds.shapes import (
        BaseShape,
        ChainShape,
        CircularShape,
        ClusterShape,
        CylindricalShape,
        DiscreteCircularShape,
        EuclideanShape,
        GeodesicShape,
        GraphGeodesicShape,
        HierarchicalShape,
        KleinBottleShape,
        LogLinearShape,
        PolytopeShape,
        SemicircularShape,
        SphericalShape,
        SpiralShape,
        TorusShape,
        manifold_names,
    )
    from gpu_smds.significance import significance_map
    from gpu_smds.similarity import similarity_map
    from gpu_smds.status import Status
    from gpu_smds.stress import METRICS, StressMetrics
    from gpu_smds.transfer import transfer_map

__version__ = "0.1.0"

__all__ = [
    "METRICS",
    "BaseShape",
    "BootstrapMap",
    "ChainShape",
    "Checkpoint",
    "CircularShape",
    "ClusterShape",
    "Comparison",
    "ComputedSMDSParametrization",
    "CylindricalShape",
    "Discovery",
    "DiscreteCircularShape",
    "EuclideanShape",
    "FittedMap",
    "GeodesicShape",
    "GraphGeodesicShape",
    "HierarchicalShape",
    "HybridSMDS",
    "Interval",
    "KleinBottleShape",
    "LogLinearShape",
    "NestedMap",
    "OnePass",
    "PolytopeShape",
    "SMDSParametrization",
    "ScoreMap",
    "SemicircularShape",
    "SignificanceMap",
    "SphericalShape",
    "SpiralShape",
    "Status",
    "StressMetrics",
    "SupervisedMDS",
    "TorusShape",
    "UserProvidedSMDSParametrization",
    "bootstrap_map",
    "compare_manifolds",
    "discover",
    "discover_manifolds",
    "fit_map",
    "manifold_names",
    "nested_map",
    "principal_angles",
    "run_statistical_validation",
    "score_map",
    "significance_map",
    "similarity_map",
    "transfer_map",
]

# Nothing is imported before it is used: torch and scikit-learn take seconds, and who only opens
# files needs neither.
_EXPORTS = {
    "angles": ("principal_angles",),
    "bootstrap": (
        "BootstrapMap",
        "Interval",
        "bootstrap_map",
    ),
    "checkpoint": ("Checkpoint",),
    "comparison": (
        "Comparison",
        "compare_manifolds",
        "run_statistical_validation",
    ),
    "discovery": (
        "Discovery",
        "discover",
        "discover_manifolds",
    ),
    "estimator": ("SupervisedMDS",),
    "fitted": ("FittedMap",),
    "hybrid": ("HybridSMDS",),
    "maps": (
        "fit_map",
        "score_map",
    ),
    "nested": (
        "NestedMap",
        "nested_map",
    ),
    "one_pass": ("OnePass",),
    "p_values": ("SignificanceMap",),
    "parametrization": (
        "ComputedSMDSParametrization",
        "SMDSParametrization",
        "UserProvidedSMDSParametrization",
    ),
    "results": ("ScoreMap",),
    "shapes": (
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
        "PolytopeShape",
        "SemicircularShape",
        "SphericalShape",
        "SpiralShape",
        "TorusShape",
        "manifold_names",
    ),
    "significance": ("significance_map",),
    "similarity": ("similarity_map",),
    "status": ("Status",),
    "stress": (
        "METRICS",
        "StressMetrics",
    ),
    "transfer": ("transfer_map",),
}
_ON_DEMAND = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(f"gpu_smds.{_ON_DEMAND[name]}"), name)
    raise AttributeError(f"module 'gpu_smds' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
