"""Who may use a route or a method at all: the words of the authorization matrices."""

from enum import Enum, auto


class Who(Enum):
    """Who may use a route or a method at all."""

    ANYBODY = auto()
    SIGNED_IN = auto()
    # A deployment is its author's, to see and to delete for ever, to change while an operator.
    AUTHOR = auto()
    OPERATING_AUTHOR = auto()
    MEMBERS = auto()
    OPERATORS = auto()
    OWNERS = auto()
    ADMINISTRATORS = auto()
