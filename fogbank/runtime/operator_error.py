"""Errors that only a person can mend."""


class OperatorError(Exception):
    """Somebody must change something outside; the message says what, a trace would only hide it."""
