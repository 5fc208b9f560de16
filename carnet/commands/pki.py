"""``carnet pki``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import rsa

from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from carnet.keys import KeyTrouble
from carnet.node import all_pair_files, is_of_test_authority, names_of
from carnet.wiring import REGISTRY_NODE, REPOSITORY_NODE
from guard.credentials.certificates import TrustError, add_trusted
from guard.credentials.pki import KeyKind, Pki


@click.group("pki")
def command() -> None:
    """The stand-in authorities: what was issued, and revocation."""


@command.command("list")
@DATA
@JSON
def listing(data: Path, as_json: bool) -> None:
    """Every certificate issued to persons, structures and servers.

    \b
    Example:
      carnet pki list --data data
    """
    issued = Pki.open(settings_of(data).pki).issued()
    rows = [(i.serial, i.purpose, i.holder, i.name, i.not_after, i.revoked or "-") for i in issued]
    emit(as_json, [asdict(i) for i in issued], table(rows, ("serial", "purpose", "holder", "name", "until", "revoked")))


@command.command("revoke")
@click.argument("serial")
@DATA
@JSON
def revoke(serial: str, data: Path, as_json: bool) -> None:
    """Revoke one certificate; running services notice within seconds.

    \b
    Example:
      carnet pki revoke 5f3a0c --data data
    """
    try:
        line = Pki.open(settings_of(data).pki).revoke(serial)
    except KeyError as error:
        raise Refused(str(error.args[0])) from error
    emit(as_json, asdict(line), f"revoked {line.serial} ({line.purpose} of {line.holder})")


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
@click.argument("server", type=click.Choice([REGISTRY_NODE, REPOSITORY_NODE]))
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
    """Write fresh revocation lists.

    \b
    Example:
      carnet pki crl --days 30
    """
    pki = Pki.open(settings_of(data).pki)
    pki.write_crls(days=days)
    emit(as_json, {"folder": str(pki.trust), "days": days}, f"lists written to {pki.trust}")
