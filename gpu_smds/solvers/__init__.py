"""From a fold and embeddings of its labels to maps. Knows not where the states come from."""
