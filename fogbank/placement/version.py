"""The engine's number, written into every round."""

ENGINE = 4

# Rounds of these engines come out the same here: engine 4 only lets the state forget, see
# `fogbank.domain.forgetting`.
VERIFIABLE_ENGINES = frozenset({3, ENGINE})
