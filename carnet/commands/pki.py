"""``carnet pki``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from carnet.console import DATA, JSON, Refused, emit, settings_of, table
from guard.credentials.certificates import TrustError, add_trusted
from guard.credentials.pki import Pki


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
    when = "" if duty == "sts" else "; restart the services: TLS reads its authorities at their start"
    emit(as_json, {"file": str(file), "as": duty}, f"trusted: {file}{when}")


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
