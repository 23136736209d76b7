"""`fog version`."""


def version() -> None:
    """Print the version of this program."""
    from importlib.metadata import version as version_of

    print(f"fog {version_of('fogbank')}")
