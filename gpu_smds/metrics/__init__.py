"""From projections and ideal distances to scores; independent of solvers and folds."""
