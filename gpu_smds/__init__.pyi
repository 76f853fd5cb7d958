"""What is public, and where it comes from."""

from .estimators.hybrid_smds import HybridSMDS as HybridSMDS
from .estimators.supervised_mds import SupervisedMDS as SupervisedMDS
from .geometry.joined_ends import PeriodWarning as PeriodWarning
from .geometry.parametrization import (
    ComputedSMDSParametrization as ComputedSMDSParametrization,
)
from .geometry.parametrization import (
    SMDSParametrization as SMDSParametrization,
)
from .geometry.parametrization import (
    UserProvidedSMDSParametrization as UserProvidedSMDSParametrization,
)
from .geometry.shapes import (
    BaseShape as BaseShape,
)
from .geometry.shapes import (
    ChainShape as ChainShape,
)
from .geometry.shapes import (
    CircularShape as CircularShape,
)
from .geometry.shapes import (
    ClusterShape as ClusterShape,
)
from .geometry.shapes import (
    CylindricalShape as CylindricalShape,
)
from .geometry.shapes import (
    DiscreteCircularShape as DiscreteCircularShape,
)
from .geometry.shapes import (
    EuclideanShape as EuclideanShape,
)
from .geometry.shapes import (
    GeodesicShape as GeodesicShape,
)
from .geometry.shapes import (
    GraphGeodesicShape as GraphGeodesicShape,
)
from .geometry.shapes import (
    HierarchicalShape as HierarchicalShape,
)
from .geometry.shapes import (
    KleinBottleShape as KleinBottleShape,
)
from .geometry.shapes import (
    LogLinearShape as LogLinearShape,
)
from .geometry.shapes import (
    PolytopeShape as PolytopeShape,
)
from .geometry.shapes import (
    SemicircularShape as SemicircularShape,
)
from .geometry.shapes import (
    SphericalShape as SphericalShape,
)
from .geometry.shapes import (
    SpiralShape as SpiralShape,
)
from .geometry.shapes import (
    TorusShape as TorusShape,
)
from .geometry.shapes import (
    manifold_names as manifold_names,
)
from .inference.bootstrap import (
    BootstrapMap as BootstrapMap,
)
from .inference.bootstrap import (
    Interval as Interval,
)
from .inference.bootstrap import (
    bootstrap_map as bootstrap_map,
)
from .inference.comparison import Comparison as Comparison
from .inference.comparison import compare_manifolds as compare_manifolds
from .inference.nested_cv import NestedMap as NestedMap
from .inference.nested_cv import nested_map as nested_map
from .inference.permutation_test import significance_map as significance_map
from .inference.significance_map import SignificanceMap as SignificanceMap
from .maps.discovery import Discovery as Discovery
from .maps.discovery import discover as discover
from .maps.fit import fit_map as fit_map
from .maps.fitted_map import FittedMap as FittedMap
from .maps.one_pass import OnePass as OnePass
from .maps.score import score_map as score_map
from .maps.score_map import ScoreMap as ScoreMap
from .maps.subspaces import principal_angles as principal_angles
from .maps.subspaces import similarity_map as similarity_map
from .maps.transfer import transfer_map as transfer_map
from .metrics.scores import METRICS as METRICS
from .metrics.scores import StressMetrics as StressMetrics
from .sites.checkpoint import Checkpoint as Checkpoint
from .sites.status import Status as Status
from .smds_pipeline import (
    discover_manifolds as discover_manifolds,
)
from .smds_pipeline import (
    run_statistical_validation as run_statistical_validation,
)
from .solvers.partial_least_squares import PartialLeastSquares as PartialLeastSquares

__version__: str
