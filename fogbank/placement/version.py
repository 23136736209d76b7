"""The engine's number, written into every round."""

ENGINE = 5

# Rounds of these engines come out the same here.
VERIFIABLE_ENGINES = frozenset({ENGINE})
