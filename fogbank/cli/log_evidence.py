"""Was the log changed: checked by the ledger, and proofs that are checked without any server."""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fogbank.cli.failures import CommandError, UsageFailure
from fogbank.cli.output import OutputFormat, console, print_data

if TYPE_CHECKING:
    from fogbank.domain.log_evidence import CommitProof, VerifiedPart
    from fogbank.transparency.note import VerifierKey
    from fogbank.v1.audit_service_pb2 import GetLogScrubResponse

Progress = Callable[[int, int], None]

# What a proof's file holds, and what it is called there.
_TEXTS = ("note", "service", "instance", "data")


def verified_log(first: int, last: int, progress: Progress) -> "VerifiedPart":
    """Let the ledger of the server compare the log with all that it knows of it."""
    from fogbank.cli.connection import connect
    from fogbank.codec.log_evidence import verified_from_pb
    from fogbank.domain.log_evidence import VerifiedPart
    from fogbank.v1 import audit_service_pb2 as pb

    part = VerifiedPart(0)
    with connect() as connection:
        request = pb.VerifyLogRequest(from_sequence=first, to_sequence=last)
        for message in connection.audit.VerifyLog(request, metadata=connection.metadata):
            part = verified_from_pb(message)
            progress(part.checked, part.total)
    return part


def print_verified(part: "VerifiedPart", output: OutputFormat) -> None:
    """Print what came of a check."""
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        print_data(
            {
                "clean": not part.problem,
                "checked": part.checked,
                "total": part.total,
                "checkpoints": part.checkpoints,
                "first_bad_sequence": part.bad_sequence or None,
                "problem": part.problem or None,
            },
            output,
        )
    elif output is OutputFormat.NAME:
        if part.problem:
            print(part.bad_sequence)
    else:
        screen = console()
        screen.print(f"{'commits compared:':<22}{part.checked} of {part.total}", highlight=False)
        screen.print(f"{'signed checkpoints:':<22}{part.checkpoints}", highlight=False)
        if part.problem:
            wrong = f"from sequence {part.bad_sequence} on: {part.problem}"
            screen.print(f"{'verdict:':<22}{wrong}", style="red", markup=False)
            _print_what_next()
        else:
            screen.print(f"{'verdict:':<22}nothing was changed", style="green")


def last_scrub() -> "GetLogScrubResponse":
    """Return what the last scrub of the log and its copy came to."""
    from fogbank.cli.connection import connect
    from fogbank.v1 import audit_service_pb2 as pb

    with connect() as connection:
        request = pb.GetLogScrubRequest()
        return connection.audit.GetLogScrub(request, metadata=connection.metadata)


def print_scrub(scrub: "GetLogScrubResponse", output: OutputFormat) -> None:
    """Print what a scrub came to."""
    from fogbank.cli.views import instant

    ended = instant(scrub.ended_at) if scrub.HasField("ended_at") else None
    if output in {OutputFormat.JSON, OutputFormat.YAML}:
        findings = [
            {"sequence": found.sequence, "problem": found.problem} for found in scrub.findings
        ]
        print_data({"ended_at": ended, "commits": scrub.commits, "findings": findings}, output)
    elif output is OutputFormat.NAME:
        for found in scrub.findings:
            print(found.sequence)
    else:
        screen = console()
        screen.print(f"{'last scrub ended:':<22}{ended or 'none yet'}", highlight=False)
        screen.print(f"{'commits compared:':<22}{scrub.commits}", highlight=False)
        for found in scrub.findings:
            screen.print(f"{found.sequence}: {found.problem}", style="red", markup=False)
        if scrub.findings:
            _print_what_next()
        if ended and not scrub.commits:
            screen.print(f"{'verdict:':<22}none: there was no commit to look at", style="yellow")
        elif ended and not scrub.findings:
            screen.print(f"{'verdict:':<22}both stores are sound", style="green")


def _print_what_next() -> None:
    said = "fog audit restore --dry-run says what can be mended; without the flag it mends that"
    console().print(f"{'next:':<22}{said}", highlight=False)


def signed_log(*, fresh: bool) -> tuple[str, list[str]]:
    """Return the checkpoint that was signed last, or a fresh one, and the keys to check it by."""
    from fogbank.cli.connection import connect
    from fogbank.v1 import audit_service_pb2 as pb

    with connect() as connection:
        answer = connection.audit.GetLogCheckpoint(
            pb.GetLogCheckpointRequest(fresh=fresh), metadata=connection.metadata
        )
    return answer.note, list(answer.verifier_keys)


def proof_of(sequence: int) -> dict[str, Any]:
    """Return the proof of a commit as its file holds it."""
    from fogbank.cli.connection import connect
    from fogbank.codec.log_evidence import proof_from_pb
    from fogbank.v1 import audit_service_pb2 as pb

    with connect() as connection:
        request = pb.ProveCommitRequest(sequence=sequence)
        answer = connection.audit.ProveCommit(request, metadata=connection.metadata)
    proof = proof_from_pb(answer)
    return {
        "sequence": proof.sequence,
        "service": proof.service,
        "instance": proof.instance,
        "data": b64encode(proof.data).decode(),
        "path": [b64encode(each).decode() for each in proof.path],
        "note": proof.note,
    }


def read_proof(path: Path) -> "CommitProof":
    """Read a proof's file.

    Raises:
        UsageFailure: it can't be read, or is none.
    """
    from fogbank.domain.log_evidence import CommitProof

    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        note, service, instance, data = (held[name] for name in _TEXTS)
        sequence, steps = held["sequence"], held["path"]
        if not isinstance(sequence, int) or not isinstance(steps, list):
            raise TypeError("sequence must be a number, path a list")
        decoded = tuple(b64decode(step, validate=True) for step in steps)
        return CommitProof(
            str(note),
            sequence,
            str(service),
            str(instance),
            b64decode(data, validate=True),
            decoded,
        )
    except OSError as error:
        raise UsageFailure(f"cannot read {path}: {error.strerror}") from error
    except KeyError as error:
        raise UsageFailure(f"{path} is no proof: it has no {error}") from error
    except (ValueError, TypeError, Base64Error) as error:
        raise UsageFailure(f"{path} is no proof: {error}") from error


def read_key(text: str) -> "list[VerifierKey]":
    """Return the verifier keys that an option names: itself one, or a file of them.

    Raises:
        UsageFailure: it is neither.
    """
    from fogbank.transparency.note import NoteError, VerifierKey

    path = Path(text)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else [text]
        return [VerifierKey.parse(line) for line in lines if line.strip()]
    except (OSError, ValueError, NoteError) as error:
        raise UsageFailure(f"--key: {error}; `fog audit checkpoint --keys` prints them") from error


def check_proof(proof: "CommitProof", keys: "list[VerifierKey]") -> dict[str, Any]:
    """Check a proof offline; return what it proves.

    Raises:
        CommandError: it proves nothing.
    """
    from fogbank.codec import CodecError, decode_commit
    from fogbank.domain.ids import digest
    from fogbank.transparency.note import NoteError, read
    from fogbank.transparency.tree import ProofError, check_inclusion, leaf_hash

    try:
        checkpoint = read(proof.note, keys)
        leaf = leaf_hash(proof.service, proof.instance, digest(proof.data))
        index = proof.sequence - 1
        check_inclusion(leaf, index, checkpoint.size, proof.path, checkpoint.root)
        commit = decode_commit(proof.sequence, proof.service, proof.instance, proof.data)
    except (NoteError, ProofError) as error:
        raise CommandError(f"the proof does not hold: {error}") from error
    except CodecError as error:
        raise CommandError(
            f"the commit is in the log, and this release cannot read it: {error}"
        ) from error
    return {
        "origin": checkpoint.origin,
        "log_size": checkpoint.size,
        "sequence": proof.sequence,
        "writer": f"{proof.service}/{proof.instance}",
        "events": [
            type(envelope.event).__name__ if envelope.event is not None else "unknown"
            for envelope in commit.envelopes
        ],
    }
