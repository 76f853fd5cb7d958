"""gpu_smds: Supervised Multi-Dimensional Scaling over all layers and tokens at once.

``score_map`` scores every site of a hidden-state array by cross-validation, ``fit_map`` fits one
map per site, ``similarity_map`` and ``transfer_map`` compare the fitted maps, and
``SupervisedMDS`` is the scikit-learn face for a single site.
"""

from typing import TYPE_CHECKING, Any

from gpu_smds.fitted import FittedMap
from gpu_smds.maps import fit_map, score_map
from gpu_smds.results import ScoreMap
from gpu_smds.shapes import CircularShape, manifold_names
from gpu_smds.similarity import similarity_map
from gpu_smds.status import Status
from gpu_smds.transfer import transfer_map

if TYPE_CHECKING:
    from gpu_smds.estimator import SupervisedMDS

__version__ = "0.1.0"

__all__ = [
    "CircularShape",
    "FittedMap",
    "ScoreMap",
    "Status",
    "SupervisedMDS",
    "fit_map",
    "manifold_names",
    "score_map",
    "similarity_map",
    "transfer_map",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes most of a second to import; only the estimator needs it.
    if name == "SupervisedMDS":
        from gpu_smds.estimator import SupervisedMDS

        return SupervisedMDS
    raise AttributeError(f"module 'gpu_smds' has no attribute {name!r}")
