"""From a fold and embeddings of its labels to maps, wherever the states come from."""
