"""The scikit-learn estimators of SMDS, for one site."""
