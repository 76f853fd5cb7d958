"""Projections and ideal distances to scores. Knows neither solvers nor folds."""
