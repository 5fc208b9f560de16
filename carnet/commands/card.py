"""``carnet card``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from carnet import holders
from carnet.assertions import Desk
from carnet.console import (
    ACCOUNT,
    CARD_HELP,
    CARD_PLACE,
    CARD_PLACE_TO_BE,
    DATA,
    JSON,
    PIN_FILE,
    PURPOSE,
    REASON,
    SECRET,
    Misuse,
    Place,
    Refused,
    account_given,
    emit,
    is_secret,
    open_card,
    pin_of,
    pki_of,
    reason_given,
    secret,
    settings_of,
)
from carnet.settings import FILE_NAME
from conformance.tester_assertions import SPOILS
from conformance.tester_assertions import issue as issue_assertion
from guard.credentials import cards, certificate_requests, try_counter
from guard.credentials.cards import Card, CardError, signature_path, write_private
from guard.credentials.identity import TEST_PRODUCT
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import Holder

OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="Card file to write (.p12).")
KEY = click.option(
    "--key", type=click.Choice([kind.value for kind in KeyKind]), default=KeyKind.RSA.value, show_default=True
)


@click.group("card")
def command() -> None:
    """Cards of professionals and structures: files under a PIN, and PKCS#11 tokens."""


@command.group("issue")
def issue() -> None:
    """Make a card file and its certificates in one step; the PIN comes from --pin-file, CARNET_PIN or a prompt.

    The PUK that unlocks it is written to a file of its own beside it (.puk): keep the two apart.
    """


def _new_pin(pin_file: Path | None) -> str:
    pin = secret(pin_file, "CARNET_PIN", "PIN of the new card", option="--pin-file", confirm=True)
    if not pin:
        raise Misuse("a card needs a PIN: this one is empty")
    return pin


def puk_path(card: Path) -> Path:
    """``card.p12`` -> ``card.puk``"""
    return card.with_suffix(".puk")


def _writable(out: Path) -> None:
    """Nothing is overwritten. Raises Refused, Misuse."""
    for file in (out, signature_path(out), puk_path(out)):
        if file.exists():
            raise Refused(f"{file} already exists")
    if not out.absolute().parent.is_dir():
        raise Misuse(f"there is no folder {out.absolute().parent}")


def _issue(pki: Pki, holder: Callable[[], Holder], out: Path, pin_file: Path | None, as_json: bool) -> None:
    """Everything that could stop the card is looked at before a certificate is issued that nobody would hold."""
    pin = _new_pin(pin_file)
    _writable(out)
    try:
        whom = holder()
        card = pki.issue(whom)
        card.save(out, pin)
        _write_puk(out)
    except FileExistsError as error:
        raise Refused(str(error)) from error
    except (CardError, ValueError) as error:
        raise Misuse(f"the card cannot be made: {error}") from error
    emit(
        as_json,
        {"card": str(out), "puk_file": str(puk_path(out)), **_facts(card), "number": whom.card},
        f"{out}: card {whom.card} of {whom.name or whom.identifier}; its PUK is in {puk_path(out)}",
    )


def _write_puk(out: Path) -> None:
    write_private(puk_path(out), f"{try_counter.give_puk(out)}\n".encode())


def _facts(card: Card) -> dict[str, Any]:
    who = card.identity
    return {
        "kind": card.kind.value,
        "identifier": who.common_name,
        "name": who.name,
        "profession": who.profession,
        "specialties": sorted(who.specialties),
        "structure": who.unit,
        "organisation": who.organisation,
        "number": who.card_number,
        "products": _products(who.product_category),
        "valid_until": card.authentication.certificate.not_valid_after_utc.isoformat(),
        "can_sign": card.signature_pair is not None,
        "signature_sha256": _signs_as(card),
    }


def _signs_as(card: Card) -> str:
    """SHA-256 of the certificate of signature, as the settings ``portals`` and ``managers`` name it; "" without one."""
    pair = card.signature_pair
    return "" if pair is None else pair.certificate.fingerprint(hashes.SHA256()).hex()


def _products(category: int | None) -> str:
    return "" if category is None else "test" if category & TEST_PRODUCT else "production"


@issue.command("person")
@holders.person_options
@OUT
@PIN_FILE
@DATA
@JSON
def person(out: Path, pin_file: Path | None, data: Path, as_json: bool, **who: Any) -> None:
    """Card of a professional. IDENTIFIER is PS_IdNat: 8 and the 11 digits of the RPPS.

    \b
    Example:
      CARNET_PIN=0000 carnet card issue person 899700000018 --surname ESSAI --given Anne --specialty SM26 --out anne.p12
    """
    pki = pki_of(data)
    _issue(pki, lambda: holders.person(pki, **who), out, pin_file, as_json)


@issue.command("structure")
@holders.structure_options
@OUT
@PIN_FILE
@DATA
@JSON
def structure(out: Path, pin_file: Path | None, data: Path, as_json: bool, **who: Any) -> None:
    """Certificates of a structure. STRUCTURE_ID is Struct_IdNat: 1 and the FINESS, 3 and the SIRET, ...

    \b
    Example:
      CARNET_PIN=0000 carnet card issue structure 10B0000001 --organisation "Laboratoire ESSAI" --out lab.p12
    """
    pki = pki_of(data)
    _issue(pki, lambda: holders.structure(pki, **who), out, pin_file, as_json)


@command.command("renew")
@click.argument("number")
@OUT
@PIN_FILE
@DATA
@JSON
def renew(number: str, out: Path, pin_file: Path | None, data: Path, as_json: bool) -> None:
    """New keys and certificates for the card NUMBER; the old ones stay until they end or are revoked.

    \b
    Example:
      CARNET_PIN=0000 carnet card renew 8025000001/0123456789 --out anne2.p12
    """
    pki = pki_of(data)
    _issue(pki, lambda: holders.renewed(pki, number), out, pin_file, as_json)


@command.command("replace")
@click.argument("number")
@holders.reason_option(holders.LOST)
@OUT
@PIN_FILE
@DATA
@JSON
def replace(number: str, reason: str, out: Path, pin_file: Path | None, data: Path, as_json: bool) -> None:
    """Another card for the holder of a lost one: every certificate of card NUMBER is revoked first.

    \b
    Example:
      CARNET_PIN=0000 carnet card replace 8025000001/0123456789 --out anne3.p12
    """
    pki = pki_of(data)
    _issue(pki, lambda: holders.replaced(pki, number, reason), out, pin_file, as_json)


@command.command("request")
@click.argument("place", type=CARD_PLACE_TO_BE)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Request file to write (PEM).")
@KEY
@click.option("--renew", is_flag=True, help="The token has keys: make further ones beside them.")
@PIN_FILE
@JSON
def request(place: Place, out: Path, key: str, renew: bool, pin_file: Path | None, as_json: bool) -> None:
    """Make the keys of a card where they will live, and ask for certificates. PLACE is a new file or a token.

    The authority signs the request with `carnet pki sign`; `carnet card install` puts its answer on the card.

    \b
    Examples:
      carnet card request anne.p12 --out anne.csr
      carnet card request "pkcs11:token=anne?module-path=/usr/lib/softhsm/libsofthsm2.so" --out anne.csr
    """
    if out.exists():
        raise Refused(f"{out} already exists")
    if isinstance(place, Path):
        _writable(place)
        keys = KeyKind(key).generate(), KeyKind(key).generate()
        cards.save_keys(place, keys, _new_pin(pin_file))
        _write_puk(place)
    else:
        from guard.credentials import token_card  # noqa: PLC0415 - loads a library that files do not need

        keys = token_card.make_keys(place, pin_of(place, pin_file), is_rsa=key == KeyKind.RSA.value, again=renew)
    out.write_bytes(certificate_requests.make(*keys))
    emit(as_json, {"request": str(out), "card": str(place)}, f"{out}: ask for certificates with it; the keys stay")


@command.command("install")
@click.argument("place", type=CARD_PLACE)
@click.argument("certificates", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@PIN_FILE
@JSON
def install(place: Place, certificates: Path, pin_file: Path | None, as_json: bool) -> None:
    """Put the certificates an authority made (PEM) beside the keys of a card.

    \b
    Examples:
      carnet card install anne.p12 anne.pem
      carnet card install "pkcs11:token=anne?module-path=/usr/lib/softhsm/libsofthsm2.so" anne.pem
    """
    try:
        found = x509.load_pem_x509_certificates(certificates.read_bytes())
    except ValueError as error:
        raise Misuse(f"{certificates} holds no certificates (PEM)") from error
    pin = pin_of(place, pin_file)
    if isinstance(place, Path):
        cards.install(place, pin, found)
    else:
        from guard.credentials import token_card  # noqa: PLC0415 - loads a library that files do not need

        token_card.install(place, pin, found)
    emit(as_json, {"card": str(place)}, f"{place}: the card is ready")


@command.command("unblock")
@click.argument("place", type=CARD_PLACE)
@click.option(
    "--puk-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File whose first line is the PUK."
)
@JSON
def unblock(place: Place, puk_file: Path | None, as_json: bool) -> None:
    """Give a card its three tries back; the PUK comes from --puk-file, CARNET_PUK or a prompt. The PIN stays.

    The PUK of a token is its SO PIN. A token that counts wrong PINs itself is unlocked with its maker's tool.

    \b
    Examples:
      carnet card unblock anne.p12 --puk-file anne.puk
      carnet card unblock "pkcs11:token=luc?module-path=/usr/lib/softhsm/libsofthsm2.so" --puk-file luc.so-pin
    """
    named = place.name if isinstance(place, Path) else place
    puk = secret(puk_file, "CARNET_PUK", f"PUK of {named}", option="--puk-file")
    if isinstance(place, Path):
        try_counter.unblock(place, puk)
    else:
        from guard.credentials import token_card  # noqa: PLC0415 - loads a library that files do not need

        token_card.unblock(place, puk)
    emit(as_json, {"card": str(place), "tries": try_counter.TRIES}, f"{place}: {try_counter.TRIES} tries again")


@command.command("show")
@click.argument("card_file", type=CARD_PLACE)
@PIN_FILE
@JSON
def show(card_file: Place, pin_file: Path | None, as_json: bool) -> None:
    """What a card says of its holder.

    \b
    Example:
      carnet card show anne.p12
    """
    facts = _facts(open_card(card_file, pin_file))
    emit(as_json, facts, "\n".join(f"{k}: {v}" for k, v in facts.items() if v not in ("", None, [])))


@command.command("assert")
@click.option(
    "--card",
    "card_file",
    type=CARD_PLACE,
    required=True,
    envvar="CARNET_CARD",
    help=CARD_HELP,
)
@PIN_FILE
@click.option("--patient", default="", help="CX of the patient the assertion names.")
@click.option("--structure", "structure_id", default="", envvar="CARNET_STRUCTURE", help="Struct_IdNat (VIHF).")
@click.option("--purpose", default="", help=PURPOSE)
@REASON
@SECRET
@ACCOUNT
@click.option("--role", default="", help="Role, code^^system; default: that of the card, or the domain's first.")
@click.option("--spoil", type=click.Choice(list(SPOILS)), help="Make a bad one: every service must refuse it.")
@click.option("--with-authz-consent", "consent", is_flag=True, help="Add the attributes of a patient's consent.")
@DATA
@JSON
def make_assertion(
    card_file: Place,
    pin_file: Path | None,
    patient: str,
    structure_id: str,
    purpose: str,
    role: str,
    spoil: str | None,
    consent: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Print a signed assertion: plain XUA or VIHF, as the domain of --data asks. For test tools and by hand.

    \b
    Examples:
      carnet card assert --card anne.p12 --structure 10B0000001 --patient "279...^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet card assert --card anne.p12 --patient "T-1001^^^&1.3.6.1.4.1.21367.2005.3.7&ISO" --spoil expired
    """
    settings = settings_of(data) if (data / FILE_NAME).is_file() else None
    card = open_card(card_file, pin_file)
    try:
        root = Desk.of(settings).build(
            card, patient_id=patient, structure_id=structure_id, purpose=purpose, role=role, reason=reason_given(),
            is_secret=is_secret(), account=account_given(),
        )
        made = issue_assertion(root, card.signature, spoil=spoil or "", consent=consent).decode()
    except CardError as error:
        raise Refused(str(error)) from error
    except ValueError as error:
        raise Misuse(str(error)) from error
    emit(as_json, {"assertion": made, "id": root.get("ID", "")}, made)
