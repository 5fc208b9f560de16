"""``carnet init``"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

import storage
from carnet import settings as settings_module
from carnet.console import DATA, JSON, Misuse, emit, settings_of
from carnet.gate import REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE, names
from carnet.node import SIGNER, all_pair_files, close_key_files, is_of_test_authority, names_of
from carnet.settings import Settings
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import Products


@click.command("init")
@DATA
@click.option("--if-missing", is_flag=True, help="Do nothing when the folder is already an installation.")
@click.option("--host", "hosts", multiple=True, help="Further host name or address for the server certificates.")
@click.option(
    "--products", type=click.Choice([kind.value for kind in Products]), default=Products.TEST.value, show_default=True,
    help="What the authorities make, and the services take: test products, or production ones; never both.",
)
@click.option(
    "--pki-url", default="", help="http address where `carnet pki serve` will answer; certificates then carry it."
)
@JSON
def command(
    data: Path, if_missing: bool, hosts: tuple[str, ...], products: str, pki_url: str, as_json: bool
) -> None:
    """Make an installation: settings file, test authorities, server certificates, empty databases.

    \b
    Examples:
      carnet init --data data
      carnet init --data data --pki-url http://127.0.0.1:8880
    """
    made = create(data, hosts, if_missing=if_missing, products=Products(products), pki_url=pki_url)
    emit(as_json, {"data": str(data), "created": made}, f"{data}: {'ready' if made else 'already an installation'}")


def create(
    data: Path, hosts: tuple[str, ...] = (), *, if_missing: bool = False, products: Products = Products.TEST,
    pki_url: str = "",
) -> bool:
    """Make the installation; False when there was one and ``if_missing`` is set. Never overwrites."""
    file = data / settings_module.FILE_NAME
    if file.exists():
        if if_missing:
            upgrade(data)
            complete_keys(settings_of(data))
            return False
        raise Misuse(f"{file} exists: this folder is already an installation")
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    try:
        pki = Pki.create(data / "pki", products=products, base_url=pki_url)
    except ValueError as error:
        raise Misuse(str(error)) from error
    for name in (REGISTRY_NODE, REPOSITORY_NODE, TOKENS_NODE):
        pki.issue_server(name, hosts)
        pki.issue_server(name, hosts, key=KeyKind.RSA)
    pki.issue_token_signer(SIGNER)
    file.write_text(settings_module.default_file(credentials__products=products.value), "utf-8")
    upgrade(data)
    return True


def complete_keys(settings: Settings) -> None:
    """Close key files to others, and give test servers what installations before this version lack: the RSA pair, and
    the certificates of the token service where it is enabled and the test authorities are at hand."""
    close_key_files(settings, repair=True)
    if settings.tokens.enabled and (settings.pki / "private").is_dir():
        pki = Pki.open(settings.pki)
        with suppress(FileExistsError):
            pki.issue_server(TOKENS_NODE)
        with suppress(FileExistsError):
            pki.issue_token_signer(SIGNER)
    for name in names(settings):
        files = all_pair_files(settings, name)
        if len(files) == 1 and is_of_test_authority(settings, certificate := files[0].read().certificate):
            Pki.open(settings.pki).issue_server(name, names_of(certificate), key=KeyKind.RSA)


def upgrade(data: Path) -> None:
    """Bring the databases to the schema of this version; safe to repeat."""
    settings = settings_of(data)
    for folder in (data / "registry", data / "repository", data / "tokens"):
        folder.mkdir(exist_ok=True)
    storage.upgrade_registry(settings.registry_database)
    storage.upgrade_repository(settings.repository_database)
    storage.upgrade_tokens(settings.tokens_database)
    Path(settings.documents).mkdir(parents=True, exist_ok=True)
