"""Make a key pair for signatures: transcripts and audit records are signed with it.

The file holds the private key; only its owner may read it. Give others the public key, which is printed: they
check signatures with it. With a passphrase in an environment variable, the file is encrypted.

Example: ticket-sig keygen --out owner.key
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ticket_sig.cli import options
from ticket_sig.cli.output import JsonFlag, out, print_json


def run(
    path: Annotated[Path, typer.Option("--out", help="File to write, mode 0600.")],
    passphrase_env: options.PassphraseEnv = None,
    as_json: JsonFlag = False,
) -> None:
    """Runs the verb."""
    from ticket_sig.key_pair import KeyPair

    pair = KeyPair.make()
    pair.write(path, options.secret_of(passphrase_env, "--passphrase-env"))
    if as_json:
        print_json({"key": path, "public": pair.public})
        return
    out.print(f"key: {path}; keep it")
    out.print(f"public key: {pair.public}")
