"""``carnet pki``"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from cryptography.hazmat.primitives.asymmetric import rsa

from carnet import holders, pki_door
from carnet.console import DATA, JSON, Misuse, Refused, emit, pki_of, settings_of, table
from carnet.gate import REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE
from carnet.keys import KeyTrouble
from carnet.node import all_pair_files, is_of_test_authority, names_of
from guard.credentials.certificate_requests import RequestRefused, requested_keys
from guard.credentials.certificates import TrustError, add_trusted
from guard.credentials.pki import Issued, KeyKind, Pki
from guard.credentials.profiles import Holder
from guard.credentials.revocation import Reason

DEFAULT_PORT = 8880


@click.group("pki")
def command() -> None:
    """The stand-in authorities: what was issued, signing, revocation, lists and OCSP."""


@command.command("list")
@click.option("--card", default="", help="Of this card only.")
@click.option("--holder", default="", help="Of this holder only: PS_IdNat, Struct_IdNat or server name.")
@click.option("--state", type=click.Choice(["all", "good", "revoked", "ended"]), default="all", show_default=True)
@DATA
@JSON
def listing(card: str, holder: str, state: str, data: Path, as_json: bool) -> None:
    """Every certificate issued to persons, structures and servers.

    \b
    Examples:
      carnet pki list --data data
      carnet pki list --holder 899700000018 --state good
    """
    pki = pki_of(data)
    issued = [
        line for line in pki.issued()
        if (not card or line.card == card) and (not holder or line.holder == holder) and state in ("all", _state(line))
    ]  # fmt: skip
    rows = [
        (i.serial, i.card or "-", i.purpose, i.holder, i.name, i.not_after, i.revoked or "-", i.reason or "-")
        for i in issued
    ]
    head = ("serial", "card", "purpose", "holder", "name", "until", "revoked", "reason")
    told = [{**asdict(i), "state": _state(i), "products": pki.products.value} for i in issued]
    emit(as_json, told, table(rows, head))


def _state(line: Issued) -> str:
    if line.revoked:
        return "revoked"
    return "good" if datetime.fromisoformat(line.not_after) > datetime.now(UTC) else "ended"


@command.command("revoke")
@click.argument("serial", required=False, default="")
@click.option("--card", default="", help="Every certificate of this card.")
@click.option("--holder", default="", help="Every certificate of this holder.")
@holders.reason_option(Reason.UNSPECIFIED)
@DATA
@JSON
def revoke(serial: str, card: str, holder: str, reason: str, data: Path, as_json: bool) -> None:
    """Revoke one certificate, a card, or all a holder has; for good. Running services notice within seconds.

    \b
    Examples:
      carnet pki revoke 5f3a0c --reason superseded
      carnet pki revoke --card 8025000001/0123456789 --reason keyCompromise
      carnet pki revoke --holder 899700000018 --reason cessationOfOperation
    """
    if sum(map(bool, (serial, card, holder))) != 1:
        raise Misuse("name one thing to revoke: a SERIAL, --card or --holder")
    wanted = serial.lower().lstrip("0")
    found = pki_of(data).revoke_all(
        lambda line: wanted == line.serial if serial else card == line.card if card else holder == line.holder,
        reason=Reason(reason),
    )
    if not found:
        raise Refused(f"no certificate of {serial or card or holder} was issued here")
    lines = [f"revoked {line.serial} ({line.purpose} of {line.holder})" for line in found]
    emit(as_json, asdict(found[0]) if serial else [asdict(line) for line in found], "\n".join(lines))


@command.group("sign")
def sign() -> None:
    """Certificates for keys made elsewhere: a request file of `carnet card request` in, certificates out.

    The request must prove that its maker holds the keys. Who the holder is, is said here and never read from it.
    """


def _request_options(target: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        JSON,
        DATA,
        click.option("--out", type=click.Path(path_type=Path), required=True, help="File for the certificates (PEM)."),
        click.option(
            "--request", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
            help="Request file (PEM).",
        ),
    ):  # fmt: skip
        target = option(target)
    return target


def _sign(pki: Pki, holder: Callable[[], Holder], request: Path, out: Path, as_json: bool) -> None:
    """What could stop it is looked at before anything is issued or revoked."""
    if out.exists():
        raise Refused(f"{out} already exists")
    if not out.absolute().parent.is_dir():
        raise Misuse(f"there is no folder {out.absolute().parent}")
    try:
        text = request.read_bytes()
        requested_keys(text)
        whom = holder()
        made = pki.certify(whom, text)
    except RequestRefused as error:
        raise Refused(f"{request}: {error}") from error
    except ValueError as error:
        raise Misuse(f"the certificates cannot be made: {error}") from error
    out.write_bytes(made.pem())
    facts = {"certificates": str(out), "card": whom.card, "holder": whom.identifier}
    emit(as_json, facts, f"{out}: certificates of {whom.name or whom.identifier}, card {whom.card}")


@sign.command("person")
@holders.person_options
@_request_options
def sign_person(request: Path, out: Path, data: Path, as_json: bool, **who: Any) -> None:
    """Certificates of a professional. IDENTIFIER is PS_IdNat: 8 and the 11 digits of the RPPS.

    \b
    Example:
      carnet pki sign person 899700000018 --surname ESSAI --given Anne --request anne.csr --out anne.pem
    """
    pki = pki_of(data)
    _sign(pki, lambda: holders.person(pki, **who), request, out, as_json)


@sign.command("structure")
@holders.structure_options
@_request_options
def sign_structure(request: Path, out: Path, data: Path, as_json: bool, **who: Any) -> None:
    """Certificates of a structure. STRUCTURE_ID is Struct_IdNat: 1 and the FINESS, 3 and the SIRET, ...

    \b
    Example:
      carnet pki sign structure 10B0000001 --organisation "Laboratoire ESSAI" --request lab.csr --out lab.pem
    """
    pki = pki_of(data)
    _sign(pki, lambda: holders.structure(pki, **who), request, out, as_json)


@sign.command("renewal")
@click.argument("card")
@_request_options
def sign_renewal(card: str, request: Path, out: Path, data: Path, as_json: bool) -> None:
    """New certificates for new keys of the same card; the old ones stay until they end.

    \b
    Example:
      carnet pki sign renewal 8025000001/0123456789 --request anne2.csr --out anne2.pem
    """
    pki = pki_of(data)
    _sign(pki, lambda: holders.renewed(pki, card), request, out, as_json)


@sign.command("replacement")
@click.argument("card")
@holders.reason_option(holders.LOST)
@_request_options
def sign_replacement(card: str, reason: str, request: Path, out: Path, data: Path, as_json: bool) -> None:
    """Certificates for another card of the same holder; those of the lost CARD are revoked first.

    \b
    Example:
      carnet pki sign replacement 8025000001/0123456789 --request anne3.csr --out anne3.pem
    """
    pki = pki_of(data)
    _sign(pki, lambda: holders.replaced(pki, card, reason), request, out, as_json)


@command.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, help="Port; default: that of the address the PKI was made with, or 8880.")
@DATA
def serve(host: str, port: int | None, data: Path) -> None:
    """Answer OCSP and give out revocation lists over HTTP, until interrupted.

    \b
    Example:
      carnet pki serve --port 8880
    """
    address, stop = begin(pki_of(data), host, port)
    click.echo(address)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        stop()


def begin(pki: Pki, host: str = "127.0.0.1", port: int | None = None) -> tuple[str, Callable[[], None]]:
    """Listen; returns what to tell a person and how to stop. Raises Misuse."""
    if port is None:
        port = urlsplit(pki.base_url).port or (80 if pki.base_url else DEFAULT_PORT)
    try:
        chosen, stop = pki_door.listen(pki, host, port)
    except OSError as error:
        raise Misuse(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    base = f"http://{f'[{host}]' if ':' in host else host}:{chosen}{urlsplit(pki.base_url).path}"
    return f"OCSP {base}/ocsp   lists {base}/crl/persons.crl, {base}/crl/persons.delta.crl   ({pki.products})", stop


@command.command("trust")
@click.argument("certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--as",
    "duty",
    type=click.Choice(["sts", "organisations", "persons", "root"]),
    default="sts",
    show_default=True,
    help="sts: this one certificate may sign assertions (plain XUA). organisations, persons: an authority whose "
    "certificates may connect and sign. root: an authority above those.",
)
@DATA
@JSON
def trust(certificate: Path, duty: str, data: Path, as_json: bool) -> None:
    """Trust a certificate (PEM or DER) of somebody else: a test event's token service or authority.

    \b
    Examples:
      carnet pki trust event-sts.pem
      carnet pki trust event-ca.pem --as organisations
    """
    try:
        file = add_trusted(settings_of(data).pki / "trust", certificate.read_bytes(), duty)
    except TrustError as error:
        raise Refused(f"{certificate}: {error}") from error
    emit(as_json, {"file": str(file), "as": duty}, f"trusted: {file}; running services notice within seconds")


@command.command("rotate")
@click.argument("server", type=click.Choice([REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE]))
@DATA
@JSON
def rotate(server: str, data: Path, as_json: bool) -> None:
    """New keys and certificates for a server, under the same names; running services use them within seconds.

    They are what it serves with, connects with, and signs the checkpoints of its log with. Connections that are open go
    on. The former certificates stay valid until they end or are revoked (`carnet pki revoke`). Certificates of another
    authority are not touched: ask that authority for new ones and put them in place, see docs/operate.md.

    \b
    Example:
      carnet pki rotate registry --data data
    """
    settings = settings_of(data)
    try:
        kinds = {files: files.read() for files in all_pair_files(settings, server)}
    except KeyTrouble as error:
        raise Refused(str(error)) from error
    for files, pair in kinds.items():
        if not is_of_test_authority(settings, pair.certificate):
            raise Refused(f"{files.certificate} was not issued by the test authorities of this installation")
    pki, made = Pki.open(settings.pki), []
    for pair in kinds.values():
        kind = KeyKind.RSA if isinstance(pair.key, rsa.RSAPrivateKey) else KeyKind.EC
        done = pki.issue_server(server, names_of(pair.certificate), key=kind, replace_old=True)
        made.append({
            "certificate": str(done.certificate_file), "serial": f"{done.certificate.serial_number:x}",
            "former": f"{pair.certificate.serial_number:x}", "until": done.certificate.not_valid_after_utc.isoformat(),
        })
    told = [f"{one['certificate']}: {one['serial']} in place of {one['former']}, until {one['until']}" for one in made]
    emit(as_json, {"server": server, "pairs": made}, "\n".join(told))


@command.command("crl")
@DATA
@click.option("--days", default=365, show_default=True, help="Validity of the new lists, in days.")
@JSON
def crl(data: Path, days: int, as_json: bool) -> None:
    """Write fresh full revocation lists; delta lists begin anew from them.

    \b
    Example:
      carnet pki crl --days 30
    """
    pki = pki_of(data)
    pki.write_crls(days=days)
    emit(as_json, {"folder": str(pki.trust), "days": days}, f"lists written to {pki.trust}")
