"""What a solver is: from one fold of many sites, and embeddings of its labels, to projections.

A new solver is a subclass of :class:`FoldSolver` with one method, :meth:`FoldSolver.fit`, and a row
in the table of :mod:`gpu_smds.solvers.spec`. The other methods say what they compute in terms of
it; a solver that has a faster way overrides them.
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


class Fold(Protocol):
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

        It was then formed without the centred training rows, and a samples × samples matrix is not
        centred.
        """
        ...

    @property
    def centred(self) -> bool:
        """Whether a samples × samples matrix is centred for certain."""
        ...

    @property
    def cancelled(self) -> Tensor | None:
        """What centring subtracted from the diagonal of the features × features matrix.

        ``(b, d)``, or None where the rows were centred first.
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

    def matrix(self, train: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Scatter ``(b, d, d)`` or Gram matrix ``(b, n_train, n_train)`` of the training rows.

        ``train`` are those rows; they may be None where the fold shares its matrix. It is in a
        workspace and may be overwritten.
        """
        ...

    def test_gram(self, train: Tensor | None) -> Tensor:
        """Products ``(b, n_test, n_train)`` of the test rows with the training rows."""
        ...


class Labels:
    """Embeddings of a fold's training labels, as right-hand sides.

    Parameters
    ----------
    Y
        ``(n_train, K)`` centred embeddings, several side by side.
    products
        Gives XᵀY ``(b, d, K)`` of the training rows; called when first needed.
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
    """How large the folds of a cross-validation are, to tell what a solver allocates.

    Attributes
    ----------
    n, d
        Samples and features.
    n_train, n_test
        Rows of the largest training and test part.
    columns
        Columns K of all embeddings together.
    in_features
        As :attr:`Fold.in_features`.
    """

    n: int
    d: int
    n_train: int
    n_test: int
    columns: int
    in_features: bool


#: Embeddings ``(c, k, n_train)`` of c label sets → projected test rows ``(b, c, k, n_test)``, up to
#: a shift, and which are undetermined, a bool tensor that broadcasts to ``(b, c)``.
Relabelling = Callable[[Tensor], tuple[Tensor, Tensor]]


class FoldSolver(ABC):
    """A way to fit maps. Subclasses are frozen dataclasses of the arguments that are their own.

    Attributes
    ----------
    name
        What ``solver=`` calls it.
    penalised
        Whether it fits one map for each ridge penalty; the others ignore ``alpha``.
    reads_rows
        Whether it reads the centred states often, so that they are written to memory. Otherwise
        a few passes over the raw states are all it takes.
    scales
        Whether features are z-scored on the training rows, whatever ``standardize`` says.
    fits_distances
        Whether a manifold with undefined distances may be fitted to those distances instead.
    refits
        Whether another set of labels costs another fit.
    """

    name: ClassVar[str]
    penalised: ClassVar[bool] = False
    reads_rows: ClassVar[bool] = True
    scales: ClassVar[bool] = False
    fits_distances: ClassVar[bool] = True
    refits: ClassVar[bool] = True

    @classmethod
    def asked(cls, alphas: tuple[float, ...], dtype: torch.dtype) -> Self:
        """The solver with its default arguments, for the flat arguments of a public function."""
        return cls()

    @property
    def gram(self) -> torch.dtype | None:
        """Dtype of the scatter or Gram matrix that it needs, or None."""
        return None

    def width(self, k: int) -> int:
        """Components of the projection for an embedding of k columns."""
        return k

    @property
    def least_features(self) -> int:
        """Features that the states must have at least."""
        return 1

    def bytes_per_site(self, size: FoldSize) -> int:
        """What it allocates per site beside the training rows and the matrix of the fold."""
        return 0

    def bytes_of_relabelling(self, size: FoldSize, trials: int) -> tuple[int, int]:
        """What :meth:`relabelled` allocates per site, and again for each label set and site.

        ``trials`` is the number of label sets that it is given to judge its precision by.
        """
        return 8 * size.n_train * size.d, 0

    @abstractmethod
    def fit(self, fold: Fold, labels: Labels) -> tuple[Tensor, Tensor]:
        """One map per site, for one embedding, with the first penalty where there are several.

        Returns
        -------
        Wt : Tensor
            ``(b, d, k)``, applies to rows as :meth:`Fold.train` gives them.
        undetermined : Tensor
            ``(b,)`` bool, where it is one of many.
        """

    def projections(
        self, fold: Fold, labels: Labels, columns: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Projected test rows for several embeddings side by side.

        Parameters
        ----------
        fold, labels
            The fold, and the embeddings of its training labels.
        columns
            Where each embedding stands among the K columns.

        Yields
        ------
        Z : Tensor
            ``(b, n_test, Σ width)``, up to a shift; one for each penalty, or only one.
        undetermined : Tensor
            ``(len(columns), b)`` bool.
        """
        fits = [self.fit(fold, labels.part(span)) for span in columns]
        Wt = torch.cat([Wt for Wt, _ in fits], dim=-1)
        yield fold.project(Wt), torch.stack([undetermined for _, undetermined in fits])

    def relabelled(self, fold: Fold, trials: Tensor, count: int) -> Relabelling:
        """What turns other embeddings of a fold's training labels into projections.

        Parameters
        ----------
        fold
            The fold.
        trials
            ``(t, k, n_train)`` embeddings on which a solver judges its precision.
        count
            Number of label sets that it will be used for.
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
