"""gpu_smds: Supervised Multi-Dimensional Scaling over all layers and tokens at once.

``score_map`` scores every site of a hidden-state array by cross-validation, ``fit_map`` fits one
map per site, ``similarity_map`` and ``transfer_map`` compare the fitted maps; ``discover`` and
``compare_manifolds`` ask which manifold it is. ``SupervisedMDS`` and ``HybridSMDS`` are
scikit-learn estimators for a single site, drop-ins for those of ``smds``.

The public names are listed in ``__init__.pyi``. Modules are imported on first use: importing torch
and scikit-learn takes seconds, and code that only opens files needs neither.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
