"""Signed notes and the checkpoints in them."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fogbank.transparency.note import Checkpoint, NoteError, Signer, VerifierKey, opened, read, sign

# The note that the format's reference implementation documents itself with.
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NOTE = (
    f"{TEXT}\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)
CHECKPOINT = Checkpoint("fogbank/default/1", 3_600, bytes(range(32)))


def signer(name: str, seed: int) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


OLD, NEW, OTHER = signer("ledger", 1), signer("ledger", 2), signer("other", 3)


def test_a_note_that_others_signed_is_read() -> None:
    key = VerifierKey.parse(f"{KEY}\n")
    assert key.text == KEY
    assert opened(NOTE, [key]) == TEXT
    with pytest.raises(NoteError, match="does not fit the text"):
        opened(NOTE.replace("cryptography", "Cryptography"), [key])


def test_a_checkpoint_comes_back_for_any_key_that_signed_it() -> None:
    note = sign(CHECKPOINT, [OLD, NEW])
    assert note.startswith(
        "fogbank/default/1\n3600\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n"
    )
    for keys in ([OLD], [NEW], [NEW, OTHER]):
        assert read(note, [each.verifier for each in keys]) == CHECKPOINT
    with pytest.raises(NoteError, match="none of the 1 keys given"):
        read(note, [OTHER.verifier])


@pytest.mark.parametrize(
    ("before", "after"), [("3600", "3601"), ("default", "defaulT"), ("AAEC", "AAED")]
)
def test_a_changed_checkpoint_is_refused(before: str, after: str) -> None:
    note = sign(CHECKPOINT, [NEW])
    assert before in note
    with pytest.raises(NoteError, match="does not fit the text"):
        read(note.replace(before, after, 1), [NEW.verifier])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("origin\n12\n", "origin, size and root"),
        ("origin\ntwelve\nAAAA\n", "'twelve' is not the size"),
        ("origin\n12\nAAAA\n", "a root has 32 bytes, not 3"),
        ("origin\n12\n?\n", "a root has 32 bytes, not 0"),
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str, problem: str) -> None:
    with pytest.raises(NoteError, match=problem):
        read(f"{text}\n{NEW.signature_line(text)}", [NEW.verifier])


@pytest.mark.parametrize("note", ["", "word", "a\n\nb", "\n\n", f"{TEXT}\n\u2014 ledger ????\n"])
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteError, match="none of the 1 keys given"):
        opened(note, [NEW.verifier])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not the line of an Ed25519"),
        ("name+00000000", "not the line of an Ed25519"),
        (KEY.replace("ARpc", "Arpc"), "not the line of an Ed25519"),
        (KEY.replace("c74f20a3", "c74f20a4"), "should be c74f20a3"),
    ],
)
def test_what_is_no_key_is_refused(text: str, problem: str) -> None:
    with pytest.raises(NoteError, match=problem):
        VerifierKey.parse(text)
