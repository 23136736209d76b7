"""Free TCP ports, so that no test claims a fixed one."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free on `host` a moment ago.

    Prefer letting the server bind port 0 and tell what it got; this is for programs that must be
    told a number, and somebody else may take it before they do.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
