"""What an operator may set up, and what he is told when it cannot work.

Clause: DMP VIHF 1; WS-Trust 1.3 4
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from carnet import node, token_service
from carnet import settings as settings_module
from carnet.cli import main
from carnet.commands import init
from carnet.commands.serve import admin_addresses
from carnet.gate import names
from guard.credentials import vihf
from tests.guard.tokens.conftest import Desk, a_person
from tests.guard.tokens.test_issue_by_card import said
from tests.openid_provider import Provider
from tests.world import STRUCTURE, World
from xds.wire.client import FaultReceived


def test_a_structure_s_own_cachet_needs_no_listing(
    tmp_path: Path, provider: Provider, secrets: dict[str, str]
) -> None:
    """The reference's own form of reinforced indirect mode: the structure signs, and its connection alone may use it.

    Rule: W-03, W-04
    """
    desk = Desk.prepare(tmp_path / "tokens", provider, secrets, "dmp", listed=False)
    pair = desk.cards["laboratory"].signature
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "cachet.pem").write_bytes(pair.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "cachet.key").write_bytes(key)
    (tmp_path / "cachet.key").chmod(0o600)
    file = desk.world.folder / settings_module.FILE_NAME
    chosen = f'certificate = "{tmp_path / "cachet.pem"}"\nkey = "{tmp_path / "cachet.key"}"\n'
    file.write_text(file.read_text("utf-8") + chosen, "utf-8")
    desk.world.settings = settings_module.load(desk.world.folder)
    desk.serve_here()
    patient_id, tokens = desk.world.patient(), desk.login(a_person("anne"))
    assertion = desk.asking("laboratory").issue(
        {vihf.RESOURCE_ID: patient_id}, id_token=tokens["id_token"], access_token=tokens["access_token"]
    )
    assert f"OU={STRUCTURE}" in said(assertion, "s:Issuer/text()")[0]
    assert desk.find("laboratory", assertion, patient_id).outcome.is_success
    for who in ("other", "physician"):
        with pytest.raises(FaultReceived, match="could not be authenticated"):
            desk.find(who, assertion, patient_id)
    elsewhere = desk.login(a_person("eve"), "lps-2")
    with pytest.raises(FaultReceived, match="FailedAuthentication"):  # she has no activity there
        desk.asking("other").issue({}, id_token=elsewhere["id_token"], access_token=elsewhere["access_token"])


def serve(world: World, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["serve", "tokens", "--data", str(world.folder), *words])
    return result.exit_code, result.output


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"issuer": "https://provider.example"}, "tokens.issuer needs tokens.keys"),
    ({"issuer": "a", "keys": "http://provider.example/keys"}, "https only"),
    ({"issuer": "a", "keys": "keys.json", "userinfo": "http://provider.example/me"}, "https only"),
    ({"issuer": "a", "keys": "keys.json", "userinfo": "me.json"}, "tokens.userinfo is no https address"),
    ({"issuer": "a", "keys": "keys.json", "provider_ca": "nowhere.pem"}, "the token service"),
    ({"certificate": "nowhere.pem"}, "run `carnet init --if-missing`, or set tokens.certificate"),
    ({"clients": ["no-structure"]}, "is not client_id=Struct_IdNat"),
]


@pytest.mark.parametrize(("chosen", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_work_is_said_before_anything_is_served(
    tmp_path: Path, chosen: dict[str, Any], words: str
) -> None:
    """Exit status 2, and what to do."""
    world = World.prepare(tmp_path / "here")
    file = world.folder / settings_module.FILE_NAME
    lines = "".join(f"{key} = {settings_module._toml(value)}\n" for key, value in chosen.items())
    file.write_text(file.read_text("utf-8") + "[tokens]\n" + lines, "utf-8")
    status, told = serve(world)
    assert (status, words in told) == (2, True), told


def test_a_key_that_is_not_the_certificate_s_is_found(tmp_path: Path) -> None:
    world = World.prepare(tmp_path / "here")
    other = world.folder / "pki" / "servers" / "registry.key"
    (world.folder / "pki" / "servers" / "tokens-sign.key").write_bytes(other.read_bytes())
    status, told = serve(world)
    assert status == 2 and "is not the key of" in told


def test_an_older_installation_gets_what_it_lacks(tmp_path: Path) -> None:
    """Certificates where the service is switched on, and the database; nothing that is there is touched."""
    world = World.prepare(tmp_path / "here")
    servers = world.folder / "pki" / "servers"
    for file in [*servers.glob("tokens*"), *(world.folder / "tokens").iterdir()]:
        file.unlink()
    kept = (servers / "registry.pem").read_bytes()
    init.create(world.folder, if_missing=True)
    assert not list(servers.glob("tokens*")) and (world.folder / "tokens" / "tokens.sqlite").is_file()
    file = world.folder / settings_module.FILE_NAME
    file.write_text(file.read_text("utf-8") + "[tokens]\nenabled = true\n", "utf-8")
    init.create(world.folder, if_missing=True)
    assert len(list(servers.glob("tokens*"))) == 6 and (servers / "registry.pem").read_bytes() == kept
    assert token_service.signer_of(settings_module.load(world.folder)).certificate


def test_nothing_of_it_is_there_unless_switched_on(tmp_path: Path) -> None:
    """`serve all` and the settings of a new installation: off, and nobody listed. Rule: W-03"""
    settings = World.prepare(tmp_path / "here").settings
    assert names(settings) == ("registry", "repository") and "tokens" not in admin_addresses(settings)
    assert not settings.credentials.token_services and not settings.tokens.issuer


def test_its_keys_are_rotated_and_watched_like_the_others(tmp_path: Path) -> None:
    """Both pairs of the server; the pair that signs is in the calendar, and unused while others can read it."""
    world = World.prepare(tmp_path / "here")
    servers = world.folder / "pki" / "servers"
    before = {name: (servers / name).read_bytes() for name in ("tokens.pem", "tokens.rsa.pem")}
    result = CliRunner().invoke(main, ["pki", "rotate", "tokens", "--data", str(world.folder)])
    assert result.exit_code == 0, result.output
    assert all((servers / name).read_bytes() != data for name, data in before.items())
    assert ("signer", "tokens-sign.pem") in {(one.kind, one.file) for one in node.endings(world.settings, "tokens")}
    (servers / "tokens-sign.key").chmod(0o644)
    status, told = serve(world)
    assert status == 2 and "tokens-sign.key" in told
