"""Free TCP ports, so that no test claims a fixed one."""

import errno
import os
import random
import socket

# Below those that the kernel gives to whoever asks for any: a client's connection must not take the
# port of a server that starts a moment later, or starts again. Below what `fog up` takes, and each
# worker of a run has its own: while a server is down for a test, no other may take its port.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORTS = range(10_000 + _WORKER, 20_000, _WORKERS)
_drawn: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free on `host` a moment ago, another one each time.

    Prefer letting the server bind port 0 and tell what it got; this is for programs that must be
    told a number, and another test's may take it before they do.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _drawn:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        _drawn.add(port)
        return port
    raise AssertionError(f"no port of {_PORTS} is left")
