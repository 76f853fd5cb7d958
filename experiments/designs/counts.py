"""How many permutations a test takes where none are named."""

#: Of the command ``significance``, and of the light test that ``all`` makes.
THOROUGH, LIGHT = 1000, 200
