"""experiments: the study – its four experiments, figures and command line."""
