"""What can be wrong with stored bytes."""


class CodecError(ValueError):
    """The bytes are not what they should be: a reader must stop."""


class UnknownEventError(CodecError):
    """The event's type is not known and its writer did not allow to ignore it: stop."""
