"""Key pairs for signatures: ECDSA over P-256 with SHA-256 (FIPS 186-5), kept in PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ticket_sig.errors import bad_input
from ticket_sig.files import SECRET, check_new, no_file, whole_file

_SHA256 = ec.ECDSA(hashes.SHA256())
PUBLIC = "0[23][0-9a-f]{64}"  # the form of a public key


@dataclass(frozen=True)
class KeyPair:
    """A private key, and what others check its signatures with."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> KeyPair:
        """A fresh key pair."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, path: Path, passphrase: bytes | None = None) -> KeyPair:
        """Reads a file that `write` wrote.

        Raises:
            InputError: missing, no key of this curve, or another passphrase.
        """
        if not path.is_file():
            hint = "ticket-sig keygen --out FILE makes one"
            raise bad_input(path, "key pair", "a PEM file", no_file(path), hint=hint)
        try:
            private = load_pem_private_key(path.read_bytes(), passphrase)
        except (ValueError, TypeError) as error:
            hint = "a passphrase is given by --passphrase-env NAME"
            raise bad_input(
                path, "key pair", "a PEM file and its passphrase", str(error), hint=hint
            ) from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise bad_input(path, "key pair", "a private key on P-256", "another kind")
        return cls(private)

    def write(self, path: Path, passphrase: bytes | None = None) -> None:
        """Writes a PEM file (PKCS 8) that only its owner may read; InputError where the name is taken."""
        check_new(path, what="key file")
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        with whole_file(path, SECRET) as partial:
            partial.write_bytes(self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    @property
    def public(self) -> str:
        """The public key: its point, compressed, as 66 hexadecimal digits."""
        return self.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint).hex()

    def sign(self, message: bytes) -> str:
        """A signature (DER) as hexadecimal digits."""
        return self.private.sign(message, _SHA256).hex()


def is_signed(public: str, signature: str, message: bytes) -> bool:
    """Whether the owner of a public key signed a message; malformed keys and signatures sign nothing."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), message, _SHA256)
    except (ValueError, InvalidSignature):
        return False
    return True
