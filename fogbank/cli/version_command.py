"""`fog version`."""

import os


def version() -> None:
    """Print the version of this program, and that of the server if one answers at once."""
    from importlib.metadata import version as version_of

    print(f"fog {version_of('fogbank')}", flush=True)
    from fogbank.cli.session import config_file, local_data_dir

    # Without a server to ask, what it takes to ask one is not loaded.
    if os.environ.get("FOG_ADDR") or config_file().exists() or local_data_dir().state_file.exists():
        from fogbank.cli.server_version import server_version

        if answer := server_version():
            print(answer)
