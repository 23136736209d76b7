"""The engine's number, written into every round."""

ENGINE = 3
