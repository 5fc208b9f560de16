"""The service's keys: who may read them, what is done with half of them, how new ones come into use, what ends soon."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from prometheus_client import generate_latest

from carnet import keys, log_keeper, node, wiring
from carnet.admin import Meter
from carnet.cli import main
from carnet.commands.serve import listen_mllp, listening_tls
from carnet.keys import Following, KeyTrouble, PairFiles, Stamp, stamp_of
from carnet.mllp import PatientFeed
from carnet.node import Calendar, all_pair_files, client_tls, endings, pair_files, server_tls
from carnet.supervisor import free_ports
from conformance import frames
from guard.credentials.caller import Caller, Mode
from guard.credentials.cards import PrivateKey
from guard.credentials.certificates import TrustStore
from guard.credentials.pki import KeyKind, Pki
from tests.certificates import make, self_signed
from tests.handshakes import shake
from tests.world import World
from xds.wire import tls
from xds.wire.exchange import Peer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.prepare(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of its own: keys are exchanged and spoiled here."""
    folder = tmp_path / "data"
    shutil.copytree(made.folder, folder)
    return World(folder, made.settings.model_copy(update={"data": folder}), made.cards)


def run(world: World, *words: str, expect: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words), env={"CARNET_DATA": str(world.folder)})
    assert result.exit_code == expect, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output and "PRIVATE KEY" not in result.output
    return result


def renew(world: World, name: str = "registry", kind: KeyKind = KeyKind.EC) -> x509.Certificate:
    """As ``carnet pki rotate``, one of the pairs."""
    return Pki.open(world.settings.pki).issue_server(name, key=kind, replace_old=True).certificate


def plain(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def patiently(check: Callable[[], bool], patience: float = 60.0) -> None:
    """Until it holds; files are looked at once a second."""
    deadline = time.monotonic() + patience
    while not check():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


# -- who may read them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_a_key_open_to_others_is_not_used(world: World, mode: int) -> None:
    """Whatever group or others may do with it. The text says which file and how to close it. Rule: K-02"""
    files = pair_files(world.settings, "registry")
    files.key.chmod(mode)
    with pytest.raises(KeyTrouble, match=f"chmod 600 {files.key}"):
        files.read()
    text = run(world, "serve", "registry", expect=2).stderr
    assert f"mode {mode:04o}" in text and "chmod 600" in text and "carnet check --repair" in text


def test_the_second_pair_and_the_audit_key_are_looked_at_too(world: World) -> None:
    """A start is refused for any key the service would load."""
    second = pair_files(world.settings, "repository.rsa")
    second.key.chmod(0o640)
    assert str(second.key) in run(world, "serve", "repository", expect=2).stderr
    second.key.chmod(0o600)
    own = world.folder / "audit.key"
    shutil.copy(pair_files(world.settings, "repository").key, own)
    own.chmod(0o644)
    with (world.folder / "carnet.toml").open("a") as file:
        file.write(f'[audit]\nkey = "{own}"\n')
    assert str(own) in run(world, "serve", "repository", expect=2).stderr


def test_check_tells_open_keys_and_closes_them(world: World) -> None:
    """Those of the authorities as well, which no service loads; init closes them too."""
    private = world.settings.pki / "private" / "root.key"
    private.chmod(0o644)
    found = json.loads(run(world, "check", "--json", expect=1).stdout)
    assert found["open_keys"] == [str(private)] and found["agree"]
    assert "IS OPEN" in run(world, "check", expect=1).output
    pair_files(world.settings, "registry").key.chmod(0o640)
    assert "chmod 600" in run(world, "check", expect=1).stderr
    assert "closed" in run(world, "check", "--repair").output
    assert {file.stat().st_mode & 0o777 for file in node.key_files(world.settings)} == {0o600}
    private.chmod(0o644)
    run(world, "init", "--if-missing")
    assert private.stat().st_mode & 0o777 == 0o600


def test_an_installation_of_before_gets_its_second_pair(world: World) -> None:
    """Its names are those of the first one. A pair of another authority is left alone."""
    for file in (world.settings.pki / "servers").glob("*.rsa.*"):
        file.unlink()
    assert node.lacks_rsa(world.settings, "registry")
    run(world, "init", "--if-missing")
    first, second = (files.read() for files in all_pair_files(world.settings, "registry"))
    assert node.names_of(first.certificate) == node.names_of(second.certificate)
    assert not node.lacks_rsa(world.settings, "registry")


# -- half of them -----------------------------------------------------------------------------------------------------


def spoiled(files: PairFiles, other: PairFiles) -> dict[str, Callable[[], object]]:
    """Ways in which the files of a pair may lie there, none of which can be served."""
    whole, key = files.certificate.read_bytes(), files.key.read_bytes()
    rows = whole.splitlines(keepends=True)
    return {
        "the certificate of another": lambda: files.certificate.write_bytes(other.certificate.read_bytes()),
        "the key of another": lambda: files.key.write_bytes(other.key.read_bytes()),
        "half a certificate": lambda: files.certificate.write_bytes(b"".join(rows[:4])),
        "half a chain": lambda: files.certificate.write_bytes(b"".join(rows[:-3])),
        "half a key": lambda: files.key.write_bytes(key[: len(key) // 2]),
        "an empty certificate": lambda: files.certificate.write_bytes(b""),
        "an empty key": lambda: files.key.write_bytes(b""),
        "no key": files.key.unlink,
        "no certificate": files.certificate.unlink,
        "a certificate as key": lambda: files.key.write_bytes(whole),
        "a key as certificate": lambda: files.certificate.write_bytes(key),
        "not text": lambda: files.key.write_bytes(os.urandom(200)),
    }


WAYS = list(spoiled(PairFiles(Path(__file__), Path(__file__)), PairFiles(Path(__file__), Path(__file__))))


@pytest.mark.parametrize("way", WAYS)
def test_half_a_pair_is_never_read(world: World, way: str) -> None:
    """The text names a file and holds nothing of what is in it."""
    files = pair_files(world.settings, "registry")
    key = files.key.read_text().splitlines()[1]
    spoiled(files, pair_files(world.settings, "repository"))[way]()
    with pytest.raises(KeyTrouble) as refused:
        files.read()
    assert str(files.key) in str(refused.value) or str(files.certificate) in str(refused.value)
    assert key not in repr(refused.value) and refused.value.__cause__ is None


def test_a_key_under_a_password_is_told(world: World) -> None:
    files = pair_files(world.settings, "registry")
    pair = files.read()
    files.key.write_bytes(pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")))
    with pytest.raises(KeyTrouble, match="password"):
        files.read()


@pytest.mark.parametrize("way", WAYS)
def test_half_a_pair_is_never_served(
    world: World, way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former one is, and the reason is logged once, not for each connection. Rule: K-03"""
    monkeypatch.setattr(keys, "LOOK", 0.1)
    followed = listening_tls(world.settings, "registry", lambda context: context)
    followed._look = 0.0
    before = followed()
    files = pair_files(world.settings, "registry")
    spoiled(files, pair_files(world.settings, "repository"))[way]()
    patiently(lambda: followed() is before and bool(followed.problem))
    for _ in range(20):
        assert followed() is before
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    new = renew(world)
    patiently(lambda: followed() is not before)
    assert followed.problem == ""
    here, _ = shake(tls.calling(world.settings.pki / "trust" / "ca.pem"), followed())
    assert here.getpeercert(True) == new.public_bytes(Encoding.DER)


def test_files_that_have_just_changed_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their partner may not be there yet. Age is told by the clock of the system, which no copy command sets."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    stamps = [Stamp((("a", 1, 1, 0, now - 10**12),))]
    contexts: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        contexts.append(tls.listening())
        return contexts[-1]

    followed = Following("essai", make, lambda: stamps[-1], look=0.0)
    for age, is_used in ((0.0, False), (0.4, False), (0.99, False), (1.01, True)):
        stamps.append(Stamp((("a", 1, 1, 0, now - int(age * 10**9)),)))
        assert (followed() is not contexts[0]) is is_used, age
    stamps.append(Stamp((("a", 2, 1, 0, now + 10**12),)))
    followed()
    assert len(contexts) == 3, "a clock that was set back holds nothing up"


def test_a_change_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made of files that have changed meanwhile is not used."""
    states = iter([1, 2, 3, 3, 3, 3])
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(tls.listening())
        return made[-1]

    followed = Following("essai", make, lambda: next(states), look=0.0)
    assert followed() is made[0] and len(made) == 2
    assert followed() is made[2]


def test_a_stamp_tells_what_a_reader_would_see(tmp_path: Path) -> None:
    """Another content, another file of the same content and time, none at all."""
    file = tmp_path / "a"
    seen = {stamp_of([file])}
    file.write_text("one")
    seen.add(stamp_of([file]))
    other = tmp_path / "b"
    shutil.copy2(file, other)
    other.replace(file)
    seen.add(stamp_of([file]))
    seen.add(stamp_of([file], "beside"))
    assert len(seen) == 4 and stamp_of([file]) == stamp_of([file])


# -- new ones ---------------------------------------------------------------------------------------------------------


def test_new_anchors_count_without_a_restart(world: World, tmp_path: Path) -> None:
    """An authority that was added lets its holders in; one that was taken away keeps them out. Rule: K-03"""
    trust = world.settings.pki / "trust"
    store = TrustStore.load(trust, reload_seconds=0.0)
    followed = server_tls(world.settings, "registry", store, lambda context: context)
    followed._look = 0.0
    authority = self_signed("Event CA", authority=True)
    key, certificate = make("Event system", authority)
    client = tls.calling(trust / "ca.pem")
    pair = tmp_path / "pair.pem"
    pair.write_bytes(plain(key) + certificate.public_bytes(Encoding.PEM))
    client.load_cert_chain(pair)

    def is_let_in() -> bool:
        try:
            here, there = shake(client, followed())
            there.write(b"x")
            return here.read(1) == b"x"
        except ssl.SSLError:
            return False

    assert not is_let_in()
    event = tmp_path / "event.pem"
    event.write_bytes(authority[1].public_bytes(Encoding.PEM))
    added = json.loads(run(world, "pki", "trust", str(event), "--as", "organisations", "--json").stdout)["file"]
    patiently(is_let_in)
    Path(added).unlink()
    patiently(lambda: not is_let_in())


def test_a_client_follows_its_pair_and_its_authorities(world: World) -> None:
    """What the registry link, replies and audit messages connect with."""
    files, anchors = pair_files(world.settings, "repository"), world.settings.pki / "trust" / "ca.pem"
    followed = client_tls("essai", files, anchors)
    followed._look = 0.0
    server = listening_tls(world.settings, "registry", lambda context: context)()
    first = files.read().der
    assert shake(followed(), server)[1].getpeercert(True) == first
    new = renew(world, "repository").public_bytes(Encoding.DER)
    patiently(lambda: shake(followed(), server)[1].getpeercert(True) == new)
    anchors.write_bytes(self_signed("Another", authority=True)[1].public_bytes(Encoding.PEM))

    def is_refused() -> bool:
        try:
            shake(followed(), server)
        except ssl.SSLCertVerificationError:
            return True
        return False

    patiently(is_refused)


def test_rotate_is_one_command(world: World) -> None:
    """Both pairs, the same names, the former certificates still good; nothing but the pairs is left in the folder."""
    before = {files: files.read() for files in all_pair_files(world.settings, "registry")}
    names = sorted(os.listdir(world.settings.pki / "servers"))
    told = json.loads(run(world, "pki", "rotate", "registry", "--json").stdout)["pairs"]
    assert len(told) == 2 and sorted(os.listdir(world.settings.pki / "servers")) == names
    for files, old in before.items():
        new = files.read()
        assert new.certificate.public_key() != old.certificate.public_key()
        assert node.names_of(new.certificate) == node.names_of(old.certificate)
        assert type(new.key) is type(old.key) and files.key.stat().st_mode & 0o777 == 0o600
    issued = {one.serial: one.revoked for one in Pki.open(world.settings.pki).issued()}
    assert all(issued[one["serial"]] == issued[one["former"]] == "" for one in told)


def test_rotate_leaves_the_pair_of_another_authority_alone(world: World) -> None:
    """It would put a test certificate in its place."""
    files = pair_files(world.settings, "registry")
    key, certificate = self_signed("registry")
    files.key.write_bytes(plain(key))
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    assert "not issued by the test authorities" in run(world, "pki", "rotate", "registry", expect=1).stderr
    assert files.read().certificate == certificate


def test_checkpoints_are_signed_with_the_key_of_the_day(world: World) -> None:
    """Those of before still stand: each carries the certificate it was signed under."""
    actor = wiring.registry_actor(world.settings)
    signed = []
    for _ in range(2):
        world.patient()
        wiring.note(actor.database, "registry", started=True)
        made = log_keeper.make_checkpoint(world.settings, "registry", actor.database)
        assert made is not None
        signed.append(made.certificate)
        run(world, "pki", "rotate", "registry")
    assert signed[0] != signed[1]
    found = log_keeper.verify(world.settings, "registry", actor.database)
    assert found.flaws == [] and found.checkpoints == 2


# -- over the wire ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World.prepare(tmp_path_factory.mktemp("served"), registry="mllp_port = 0").serve_processes()
    yield world
    world.stop()


def certificate_at(port: int, context: ssl.SSLContext) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as secure:  # fmt: skip
        found = secure.getpeercert(True)
        assert found is not None
        return found


def test_running_services_take_new_keys_and_keep_their_connections(served: World) -> None:
    """New connections are served with them within seconds; who is connected goes on; deposits still reach the registry,
    over a link that connects anew with the repository's new certificate. Rule: K-03"""
    client = served.client("physician")
    bare = tls.calling(served.settings.pki / "trust" / "ca.pem")
    patient = served.patient()
    assert served.find(patient).outcome.is_success
    kept = client._registry._idle[-1][0].sock  # type: ignore[attr-defined]
    for name, port in (("registry", served.settings.registry.port), ("repository", served.settings.repository.port)):
        before = certificate_at(port, bare)
        run(served, "pki", "rotate", name)
        new = pair_files(served.settings, name).read().der
        assert new != before
        patiently(lambda port=port, new=new: certificate_at(port, bare) == new)  # type: ignore[misc]
    assert served.find(patient).outcome.is_success
    assert client._registry._idle[-1][0].sock is kept, "the old connection goes on"  # type: ignore[attr-defined]
    deposit = frames.valid_submission("dmp", patient_id=patient)
    assert served.deposit(deposit).is_success

def test_the_listener_of_identities_follows_its_keys(world: World) -> None:
    """MLLP serves a new connection with the new certificate, and knows the caller's. Rule: K-03"""
    (port,) = free_ports(1)
    registry_section = world.settings.registry.model_copy(update={"mllp_port": port})
    admitted: list[bytes | None] = []

    def admit(peer: Peer) -> Caller:
        admitted.append(peer.certificate)
        return Caller(identifier="essai", mode=Mode.NODE)

    feed = PatientFeed(receive=lambda *_: b"", admit=admit, refused=lambda *_: None)
    stop = listen_mllp(world.settings.model_copy(update={"registry": registry_section}), feed)
    try:
        client = world.cards["laboratory"].tls_context(world.settings.pki / "trust" / "ca.pem")
        before = certificate_at(port, client)
        new = renew(world).public_bytes(Encoding.DER)
        assert before != new
        patiently(lambda: certificate_at(port, client) == new)
        patiently(lambda: world.cards["laboratory"].authentication.der in admitted)
    finally:
        stop()


# -- what ends soon ---------------------------------------------------------------------------------------------------


def test_everything_that_ends_is_measured(world: World) -> None:
    """Server pairs with their chain, authorities, and the lists' next update; new files count at once. Rule: K-04"""
    meter = Meter()
    meter.watch_keys(world.settings, "registry")

    def measured() -> dict[str, float]:
        lines = generate_latest(meter.collected).decode().splitlines()
        return {a: float(b) for a, _, b in (line.rpartition(" ") for line in lines if line.startswith("carnet_"))}

    found = measured()
    kinds = {name.partition('kind="')[2].partition('"')[0] for name in found if "expires" in name}
    assert kinds == {"server", "chain", "authority", "revocation list"}
    files = {name.partition('file="')[2].partition('"')[0] for name in found if "expires" in name}
    assert {"registry.pem", "registry.rsa.pem", "root.crl", "persons.crl", "organisations.crl"} <= files
    assert found["carnet_keys_usable"] == 1.0
    Pki.open(world.settings.pki).write_crls(days=3)
    assert 2 * 86400 < measured()['carnet_expires_seconds{file="root.crl",kind="revocation list",'
                                  'name="TEST AC RACINE CARNET ELEMENTAIRE"}'] < 3 * 86400 + 1  # fmt: skip
    pair_files(world.settings, "registry").key.chmod(0o640)
    assert measured()["carnet_keys_usable"] == 0.0


def test_an_end_is_told_thirty_days_ahead_and_once_a_day(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not before, not at each look, again the next day, an error once it is over; a renewal ends it. Rule: K-04"""
    Pki.open(world.settings.pki).write_crls(days=60)
    lists = [one for one in endings(world.settings, "registry") if one.kind == "revocation list"]
    ends = min(one.ends for one in lists)
    now = [ends - timedelta(days=31)]
    calendar = Calendar(world.settings, "registry", now=lambda: now[0])
    assert calendar.look() == 0
    now[0] = ends - timedelta(days=29, hours=23)
    assert calendar.look() == len(lists)
    for hours in range(1, 24):
        now[0] = ends - timedelta(days=29, hours=23 - hours)
        assert calendar.look() == 0, hours
    now[0] = ends - timedelta(days=28, hours=22)
    assert calendar.look() == len(lists)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert "revocation list TEST AC RACINE CARNET ELEMENTAIRE (root.crl) ends in 28 days" in caplog.text
    caplog.clear()
    now[0] = ends + timedelta(days=1)
    assert calendar.look() == len(lists)
    assert {record.levelno for record in caplog.records} == {logging.ERROR} and "has ended on" in caplog.text
    Pki.open(world.settings.pki).write_crls(days=365)
    now[0] += timedelta(days=2)
    assert calendar.look() == 0


def test_a_certificate_of_each_kind_is_found(world: World, tmp_path: Path) -> None:
    """The audit certificate and its receiver's authority, and providers of assertions."""
    other = tmp_path / "other.pem"
    other.write_bytes(self_signed("Receiver", authority=True)[1].public_bytes(Encoding.PEM))
    (world.settings.pki / "trust" / "sts-event.pem").write_bytes(self_signed("Event STS")[1].public_bytes(Encoding.PEM))
    audit = world.settings.audit.model_copy(update={"anchors": str(other), "certificate": str(other)})
    found = endings(world.settings.model_copy(update={"audit": audit}), "registry")
    named = {(one.kind, one.file) for one in found}
    assert {("audit", "other.pem"), ("authority", "other.pem"), ("provider", "sts-event.pem")} <= named
    assert found == sorted(found, key=lambda one: one.ends)
