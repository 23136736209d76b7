"""`fog certificate`: a certificate for a service, signed by the fleet's own authority."""

from pathlib import Path
from typing import Annotated

import typer

from fogbank.cli.failures import CommandError

_DAY_S = 24 * 3600

Service = Annotated[str, typer.Argument(help="Which: gateway, scheduler or ledger.")]
Folder = Annotated[
    Path, typer.Option("--ca-dir", envvar="FOG_CA_DIR", help="The authority; made if missing.")
]
Hosts = Annotated[
    list[str], typer.Option("--host", help="Name or address it is called by; repeat for more.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for SERVICE.crt and SERVICE.key.")]
Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="How long it is good.")]
Fleet = Annotated[str, typer.Option("--fleet", envvar="FOG_FLEET", help="Name of the fleet.")]


def certificate(  # noqa: PLR0917  one parameter for each flag
    service: Service,
    ca_dir: Folder,
    host: Hosts = [],  # noqa: B006  typer reads it only
    out: Out = Path(),
    days: Days = 365,
    fleet: Fleet = "default",
) -> None:
    """Make a key and a certificate for a service; where the authority is, nobody is asked.

    Give it to the service as FOG_TLS_CERT and FOG_TLS_KEY, and ca.crt as FOG_TLS_CA.
    """
    import time

    from fogbank.runtime.certificate_ends import GATEWAY_NAME
    from fogbank.runtime.certificates import Authority
    from fogbank.runtime.operator_error import OperatorError
    from fogbank.runtime.private_files import write_private

    try:
        authority = Authority.of_folder(ca_dir, fleet)
        hosts = [*host] or ["localhost", "127.0.0.1"]
        if service == "gateway":
            hosts.append(GATEWAY_NAME)
        key, chain = authority.issue(service, hosts, days * _DAY_S, time.time())
        out.mkdir(parents=True, exist_ok=True)
        write_private(out / f"{service}.key", key)
        write_private(out / f"{service}.crt", chain)
    except OperatorError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot write to {out}: {error.strerror}") from error
    print(
        f"{out / f'{service}.crt'} for {', '.join(hosts)}, {days} days; trust {ca_dir / 'ca.crt'}"
    )
