"""``carnet token``"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click
from cryptography.hazmat.primitives import hashes
from lxml import etree

from carnet import node, token_service
from carnet import settings as settings_module
from carnet.commands.query import call
from carnet.console import (
    CARD_HELP,
    CARD_PLACE,
    DATA,
    JSON,
    PIN_FILE,
    PURPOSE,
    REASON,
    Misuse,
    Place,
    Refused,
    emit,
    open_card,
    reason_given,
    settings_of,
)
from conformance.token_client import TokenClient
from guard.credentials import distinguished_name, vihf
from guard.credentials.cards import CardError
from guard.credentials.token import hardened_parser

FILE = click.argument("assertion", type=click.File("rb"))


def _asks(target: Callable[..., Any]) -> Callable[..., Any]:
    """Options of a verb that asks the token service; they come back together, for ``_client``."""
    for option in (
        DATA,
        click.option(
            "--ca", type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="PEM file of the authorities to trust.",
        ),
        click.option("--tokens-url", "url", default="", help="Base address of the token service; default: of --data."),
        PIN_FILE,
        click.option(
            "--card", "card_file", type=CARD_PLACE, required=True, envvar="CARNET_CARD",
            help=f"{CARD_HELP} It connects.",
        ),
    ):  # fmt: skip
        target = option(target)
    return target


@click.group("token")
def command() -> None:
    """Assertions from a token service, for software that cannot sign."""


@command.command("issue")
@_asks
@click.option("--login", type=click.File("r"), help="File with an ID token of the person; -: standard input. Needs "
              "the card of a structure.")  # fmt: skip
@click.option("--access-token", type=click.File("r"), help="File with the access token that came with it.")
@click.option("--patient", default="", help="CX of the patient the assertion names.")
@click.option("--structure", "structure_id", default="", envvar="CARNET_STRUCTURE", help="Struct_IdNat (VIHF).")
@click.option("--sector", default="", help="Sector of activity, code^OID; by card default SA01.")
@click.option("--role", default="", help="Role, code^^OID: for a card without a profession, or to choose an activity.")
@click.option("--purpose", default="", help=PURPOSE)
@REASON
@click.option("--applies-to", default="", help="Audience, where the domain has several.")
@JSON
def issue(
    login: IO[str] | None, access_token: IO[str] | None, patient: str, structure_id: str, sector: str, role: str,
    purpose: str, applies_to: str, as_json: bool, **service: Any,
) -> None:
    """Print a signed assertion for the holder of a card, or for whom a structure sends the login of.

    \b
    Examples:
      carnet token issue --card anne.p12 --structure 10B0000001 --patient "279...^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet token issue --card structure.p12 --login id-token.txt > anne.xml
    """
    by_card = login is None
    claims = {
        vihf.STRUCTURE: structure_id,
        vihf.SECTOR: sector or (f"SA01^{vihf.SECTORS}" if by_card else ""),
        vihf.ROLE: role,
        vihf.RESOURCE_ID: patient,
        vihf.PURPOSE: purpose,
        vihf.PURPOSE_REASON: reason_given(),
    }
    client = _client(**service)
    signed: bytes = call(
        lambda: client.issue(
            {name: value for name, value in claims.items() if value},
            id_token="" if login is None else login.read().strip(),
            access_token="" if access_token is None else access_token.read().strip(),
            applies_to=applies_to,
        )
    )
    made = signed.decode()
    emit(as_json, {"assertion": made, "id": _assertion(signed).get("ID", "")}, made)


@command.command("validate")
@FILE
@_asks
@JSON
def validate(assertion: IO[bytes], as_json: bool, **service: Any) -> None:
    """Would the services of the domain believe this ASSERTION (a file, or -) now? Status 1 when not.

    \b
    Example:
      carnet token validate anne.xml --card anne.p12
    """
    given = etree.tostring(_assertion(assertion.read()))
    client = _client(**service)
    found = call(lambda: client.validate(given))
    emit(as_json, {"valid": found.is_valid, "reason": found.reason}, "valid" if found.is_valid else found.reason)
    sys.exit(0 if found.is_valid else 1)


@command.command("cancel")
@FILE
@_asks
@JSON
def cancel(assertion: IO[bytes], as_json: bool, **service: Any) -> None:
    """Take an ASSERTION (a file, or -) back that was issued to this card; services refuse it at once.

    \b
    Example:
      carnet token cancel anne.xml --card anne.p12
    """
    token_id = str(_assertion(assertion.read()).get("ID", ""))
    client = _client(**service)
    call(lambda: client.cancel(token_id))
    emit(as_json, {"cancelled": token_id}, f"cancelled {token_id}")


@command.command("signer")
@DATA
@JSON
def signer(data: Path, as_json: bool) -> None:
    """The certificate our token service signs with, and the setting by which services believe it.

    \b
    Example:
      carnet token signer
    """
    settings = settings_of(data)
    try:
        certificate = token_service.signer_of(settings).certificate
    except (OSError, ValueError) as error:
        raise Misuse(str(error)) from error
    sha256 = certificate.fingerprint(hashes.SHA256()).hex()
    facts = {
        "subject": distinguished_name.write(certificate.subject),
        "sha256": sha256,
        "until": certificate.not_valid_after_utc.isoformat(),
        "is_listed": sha256 in settings.credentials.token_services,
        "file": str(node.signer_files(settings).certificate),
    }
    told = [f"{k}: {v}" for k, v in facts.items()]
    told += ["", f"for {settings_module.FILE_NAME} of the services that are to believe it:", "[credentials]"]
    told.append(f'token_services = ["{sha256}"]')
    emit(as_json, facts, "\n".join(told))


def _client(card_file: Place, pin_file: Path | None, url: str, ca: Path | None, data: Path) -> TokenClient:
    card = open_card(card_file, pin_file)
    if not (url and ca):
        settings = settings_of(data)
        url, ca = url or settings.tokens_url, ca or settings.pki / "trust" / "ca.pem"
    try:
        return TokenClient.at(url, card.tls_context(ca))
    except CardError as error:
        raise Refused(str(error)) from error


def _assertion(data: bytes) -> etree._Element:
    try:
        return etree.fromstring(data, hardened_parser())
    except etree.XMLSyntaxError as error:
        raise Misuse("the file holds no assertion") from error
