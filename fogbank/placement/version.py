"""The engine's number, written into every round."""

ENGINE = 2
