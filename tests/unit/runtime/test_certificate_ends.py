"""When a certificate ends, read without the library that makes certificates."""

from __future__ import annotations

import base64
import datetime as dt
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fogbank.runtime import certificates
from fogbank.runtime.certificate_ends import PEM_BEGIN, CertificateError, end_of
from fogbank.runtime.certificates import Authority, Certificate, make_key, make_request

PEM_END = "-----END CERTIFICATE-----"
NODE = "7d444840-9dc0-11d1-b245-5ffdce74fad2"


# From 2050 on certificates write years with four digits.
@pytest.mark.parametrize("years", [1, 40])
def test_it_is_what_the_library_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    monkeypatch.setattr(certificates, "_AUTHORITY_LIFE", dt.timedelta(days=50 * 365))
    authority = Authority.of_folder(tmp_path, "default")
    life_s = years * 365 * 24 * 3600
    for pem in (
        authority.sign_node(make_request(make_key(), NODE), NODE, life_s, time.time()),
        authority.issue("gateway", ["localhost", "127.0.0.1"], life_s, time.time())[1],
        authority.certificate_pem,
    ):
        assert end_of(f"a word before\n{pem}") == Certificate.read(pem).ends_at_s


def pem_of(content: bytes) -> str:
    return f"{PEM_BEGIN}\n{base64.b64encode(content).decode()}\n{PEM_END}\n"


def refused(text: str) -> None:
    with pytest.raises(CertificateError, match="no certificate"):
        end_of(text)


@pytest.mark.parametrize("text", ["", "a word", PEM_BEGIN, pem_of(b""), pem_of(b"\x30\x80")])
def test_what_is_none_is_refused(text: str) -> None:
    refused(text)


@given(st.binary())
def test_so_are_bytes_of_any_kind(content: bytes) -> None:
    refused(pem_of(content))


def test_so_is_one_that_was_cut_anywhere_before_its_end_is_told(tmp_path: Path) -> None:
    pem = Authority.of_folder(tmp_path, "default").certificate_pem
    content = base64.b64decode(pem.removeprefix(PEM_BEGIN).partition(PEM_END)[0])
    for length in range(len(content)):
        refused(pem_of(content[:length]))
