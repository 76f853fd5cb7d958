"""The scikit-learn faces of SMDS, for one site."""
