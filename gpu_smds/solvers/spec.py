"""The table of solvers, and the choice of one by the arguments of a public function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from gpu_smds._arguments import as_alphas, as_dtype, as_flag, check_choice, shown
from gpu_smds.geometry.embedding import Embedding
from gpu_smds.solvers.fold_solver import FoldSolver
from gpu_smds.solvers.partial_least_squares import PartialLeastSquares
from gpu_smds.solvers.procrustes import Procrustes
from gpu_smds.solvers.ridge import Ridge

#: Names that ``solver=`` takes. A new solver needs a file and a row here.
SOLVERS: dict[str, type[FoldSolver]] = {
    "ridge": Ridge,
    "procrustes": Procrustes,
    "pls": PartialLeastSquares,
}

STANDARDIZE = (None, "train", "all")


@dataclass(frozen=True)
class SolverSpec:
    """How maps are fitted.

    Attributes
    ----------
    alphas
        Ridge penalties as given by the caller; solvers without a penalty ignore them.
    orthonormal
        Whether the solver is Procrustes.
    standardize
        None, "train" (z-score fitted on the training rows) or "all" (on all rows).
    kind
        The solver with its own arguments.
    many
        Whether a list of penalties was given, so that the result has an axis for it.
    """

    alphas: tuple[float, ...]
    orthonormal: bool
    standardize: str | None
    kind: FoldSolver
    many: bool = False

    @classmethod
    def of(
        cls,
        alpha: Any,
        orthonormal: Any,
        standardize: Any,
        dtype: Any = None,
        solver: Any = None,
        single: str = "",
    ) -> Self:
        """Check the arguments of a public function.

        ``single`` is the name of the function if it takes only one alpha.

        Raises
        ------
        TypeError, ValueError
            Arguments that are out of range or contradict each other.
        """
        precision = as_dtype(dtype)
        rigid = as_flag(orthonormal, "orthonormal")
        check_choice(standardize, STANDARDIZE, "standardize")
        alphas, is_list = as_alphas(alpha)
        if is_list and single:
            raise ValueError(f"{single} takes one alpha, not lists")
        kind = _kind(solver, rigid, alphas, precision)
        return cls(alphas, isinstance(kind, Procrustes), standardize, kind, is_list)

    @property
    def scaling(self) -> str | None:
        """How features are z-scored: as given, or as the solver requires."""
        return "train" if self.kind.scales else self.standardize

    def check(self, d: int) -> None:
        """Raise ValueError if the solver does not take states of d features."""
        if d < self.kind.least_features:
            raise ValueError(
                f"the solver {self.kind} needs at least {self.kind.least_features} features, and X "
                f"has {d}"
            )

    def refuse_incomplete(self, embedding: Embedding, name: str) -> None:
        """Raise ValueError if distances are undefined and the solver cannot fit to them."""
        if embedding.incomplete is not None and not self.kind.fits_distances:
            raise ValueError(
                f"{name} leaves distances undefined, and the solver {self.kind.name} fits "
                "embeddings only: take another solver or manifold"
            )

    def to_json(self) -> dict[str, Any]:
        """The solver as JSON for a file."""
        own = {} if self.kind.penalised else vars(self.kind)
        return {
            "alpha": self.alphas[0],
            "orthonormal": self.orthonormal,
            "standardize": self.standardize,
            "solver": {"name": self.kind.name, "arguments": own},
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Undo :meth:`to_json`; files of version 0.1.0 do not name the solver.

        Raises
        ------
        KeyError, TypeError, ValueError
            The facts are forged or damaged.
        """
        check_choice(facts["orthonormal"], (True, False), "orthonormal")
        solver: Any = None
        if "solver" in facts:
            name, arguments = facts["solver"]["name"], facts["solver"]["arguments"]
            check_choice(name, list(SOLVERS), "solver")
            solver = SOLVERS[name](**arguments) if arguments else name
        return cls.of(facts["alpha"], facts["orthonormal"], facts["standardize"], None, solver)


def _kind(
    solver: str | FoldSolver | None,
    orthonormal: bool,
    alphas: tuple[float, ...],
    dtype: torch.dtype,
) -> FoldSolver:
    if solver is None:
        solver = "procrustes" if orthonormal else "ridge"
    if isinstance(solver, FoldSolver):
        name = solver.name
        if solver.penalised:
            raise ValueError(f'give solver="{name}" and its penalties as alpha')
    elif isinstance(solver, str) and solver in SOLVERS:
        name = solver
    else:
        listed = ", ".join(repr(known) for known in SOLVERS)
        raise ValueError(f"solver must be one of {listed} or a solver, got {shown(solver)}")
    if orthonormal and name != "procrustes":
        raise ValueError(f'orthonormal=True is the solver "procrustes", but solver is {name!r}')
    return SOLVERS[name].asked(alphas, dtype) if isinstance(solver, str) else solver
