"""What every command shares: where the installation is, how it answers, how it fails.

Exit status: 0 done, 1 refused, 2 misuse, 3 a peer cannot be reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from lxml import etree

from carnet import assertions, own_calls
from carnet import settings as settings_module
from carnet.secrecy import from_environment
from carnet.settings import Settings
from conformance.client import Client
from guard.credentials import pkcs11_uri
from guard.credentials.cards import Card, CardError
from guard.credentials.pkcs11_uri import SCHEME, TokenAddress
from guard.credentials.pki import Pki
from guard.credentials.rule import Required
from guard.credentials.token import hardened_parser
from xds.model.datatypes import Cx
from xds.wire import tls

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path("data"),
    envvar="CARNET_DATA",
    show_default=True,
    help="Folder of the installation.",
)
PURPOSE = (
    "Purpose of use: normal (default), bris_de_glace or centre_15; with plain XUA a code^^system, default the first "
    "the domain accepts."
)
REASON_KEY = "carnet.reason"
REASON = click.option(
    "--reason",
    default="",
    expose_value=False,
    callback=lambda context, _, value: context.meta.__setitem__(REASON_KEY, value),
    help="Why, in words: must be given with --purpose bris_de_glace and centre_15. The patient reads it.",
)
"""For every command that signs: they find it with ``reason_given``."""
CONNECTION_KEY = "carnet.connection"
SECRET = click.option(
    "--secret",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, value: context.meta.__setitem__(CONNECTION_KEY, value),
    help="Secret connection with a young patient (VIHF): legal representatives see neither it nor what it deposits.",
)
"""Likewise, with ``is_secret``."""
ACCOUNT_KEY = "carnet.account"
ACCOUNT = click.option(
    "--account",
    default="",
    expose_value=False,
    callback=lambda context, _, value: context.meta.__setitem__(ACCOUNT_KEY, value),
    help="Who is at the portal whose certificate --card is: the number of the patient, or a representative's account.",
)
"""Likewise, with ``account_given``."""
ASSERTION_KEY = "carnet.assertion"
ASSERTION = click.option(
    "--assertion",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    expose_value=False,
    callback=lambda context, _, value: context.meta.__setitem__(ASSERTION_KEY, value),
    help="Signed assertion to send as it is (of `carnet token issue`); -: standard input. The card only connects.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")


class Refused(click.ClickException):
    """The request was understood and refused."""

    exit_code = 1


class Misuse(click.ClickException):
    """The command was given something it cannot work with."""

    exit_code = 2


def a_cx(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The patient of an argument, as typed; one that is no CX finds nothing for ever, so it is told at once."""
    try:
        Cx.parse(value)
    except ValueError as error:
        raise Misuse(
            f"{value!r} is no patient identifier (CX): {error}; write \"number^^^&OID&ISO\" in quotes, "
            "with ^type behind it where the domain has types"
        ) from error
    return value


class Unreachable(click.ClickException):
    """A peer did not answer."""

    exit_code = 3


def settings_of(data: Path, *, as_served: bool = True, **flags: Any) -> Settings:
    """Settings of the installation, of the domain that ``carnet serve`` was last told; ``serve`` itself: without."""
    try:
        return settings_module.load(data.absolute(), as_served=as_served, **flags)
    except FileNotFoundError as error:
        raise Misuse(str(error)) from error
    except ValueError as error:
        raise Misuse(f"{data / settings_module.FILE_NAME}, or CARNET__ in the environment: {error}") from error


def pki_of(data: Path) -> Pki:
    """The authorities of an installation. Raises Misuse where they are not: another machine may keep them."""
    folder = settings_of(data).pki
    try:
        return Pki.open(folder)
    except FileNotFoundError as error:
        raise Misuse(f"{folder} holds no authorities that could issue or revoke") from error


def reason_given() -> str:
    """What was said with ``--reason`` in the command that runs."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(REASON_KEY, "")) if context is not None else ""


def account_given() -> str:
    """What was said with ``--account`` in the command that runs."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(ACCOUNT_KEY, "")) if context is not None else ""


def is_secret() -> bool:
    """Whether ``--secret`` was given to the command that runs."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(CONNECTION_KEY, False))


def assertion_given() -> bytes:
    """What was given with ``--assertion`` in the command that runs, b"" for nothing."""
    context = click.get_current_context(silent=True)
    file: Path | None = context.meta.get(ASSERTION_KEY) if context is not None else None
    if file is None:
        return b""
    try:
        with click.open_file(str(file), "rb") as given:
            data: bytes = given.read().strip()
        etree.fromstring(data, hardened_parser())
    except (OSError, etree.XMLSyntaxError) as error:
        raise Misuse(f"{file} holds no assertion") from error
    return data.partition(b"?>")[2].strip() if data.startswith(b"<?xml") else data


def emit(as_json: bool, value: Any, text: str) -> None:
    """Print ``value`` as JSON or ``text`` for a person."""
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else text)


def table(rows: Sequence[Sequence[str]], head: tuple[str, ...]) -> str:
    """Columns aligned by their widest cell."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return "\n".join(lines)


class CardPlace(click.ParamType):
    """Where a card is: a file that exists, or the ``pkcs11:`` address of a token."""

    name = "card"

    def __init__(self, *, exists: bool = True) -> None:
        self._exists = exists

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | TokenAddress:
        if isinstance(value, Path | TokenAddress):
            return value
        if not str(value).startswith(SCHEME):
            return Path(str(click.Path(exists=self._exists, dir_okay=False).convert(value, param, ctx)))
        try:
            return pkcs11_uri.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


Place = Path | TokenAddress
CARD_PLACE = CardPlace()
CARD_PLACE_TO_BE = CardPlace(exists=False)
CARD_HELP = (
    "Card: a PKCS#12 file, or a token, pkcs11:token=LABEL?module-path=/path/of/library.so. The PIN: prompt, --pin-file "
    "or CARNET_PIN."
)
PIN_FILE = click.option(
    "--pin-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="File whose first line is the PIN."
)


def card_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--card, --pin-file, --structure, --purpose and where the services are."""
    for option in reversed(
        [
            click.option(
                "--card",
                "card_file",
                type=CARD_PLACE,
                envvar="CARNET_CARD",
                help=f"{CARD_HELP} Not needed where credentials are off.",
            ),
            PIN_FILE,
            click.option(
                "--structure",
                "structure_id",
                default="",
                envvar="CARNET_STRUCTURE",
                help="Struct_IdNat of the structure a person works in.",
            ),
            click.option(
                "--purpose",
                default="",
                help=PURPOSE,
            ),
            REASON,
            SECRET,
            ASSERTION,
            click.option("--repository-url", default="", help="Base address of the repository; default: of --data."),
            click.option("--registry-url", default="", help="Base address of the registry; default: of --data."),
            click.option(
                "--ca",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="PEM file of the authorities to trust; default: of --data.",
            ),
        ]
    ):
        command = option(command)
    return command


def first_line(file: Path) -> str:
    """The PIN or PUK a file holds, "" when it holds none."""
    try:
        return next(iter(file.read_text("utf-8").splitlines()), "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"{file} cannot be read as text") from error


def secret(file: Path | None, variable: str, asked: str, *, option: str, confirm: bool = False) -> str:
    """A PIN or PUK from a file, the environment or, on a terminal, a prompt. Never from an argument.

    The process leaves no core file, and what the environment held is not there any more: see ``carnet.secrecy``.
    """
    if file is not None:
        return first_line(file)
    if (given := from_environment(variable)) is not None:
        return given
    if sys.stdin.isatty():
        return str(click.prompt(asked, hide_input=True, confirmation_prompt=confirm))
    raise Misuse(f"no {asked.split(maxsplit=1)[0]}: use {option}, or set {variable}")


def pin_of(place: Place, pin_file: Path | None) -> str:
    """The PIN of a card that exists."""
    if isinstance(place, Path):
        return secret(pin_file, "CARNET_PIN", f"PIN of {place.name}", option="--pin-file")
    source = Path(place.pin_source) if place.pin_source else None
    return secret(pin_file or source, "CARNET_PIN", f"PIN of {place}", option="--pin-file")


def open_card(place: Place, pin_file: Path | None) -> Card:
    """Open a card, be it a file or a token."""
    pin = pin_of(place, pin_file)
    try:
        if isinstance(place, Path):
            return Card.open(place, pin)
        from guard.credentials import token_card  # noqa: PLC0415 - loads a library that cards in files do not need

        return token_card.open_card(place, pin)
    except CardError as error:
        raise Refused(str(error)) from error


def client_of(
    data: Path,
    card_file: Place | None,
    pin_file: Path | None,
    structure_id: str,
    purpose: str,
    repository_url: str,
    registry_url: str,
    ca: Path | None,
    log_as: str = own_calls.REPORTER,
) -> Client:
    """A client for the services of ``data``, or for those named; an installation says what they ask for, and keeps the
    audit of the exchanges, under the name ``log_as``.
    """
    settings = None
    if not (repository_url and registry_url and ca) or (data / settings_module.FILE_NAME).is_file():
        settings = settings_of(data)
        repository_url = repository_url or settings.repository_url
        registry_url = registry_url or settings.registry_url
        ca = ca or settings.pki / "trust" / "ca.pem"
    assert ca is not None
    ready = assertion_given()
    if ready and (purpose or reason_given() or account_given() or is_secret()):
        raise Misuse("--assertion is sent as it is: give --purpose, --reason, --account and --secret where it is made")
    desk = assertions.Desk.of(settings)
    if card_file is None and desk.mode is not Required.OFF:
        raise Misuse("no card: use --card, or set CARNET_CARD")
    card = None if card_file is None else open_card(card_file, pin_file)
    try:
        sign = (lambda _: ready) if ready else desk.signing(
            card, structure_id=structure_id, purpose=purpose, reason=reason_given(), is_secret=is_secret(),
            account=account_given(),
        )
        context = tls.calling(ca) if card is None else card.tls_context(ca)
    except ValueError as error:
        raise Misuse(str(error)) from error
    except CardError as error:
        raise Refused(str(error)) from error
    client = Client(
        card=card,
        repository_url=repository_url,
        registry_url=registry_url,
        ca_file=ca,
        tls=context,
        sign=sign,
    )
    if settings is not None:
        own_calls.log_to(settings, client, reporter=log_as)
    return client
