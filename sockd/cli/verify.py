"""`sockd verify`: check a file against the receipt that a server has signed.

A receipt is a JSON object. Its member `signature` is the Ed25519 signature (RFC 8032), in base64, of the
object without it, in the canonical form of RFC 8785: sorted keys, no spaces, UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sockd.reading import Unreadable, read_bytes
from sockd.text import describe_os_error, printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_MOST = 1 << 16  # bytes of a receipt or a key
_PIECE = 1 << 20  # bytes to hash at once


class _WrongError(Exception):
    """Error of a receipt or file that is not what it should be. The text is the reason, in one line."""


@click.command()
@click.argument("receipt", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    help="Public key of the server, as `sockd files key` prints it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(receipt: Path, file: Path, key_file: Path | None, as_json: bool) -> None:
    """Check that FILE is what the server of RECEIPT has stored, and that the receipt is the server's.

    Without --key the receipt's own key is taken: it shows who has signed only if you compare its
    fingerprint with the server's.

    Exit code 0: both are right. 1: one of them is not. 2: wrong command line.
    """
    try:
        told, own = _checked(receipt, file, key_file)
    except _WrongError as error:
        click.echo(
            json.dumps({"error": str(error)}, indent=2) if as_json else f"sockd: {printable(str(error))}",
            err=not as_json,
        )
        raise SystemExit(1) from None
    result = {name: told[name] for name in ("name", "size", "time", "service")}
    result |= {"key": fingerprint(_raw(own)), "trusted": key_file is not None}
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    name = printable(str(told["name"]))
    click.echo(
        f"{file}: stored as {name} by {printable(str(told['service']))} at {printable(str(told['time']))}"
    )
    if key_file is None:
        click.echo(f"signed by {result['key']}; --key FILE makes sure that this is the server", err=True)


def _checked(receipt: Path, file: Path, key_file: Path | None) -> tuple[dict[str, Any], Ed25519PublicKey]:
    """Return the content of a receipt and its key, if all of it is right.

    Raises:
        _WrongError: something is not; the text tells what.
    """
    told = _read_receipt(receipt)
    key = _public_key(_content(key_file), key_file) if key_file else None
    own = _own_key(told, receipt)
    if key is not None and _raw(key) != _raw(own):
        raise _WrongError(f"{receipt}: signed by {fingerprint(_raw(own))}, expected {fingerprint(_raw(key))}")
    _check_signature(told, own, receipt)
    _check_file(told, file)
    return told, own


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a public key: of its SHA-256, in base64."""
    return "SHA256:" + b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def canonical(receipt: Mapping[str, Any]) -> bytes:
    """Return the bytes of a receipt that are signed."""
    signed = {name: value for name, value in receipt.items() if name != "signature"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        told, _ = json.JSONDecoder().raw_decode(_content(path).decode().lstrip())
        if isinstance(told, dict) and isinstance(told.get("receipt"), dict):
            told = told["receipt"]  # the answer of an HTTP server, or a line of `sockd send --json`
        if not isinstance(told, dict) or told.get("receipt") != 1:
            raise ValueError
        if not isinstance(told["size"], int) or not isinstance(told["digests"], dict):
            raise ValueError
        if not all(isinstance(told[name], str) for name in ("name", "time", "service", "key", "signature")):
            raise ValueError
    except (ValueError, KeyError, RecursionError):
        raise _WrongError(f"{path}: no receipt of a file receiver") from None
    return told


def _own_key(told: Mapping[str, Any], path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(b64decode(told["key"], validate=True))
    except ValueError:
        raise _WrongError(f"{path}: its key is no Ed25519 key") from None


def _public_key(content: bytes, path: Path) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise _WrongError(f"{path}: no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _WrongError(f"{path}: no Ed25519 key")
    return key


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _check_signature(told: Mapping[str, Any], key: Ed25519PublicKey, path: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(b64decode(told["signature"], validate=True), canonical(told))
    except (InvalidSignature, ValueError, RecursionError):
        raise _WrongError(
            f"{path}: its signature is wrong: it was changed, or signed by another key"
        ) from None


def _check_file(told: Mapping[str, Any], path: Path) -> None:
    """Compare the size and every digest that this machine can compute, which is one at least."""
    size, digests = _digests(path, told["digests"])
    if size != told["size"]:
        raise _WrongError(f"{path}: {size} bytes, but the server has stored {told['size']}")
    if not digests:
        raise _WrongError(f"{path}: cannot compute {', '.join(map(str, told['digests'])) or 'a digest'} here")
    for name, found in digests.items():
        if found != told["digests"][name]:
            raise _WrongError(
                f"{path}: {name}={found}, but the server has stored {printable(str(told['digests'][name]))}"
            )


def _digests(path: Path, names: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    hashes = {name: made for name in names if (made := _hash(name)) is not None}
    size = 0
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                for each in hashes.values():
                    each.update(piece)
    except OSError as error:
        raise _WrongError(f"{path}: {describe_os_error(error)}") from None
    return size, {name: each.hexdigest() for name, each in hashes.items()}


def _hash(name: str) -> Any:
    if name == "sha256":
        return hashlib.sha256()
    if name == "blake3":
        try:
            from blake3 import blake3
        except ImportError:
            return None
        return blake3()
    return None


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, _MOST, pipes=True)
    except Unreadable as error:
        raise _WrongError(f"{path}: {error}") from None
