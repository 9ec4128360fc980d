"""Public keys, and the fingerprints that a mark can carry in place of a text."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from ticket_sig.errors import bad_input
from ticket_sig.files import read_bytes

SIZE = 8  # bytes of a fingerprint
_LONGEST = 1 << 16  # bytes of a key
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


def read_public_key(path: Path) -> bytes:
    """The SubjectPublicKeyInfo (DER) of a key in a file: PEM, or a line of OpenSSH.

    Raises:
        InputError: the file is missing, or holds no public key of a known kind.
    """
    data = read_bytes(path, "public key")
    load = load_pem_public_key if data.lstrip().startswith(b"-----") else load_ssh_public_key
    try:
        key = load(data[:_LONGEST])
    except _UNREADABLE:
        found = "a private key" if b"PRIVATE KEY" in data else "something else"
        hint = "a .pub file of ssh-keygen is one; openssl pkey -pubout makes one"
        raise bad_input(path, "public key", "one in PEM or OpenSSH form", found, hint=hint) from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_public_key(der: bytes) -> bool:
    """Whether bytes are a SubjectPublicKeyInfo, in the one form that DER has for it."""
    if len(der) > _LONGEST:
        return False
    try:
        key = load_der_public_key(der)
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der
    except _UNREADABLE:
        return False


def fingerprint(der: bytes) -> bytes:
    """The first 8 bytes of the SHA-256 of a SubjectPublicKeyInfo."""
    return hashlib.sha256(der).digest()[:SIZE]
