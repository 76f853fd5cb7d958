"""How much a score is worth: permutation tests, intervals, nested choice, comparisons."""
