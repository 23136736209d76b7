"""`fog scale` and `fog delete`."""

from typing import Annotated

import typer

from fogbank.cli.confirming import Yes, confirm
from fogbank.cli.output import AsTable, Output, OutputFormat, counted, print_data


def scale(  # noqa: PLR0917  one parameter for each flag
    deployment: Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")],
    replicas: Annotated[
        int,
        typer.Argument(
            min=1,
            help="How many there shall be: at least 1 (fog delete stops all), at most 1000 "
            "unless the gateway is set otherwise.",
        ),
    ],
    etag: Annotated[
        str, typer.Option("--etag", help="Only if it is still at this etag (see fog status).")
    ] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until all replicas run.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 120,
    output: Output = AsTable,
) -> None:
    """Change the number of replicas."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id, sequence_of
    from fogbank.cli.views import deployment_row
    from fogbank.cli.waiting import wait_running
    from fogbank.v1 import deployment_service_pb2

    with connect() as connection:
        answer = connection.call(
            connection.deployments.ScaleDeployment,
            deployment_service_pb2.ScaleDeploymentRequest(
                request_id=request_id or str(uuid4()),
                deployment_id=deployment_id(connection, deployment),
                replicas=replicas,
                etag=etag,
            ),
        )
        scaled = answer.deployment
        if wait:
            scaled = wait_running(connection, scaled.id, timeout, sequence_of(scaled.etag))
    if output is OutputFormat.NAME:
        print(scaled.id)
    elif output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(deployment_row(scaled), output)
    else:
        done = "runs" if wait else "will have"
        print(f"{scaled.spec.name} ({scaled.id}) {done} {counted(replicas)}")


def delete(
    deployment: Annotated[str, typer.Argument(help="Its id, or its name if no other has it.")],
    yes: Yes = False,
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a repeat of this command safe.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until its replicas stopped.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 120,
) -> None:
    """Delete a deployment and stop its replicas."""
    from uuid import uuid4

    from fogbank.cli.connection import connect
    from fogbank.cli.lookups import deployment_id, get_deployment
    from fogbank.cli.waiting import wait_gone
    from fogbank.v1 import deployment_service_pb2

    with connect() as connection:
        found = get_deployment(connection, deployment_id(connection, deployment))
        if not yes:
            confirm(
                f"Delete {found.spec.name} ({found.id}) with its {counted(found.spec.replicas)}?"
            )
        connection.call(
            connection.deployments.DeleteDeployment,
            deployment_service_pb2.DeleteDeploymentRequest(
                request_id=request_id or str(uuid4()), deployment_id=found.id
            ),
        )
        if wait:
            wait_gone(connection, found.id, timeout)
    print(f"{found.spec.name} ({found.id}) deleted")
