"""`fog login`, `fog logout` and `fog register`."""

import sys
from typing import Annotated

import typer

from fogbank.cli.failures import CommandError, UsageFailure

Address = Annotated[
    str | None, typer.Option("--addr", help="HOST:PORT of a gateway; default FOG_ADDR.")
]
User = Annotated[str | None, typer.Option("--user", "-u", help="User name; asked for if missing.")]
Ca = Annotated[
    str,
    typer.Option(
        "--ca", help="File of certificates to trust, or `system`: speaks TLS; default FOG_CA."
    ),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


def login(
    user: User = None, addr: Address = None, ca: Ca = "", password_stdin: PasswordStdin = False
) -> None:
    """Sign in, and remember it for the next commands."""
    import grpc

    from fogbank.cli.connection import open_channel, sign_in
    from fogbank.cli.session import (
        config_file,
        find_address,
        find_ca,
        full_path,
        locked,
        store_tokens,
    )

    address, source = find_address(addr)
    trusted = full_path(find_ca(address, ca))
    name = user or _asked("User")
    password = _password(password_stdin=password_stdin)
    with open_channel(address, source, trusted) as connection:
        try:
            tokens = sign_in(connection, name, password)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
            raise CommandError(
                error.details() or "Not authenticated",
                hint="`fog up` prints the first user's name and password; "
                "`fog register` makes another user",
            ) from error
    with locked(config_file()):
        store_tokens(config_file(), address, name, tokens, trusted)
    print(f"signed in at {address} as {name}; kept in {config_file()}")


def logout() -> None:
    """End the session that `fog login` began, at every gateway, and forget it."""
    from fogbank.cli.session import config_file, locked, stored_session

    with locked(config_file()):
        session = stored_session()
        if session is not None:
            from fogbank.cli.connection import end_session

            # What the server doesn't hear of is kept: it could not be ended later.
            end_session(session)
        config_file().unlink(missing_ok=True)
    print("signed out" if session is not None else "nobody was signed in")


def register(
    user: User = None, addr: Address = None, ca: Ca = "", password_stdin: PasswordStdin = False
) -> None:
    """Make a user."""
    from fogbank.cli.connection import open_channel
    from fogbank.cli.session import find_address, find_ca
    from fogbank.v1 import identity_service_pb2

    address, source = find_address(addr)
    name = user or _asked("User")
    password = _password(password_stdin=password_stdin, again=True)
    with open_channel(address, source, find_ca(address, ca)) as connection:
        answer = connection.call(
            connection.identity.Register,
            identity_service_pb2.RegisterRequest(username=name, password=password),
        )
    print(f"user {answer.username} ({answer.user_id}) made")
    print(f"sign in: fog login --user {answer.username}")


def _asked(what: str) -> str:
    if not sys.stdin.isatty():
        raise UsageFailure(f"nobody is there to ask for: {what.lower()}", hint="give --user NAME")
    answer: str = typer.prompt(what, err=True)
    return answer


def _password(*, password_stdin: bool, again: bool = False) -> str:
    if password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise UsageFailure("nobody is there to ask for a password", hint="give --password-stdin")
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=again, err=True)
    return answer
