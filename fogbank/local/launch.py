"""Becomes a child process: dies with its parent, drops root where told to, runs the program.

Started as a program of its own (`python -I -S launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENTS`)
rather than as code between fork and exec, which may deadlock in a process with threads.
It imports nothing of this project, so that it starts within milliseconds.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127


def main(arguments: list[str]) -> int:
    """Turn this process into the program; returns only if that fails."""
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which would clear it.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        return 0  # The parent died before it could have been noticed.
    os.umask(0o077)
    try:
        os.execvp(command[0], command)  # noqa: S606  no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
    return _CANNOT_EXECUTE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
