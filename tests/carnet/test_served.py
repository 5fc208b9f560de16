"""What ``carnet serve`` is told about the domain holds for the other commands too; what it cannot serve it says."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from carnet import acceptance, hold, wiring
from carnet import settings as settings_module
from carnet.assertions import Desk
from carnet.cli import main
from carnet.commands import init, serve
from carnet.console import Misuse
from carnet.settings import load, write_served
from carnet.supervisor import free_ports, ready_process
from guard.credentials.rule import Required
from tests.live import ROOT, clean_environment


def installation(folder: Path, toml: str = "") -> Path:
    (folder / settings_module.FILE_NAME).write_text(toml, "utf-8")
    return folder


def test_the_domain_served_is_followed_and_forgotten(tmp_path: Path) -> None:
    """As served: above the file, below a flag; without the note the file counts."""
    data = installation(tmp_path, '[domain]\nname = "dmp"\n[registry]\nport = 4000\n')
    codes = str(tmp_path / 'a "quoted" \\ name.xml')
    write_served(data, load(data, domain={"name": "connectathon", "codes": codes, "credentials": "off"}))
    followed = load(data, as_served=True)
    assert (followed.domain.name, followed.domain.codes, followed.domain.credentials) == ("connectathon", codes, "off")
    assert followed.registry.port == 4000
    assert load(data).domain.name == "dmp"
    assert load(data, as_served=True, domain={"name": "dmp"}).domain.name == "dmp"
    write_served(data, None)
    assert load(data, as_served=True).domain.name == "dmp"
    write_served(data, None)


def test_a_setting_may_overrule_the_domain(tmp_path: Path) -> None:
    """Direct registration, audiences, issuers, roles, purposes and lifetime: the setting, else the domain."""
    data = installation(tmp_path, '[registry]\ndirect_registration = ""\n[domain]\nname = "connectathon"\n')
    plain = load(data)
    domain = wiring.domain_of(plain)
    assert acceptance.takes_direct_registration(plain, domain)
    assert not acceptance.takes_direct_registration(load(data, registry={"direct_registration": False}), domain)
    french = load(data, domain={"name": "dmp"})
    assert not acceptance.takes_direct_registration(french, wiring.domain_of(french))
    assert acceptance.takes_direct_registration(load(data, registry={"direct_registration": True}), domain)
    assert acceptance.credential_rule(plain, domain).max_lifetime == 43200
    chosen = {"audiences": ["urn:a"], "issuers": ["urn:i"], "roles": ["1^^2"], "purposes": ["3^^4"], "max_lifetime": 60}
    rule = acceptance.credential_rule(load(data, credentials=chosen), domain)
    assert (rule.audiences, rule.issuers, rule.max_lifetime) == (frozenset({"urn:a"}), frozenset({"urn:i"}), 60)
    assert (rule.roles, rule.purposes) == (frozenset({"1^^2"}), frozenset({"3^^4"}))
    desk = Desk.of(load(data, credentials=chosen, domain={"name": "connectathon", "credentials": "assertion"}))
    assert desk.mode is Required.ASSERTION and desk.audience == "urn:a"
    assert desk.purpose("").key == "3^^4"


def test_a_desk_knows_its_purposes() -> None:
    """French ones by name in ``dmp``; elsewhere a listed code, or any code with its system."""
    french = Desk()
    assert french.purpose("").code == "normal" and french.purpose("centre_15").code == "centre_15"
    with pytest.raises(ValueError, match="bris_de_glace"):
        french.purpose("TREATMENT")
    plain = Desk(is_vihf=False, purposes={"1^^2": "one"})
    assert plain.purpose("").display == "one" and plain.purpose("1").key == "1^^2"
    assert plain.purpose("9^^9").key == "9^^9"
    with pytest.raises(ValueError, match="9 is not code"):
        plain.purpose("9")


def here(folder: Path, *words: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(main, words, env={"CARNET_DATA": str(folder), "CARNET_PIN": "0000"})


def carnet(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carnet", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env=clean_environment() | {"CARNET_DATA": str(folder), "CARNET_PIN": "0000"},
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--credentials", "off"], "always needs a signed assertion"),
        (["--domain", "nowhere"], "give one of connectathon, dmp"),
        (["--domain", "connectathon", "--codes", "broken.xml"], "broken.xml: line 1"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(tmp_path: Path, flags: list[str], said: str) -> None:
    """Misuse, one line with the remedy, and no process left."""
    init.create(tmp_path / "data")
    (tmp_path / "broken.xml").write_text("<Codes>", "utf-8")
    flags = [str(tmp_path / f) if f.endswith(".xml") else f for f in flags]
    ended = here(tmp_path / "data", "serve", "all", *flags)
    assert ended.exit_code == 2 and said in ended.stderr and isinstance(ended.exception, SystemExit)


@pytest.mark.parametrize("words", [("all",), ("all", "--domain", "dmp"), ("registry", "--domain", "connectathon")])
def test_an_empty_folder_is_told_to_init(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Records may be missing where a disk is not mounted: nothing new is made in their place."""
    ended = here(tmp_path / "none", "serve", *words)
    assert ended.exit_code == 2 and "carnet init" in ended.stderr
    assert not (tmp_path / "none").exists()


def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path) -> None:
    """Before anything is started. The other services of the machine are not asked who they are."""
    init.create(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = load(tmp_path / "data", repository={"admin_port": port}, registry={"port": 0, "admin_port": 0})
        with pytest.raises(Misuse, match=f"127.0.0.1:{port} cannot be used .*in use") as said:
            serve.look_for_ports(settings)
    assert "repository.admin_port (CARNET__REPOSITORY__ADMIN_PORT=" in str(said.value)


HOLDING = "import pathlib, sys; from carnet.hold import hold; hold(pathlib.Path(sys.argv[1]), sys.argv[2:]); " \
          "print(flush=True); sys.stdin.read()"


def test_a_folder_is_served_once(tmp_path: Path) -> None:
    """The second is told who holds it and what to do, before it notes or starts anything; kill -9 lets go at once."""
    data = tmp_path / "data"
    init.create(data)
    words = [sys.executable, "-c", HOLDING, str(data), "registry"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"\n"
        for what in ("all", "registry"):
            ended = carnet(data, "serve", what, "--domain", "connectathon")
            assert ended.returncode == 2 and "Traceback" not in ended.stderr
            assert f"registry of {data} is served already, by process {holder.pid}:" in ended.stderr
            assert "--data" in ended.stderr and not (data / settings_module.SERVED_NAME).exists()
        hold.hold(data, ["repository"])
        with pytest.raises(hold.AlreadyServed):
            hold.hold(data, ["registry"])
        holder.kill()
        holder.wait()
        hold.hold(data, ["registry"])
    assert (data / "registry.lock").read_text() == f"{os.getpid()}\n"


def test_a_file_system_without_locks_is_said_to_be_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is sent to look for a process that does not exist."""
    def unlocked(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("carnet.hold.fcntl.lockf", unlocked)
    with pytest.raises(Misuse, match="No locks available"):
        serve.hold_folder(load(installation(tmp_path)), ["registry"])


def test_one_line_for_a_tester(tmp_path: Path) -> None:
    """serve with its options alone, in a folder that is not there yet; card and patient commands need none of them."""
    data, codes = tmp_path / "data", tmp_path / "codes.xml"
    codes.write_bytes((ROOT / "schemas" / "domains" / "connectathon" / "codes.xml").read_bytes())
    ports = free_ports(4)
    names = ("REGISTRY__PORT", "REGISTRY__ADMIN_PORT", "REPOSITORY__PORT", "REPOSITORY__ADMIN_PORT")
    places = {f"CARNET__{name}": str(port) for name, port in zip(names, ports, strict=True)}
    flags = ["--domain", "connectathon", "--codes", str(codes), "--credentials", "assertion"]
    command = [sys.executable, "-m", "carnet", "serve", "all", "--data", str(data), *flags]
    server = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment() | places, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        admin = [f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[3]}"]
        deadline = time.monotonic() + 60
        while not all(ready_process(address) for address in admin):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        again = carnet(data, "serve", "all")
        assert again.returncode == 2 and f"is served already, by process {server.pid}" in again.stderr
        patient, card = "T-1^^^&1.3.6.1.4.1.21367.2005.3.7&ISO", str(tmp_path / "anne.p12")
        issue = ("card", "issue", "person", "899700000018", "--surname", "A", "--given", "B", "--out", card)
        assert here(data, *issue).exit_code == 0
        assert here(data, "patient", "add", patient).exit_code == 0
        assert 'code="TREATMENT"' in here(data, "card", "assert", "--card", card, "--patient", patient).stdout
    finally:
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=60)
    assert b"carnet patient add" in out and b"credentials assertion" in out
    assert b"a new installation" in out and b"pki/trust/ca.pem" in out and b"openssl pkcs12" in out


def test_the_banner_names_every_door_and_asks_for_no_card_it_does_not_need(tmp_path: Path) -> None:
    """Transactions, the identity feed and plain ports; card commands only where a card is looked at."""
    data = installation(tmp_path, '[registry]\nmllp_port = 2575\nmllp_tls = false\nhttp_port = 8082\n'
                                  '[domain]\nname = "connectathon"\ncredentials = "off"\n')
    said = serve.endpoints(load(data))
    for words in ("ITI-41, 43, 86", "18, 44, 51, 57, 62, 92", ":2575   (ITI-8, MLLP, without TLS)", ":8082/"):
        assert words in said
    assert "card" not in said
    installation(tmp_path, '[domain]\nname = "connectathon"\ncredentials = "assertion"\n')
    said = serve.endpoints(load(data))
    assert "carnet card issue" in said and "ITI-8" not in said
