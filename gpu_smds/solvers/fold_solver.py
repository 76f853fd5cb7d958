"""Base class of solvers: from a fold of many sites and embeddings of its labels to projections.

A new solver is a subclass of :class:`FoldSolver` with one method, :meth:`FoldSolver.fit`, and a row
in the table of :mod:`gpu_smds.solvers.spec`. The other methods are defined in terms of it; a solver
that has a faster way overrides them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from gpu_smds.kernels.linalg import multiply


class FoldView(Protocol):
    """Training and test rows of one fold at b sites, as a solver sees them."""

    @property
    def n_train(self) -> int:
        """Number of training rows."""
        ...

    @property
    def n_test(self) -> int:
        """Number of test rows."""
        ...

    @property
    def in_features(self) -> bool:
        """Whether to solve the features × features system and not the samples × samples one."""
        ...

    @property
    def probe(self) -> Tensor:
        """A combination ``(b, d)`` of the test rows, by :func:`.ridge_systems.signs`."""
        ...

    @property
    def shares(self) -> bool:
        """Whether its matrix is part of one that all folds share.

        The matrix is then computed without the centred training rows, and a samples × samples
        matrix is not centred.
        """
        ...

    @property
    def centred(self) -> bool:
        """Whether a samples × samples matrix is always centred."""
        ...

    @property
    def cancelled(self) -> Tensor | None:
        """Amount that centring subtracted from the diagonal of the features × features matrix.

        ``(b, d)``, or None if the rows were centred first.
        """
        ...

    def train(self) -> Tensor:
        """Training rows ``(b, n_train, d)``, centred."""
        ...

    def test(self) -> Tensor:
        """Test rows ``(b, n_test, d)``, up to a shift."""
        ...

    def project(self, Wt: Tensor) -> Tensor:
        """Products ``(b, n_test, k)`` of the test rows with maps ``(b, d, k)``."""
        ...

    def matrix(self) -> Tensor:
        """Scatter ``(b, d, d)`` or Gram matrix ``(b, n_train, n_train)`` of the training rows.

        Its dtype is :attr:`FoldSolver.matrix_dtype`. It is in a workspace and may be overwritten.
        """
        ...

    def test_gram(self) -> Tensor:
        """Products ``(b, n_test, n_train)`` of the test rows with the training rows."""
        ...


class Labels:
    """Embeddings of a fold's training labels, as right-hand sides.

    Parameters
    ----------
    Y
        ``(n_train, K)`` centred embeddings, several side by side.
    products
        Function that returns XᵀY ``(b, d, K)`` of the training rows; called when first needed.
    """

    def __init__(self, Y: Tensor, products: Callable[[], Tensor]) -> None:
        self.Y = Y
        self._form = products
        self._products: Tensor | None = None

    @property
    def products(self) -> Tensor:
        """XᵀY ``(b, d, K)`` of the training rows."""
        if self._products is None:
            self._products = self._form()
        return self._products

    def part(self, columns: slice) -> Labels:
        """Some of the embeddings."""
        return Labels(self.Y[:, columns], lambda: self.products[..., columns])


@dataclass(frozen=True)
class FoldSize:
    """Sizes of the folds of a cross-validation, from which a solver's memory is computed.

    Attributes
    ----------
    n, d
        Samples and features.
    n_train, n_test
        Rows of the largest training and test part.
    columns
        Columns K of all embeddings together.
    in_features
        As :attr:`FoldView.in_features`.
    """

    n: int
    d: int
    n_train: int
    n_test: int
    columns: int
    in_features: bool


#: Function from embeddings ``(c, k, n_train)`` of c label sets to projected test rows
#: ``(b, c, k, n_test)``, up to a shift, and to a bool tensor that broadcasts to ``(b, c)`` and is
#: true where they are undetermined.
PermutedProjections = Callable[[Tensor], tuple[Tensor, Tensor]]


class FoldSolver(ABC):
    """A way to fit maps. Subclasses are frozen dataclasses of their own arguments.

    Attributes
    ----------
    name
        Its name for ``solver=``.
    penalised
        Whether it fits one map for each ridge penalty; other solvers ignore ``alpha``.
    reads_rows
        Whether it reads the centred states often, so that they are written to memory. Otherwise a
        few passes over the raw states suffice.
    scales
        Whether features are z-scored on the training rows, whatever ``standardize`` is.
    fits_distances
        Whether manifolds with undefined distances are allowed; maps are then fitted to the
        distances.
    refits
        Whether every other set of labels needs another fit.
    """

    name: ClassVar[str]
    penalised: ClassVar[bool] = False
    reads_rows: ClassVar[bool] = True
    scales: ClassVar[bool] = False
    fits_distances: ClassVar[bool] = True
    refits: ClassVar[bool] = True

    @classmethod
    def asked(cls, alphas: tuple[float, ...], dtype: torch.dtype) -> Self:
        """The solver for these arguments of a public function, else with defaults."""
        return cls()

    @property
    def matrix_dtype(self) -> torch.dtype | None:
        """Dtype of the scatter or Gram matrix that it needs, or None."""
        return None

    def width(self, k: int) -> int:
        """Components of the projection for an embedding of k columns."""
        return k

    @property
    def least_features(self) -> int:
        """Minimum number of features of the states."""
        return 1

    def bytes_per_site(self, size: FoldSize) -> int:
        """Bytes that it allocates per site, in addition to the fold's training rows and matrix."""
        return 0

    def bytes_of_permutations(self, size: FoldSize, trials: int) -> tuple[int, int]:
        """Bytes that :meth:`permuted` allocates per site, and per label set and site.

        ``trials`` is the number of label sets on which the solver judges its precision.
        """
        return 8 * size.n_train * size.d, 0

    @abstractmethod
    def fit(self, fold: FoldView, labels: Labels) -> tuple[Tensor, Tensor]:
        """One map per site, for one embedding, with the first penalty if there are several.

        Returns
        -------
        Wt : Tensor
            ``(b, d, k)``, applies to rows as :meth:`FoldView.train` gives them.
        undetermined : Tensor
            ``(b,)`` bool, true where the map is not unique.
        """

    def projections(
        self, fold: FoldView, labels: Labels, columns: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Projected test rows for several embeddings side by side.

        Parameters
        ----------
        fold, labels
            The fold, and the embeddings of its training labels.
        columns
            The columns of each embedding among the K columns.

        Yields
        ------
        Z : Tensor
            ``(b, n_test, Σ width)``, up to a shift; yielded once for each penalty, or only once.
        undetermined : Tensor
            ``(len(columns), b)`` bool.
        """
        fits = [self.fit(fold, labels.part(span)) for span in columns]
        Wt = torch.cat([Wt for Wt, _ in fits], dim=-1)
        yield fold.project(Wt), torch.stack([undetermined for _, undetermined in fits])

    def permuted(self, fold: FoldView, trials: Tensor, count: int) -> PermutedProjections:
        """A function from other embeddings of a fold's training labels to projections.

        Parameters
        ----------
        fold
            The fold.
        trials
            ``(t, k, n_train)`` embeddings on which a solver judges its precision.
        count
            Number of label sets to which the function will be applied.
        """
        train = fold.train()

        def refitted(Y: Tensor) -> tuple[Tensor, Tensor]:
            found = []
            for y in Y:
                Wt, undetermined = self.fit(fold, Labels(y.mT, partial(multiply, train.mT, y.mT)))
                found.append((fold.project(Wt).mT, undetermined))
            return (
                torch.stack([Z for Z, _ in found], dim=1),
                torch.stack([undetermined for _, undetermined in found], dim=1),
            )

        return refitted
