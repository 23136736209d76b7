"""What can go wrong while a whole system is started on one machine."""


class LocalError(Exception):
    """The system can't be started or go on; the message says what to do about it."""


class DataDirInUse(LocalError):
    """Another supervisor runs on the same data directory."""


class FleetFileError(LocalError):
    """A fleet file says something that can't be."""


class StartFailed(LocalError):
    """A child did not become ready in time, or ended again and again."""
