"""``carnet card`` and ``carnet pki``: from keys to certificates, and what becomes of lost and locked cards.

Tokens are used by processes of their own, as a person uses them, against services over real TLS.
"""

from __future__ import annotations

import json
import os
import re
import resource
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from carnet import settings as settings_module
from carnet.cli import main
from carnet.commands import card as card_commands
from carnet.commands import pki as pki_commands
from carnet.commands import serve
from carnet.supervisor import free_ports
from guard.credentials.try_counter import TRIES
from tests import softhsm
from tests.live import ROOT, clean_environment
from tests.world import STRUCTURE, World

PIN = "pin-7391"
PATIENT = "279059999912309^^^&1.2.250.1.213.1.4.10&ISO^NH"
PERSON = ("person", "899700000059", "--surname", "ESSAI", "--given", "Zoé")


@dataclass
class Place:
    """A folder of cards, and the installation they belong to."""

    world: World
    folder: Path

    def run(self, *words: str | Path, expect: int = 0, **environment: str) -> str:
        """One command in this process; returns what it printed. The PIN and the PUKs are never in it."""
        given = {"CARNET_DATA": str(self.world.folder), "CARNET_PIN": PIN, "CARNET_STRUCTURE": STRUCTURE, **environment}
        result = CliRunner().invoke(main, [str(word) for word in words], env=given)
        assert result.exit_code == expect, f"{words}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit)
        self.discreet(result.output)
        return result.output

    def alone(self, *words: str | Path, expect: int = 0, **environment: str) -> str:
        """One command in a process of its own, with the PIN of the tokens."""
        given = {"CARNET_DATA": str(self.world.folder), "CARNET_PIN": softhsm.PIN, "CARNET_STRUCTURE": STRUCTURE}
        done = subprocess.run(
            [sys.executable, "-m", "carnet", *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False,
            env=clean_environment() | given | environment, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == expect, f"{words}: exit {done.returncode}\n{said}"
        self.discreet(said)
        return said

    def discreet(self, said: str) -> None:
        secrets = [PIN, *(file.read_text().strip() for file in self.folder.glob("*.puk"))]
        assert not [secret for secret in secrets if secret in said.replace(str(self.folder), "")]
        assert "Traceback" not in said and not re.search(r"PRIVATE KEY", said)

    def json(self, *words: str | Path, **more: Any) -> Any:
        return json.loads(self.run(*words, "--json", **more))

    def card(self, name: str) -> Path:
        return self.folder / f"{name}.p12"

    def lines(self, *words: str) -> list[dict[str, Any]]:
        return list(self.json("pki", "list", *words))


@pytest.fixture
def place(live: World, tmp_path: Path) -> Place:
    return Place(live, tmp_path)


def of(place: Place, number: str) -> list[dict[str, Any]]:
    return place.lines("--card", number)


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_card_is_locked_and_unlocked(place: Place) -> None:
    """Three wrong PINs, over several commands; the PUK that issue left beside the card gives the tries back."""
    card = place.card("zoe")
    facts = place.json("card", "issue", *PERSON, "--out", card)
    puk = Path(facts["puk_file"])
    assert stat.S_IMODE(puk.stat().st_mode) == 0o600 and facts["products"] == "test"
    for left in ("2 tries left", "1 try left", "locked now"):
        assert left in place.run("card", "show", card, expect=1, CARNET_PIN="0000")
    refused = place.run("card", "show", card, expect=1)
    assert refused == place.run("card", "show", card, expect=1, CARNET_PIN="0000") and "unblock" in refused
    assert "locked" in place.run("query", PATIENT, "--card", card, expect=1)
    assert "not that of" in place.run("card", "unblock", card, expect=1, CARNET_PUK="00000000")
    assert f"{TRIES} tries" in place.run("card", "unblock", card, "--puk-file", puk)
    assert "ESSAI" in place.run("card", "show", card)
    assert "no PUK" in place.run("card", "unblock", card, expect=2)


def test_keys_made_by_their_holder_come_to_their_certificates(place: Place) -> None:
    """Request, signature by the authority, installation: the private keys are never where the authority is."""
    card, request, answer = place.card("own"), place.folder / "own.csr", place.folder / "own.pem"
    place.run("card", "request", card, "--out", request, "--key", "p-256")
    assert "no certificate" in place.run("card", "show", card, expect=1)
    assert "PRIVATE" not in request.read_text()
    made = place.json("pki", "sign", *PERSON, "--request", request, "--out", answer)
    place.run("card", "install", card, answer)
    shown = place.json("card", "show", card)
    assert (shown["name"], shown["number"], shown["can_sign"]) == ("ESSAI Zoé", made["card"], True)
    assert "already exists" in place.run("card", "request", card, "--out", place.folder / "b.csr", expect=1)
    other = place.card("other")
    place.run("card", "issue", "structure", STRUCTURE, "--organisation", "LABORATOIRE FICTIF", "--out", other)
    assert "no certificates belong" in place.run("card", "install", other, answer, expect=1)
    assert "ready" in place.run("card", "install", card, answer), "may be repeated"
    place.run("card", "install", card, request, expect=2)


def test_a_request_without_proof_is_refused(place: Place) -> None:
    """Nothing is issued, nothing is written, nothing is revoked."""
    card, request = place.card("own"), place.folder / "own.csr"
    place.run("card", "request", card, "--out", request, "--key", "p-256")
    text = request.read_text().splitlines()
    text[2] = text[2][::-1]
    request.write_text("\n".join(text))
    before = place.lines()
    out = place.folder / "own.pem"
    place.run("pki", "sign", *PERSON, "--request", request, "--out", out, expect=1)
    place.run("pki", "sign", "replacement", before[0]["card"], "--request", request, "--out", out, expect=1)
    assert place.lines() == before and not out.exists()


def test_renewal_and_replacement(place: Place) -> None:
    """The old certificates stay at a renewal; at a replacement they are revoked, and cannot be renewed any more."""
    first = place.json("card", "issue", *PERSON, "--out", place.card("first"))
    second = place.json("card", "renew", first["number"], "--out", place.card("second"))
    assert second["number"] == first["number"] and {i["state"] for i in of(place, first["number"])} == {"good"}
    assert len(of(place, first["number"])) == 4
    request, answer = place.folder / "third.csr", place.folder / "third.pem"
    place.run("card", "request", place.card("third"), "--out", request, "--key", "p-256")
    place.run("pki", "sign", "renewal", first["number"], "--request", request, "--out", answer)
    assert len(of(place, first["number"])) == 6
    lost = place.json("card", "replace", first["number"], "--out", place.card("fourth"))
    assert lost["number"] != first["number"]
    told = {(i["state"], i["reason"]) for i in of(place, first["number"])}
    assert told == {("revoked", "keyCompromise")}
    assert {i["state"] for i in of(place, lost["number"])} == {"good"}
    for words in (("card", "renew", first["number"], "--out", place.card("fifth")),
                  ("pki", "sign", "renewal", first["number"], "--request", request, "--out", place.folder / "x.pem"),
                  ("card", "renew", "8025000001/none", "--out", place.card("fifth"))):  # fmt: skip
        place.run(*words, expect=1)
    assert not place.card("fifth").exists() and not (place.folder / "x.pem").exists()


def test_revocation_by_serial_card_and_holder(place: Place) -> None:
    """With a reason; one certificate, a card, everything a holder has; the lists show it."""
    words = ("card", "issue", "person", "899700000067", "--surname", "PARTI", "--given", "Ana", "--out")
    cards = [place.json(*words, place.card(f"c{n}"))["number"] for n in range(2)]
    serial = of(place, cards[0])[0]["serial"]
    assert place.json("pki", "revoke", serial, "--reason", "superseded")["reason"] == "superseded"
    assert [i["state"] for i in of(place, cards[0])] == ["revoked", "good"]
    assert len(place.json("pki", "revoke", "--card", cards[0], "--reason", "keyCompromise")) == 2
    assert [i["reason"] for i in of(place, cards[0])] == ["superseded", "keyCompromise"], "the first reason stays"
    assert len(place.json("pki", "revoke", "--holder", "899700000067", "--reason", "cessationOfOperation")) == 4
    assert place.lines("--holder", "899700000067", "--state", "good") == []
    crl = x509.load_pem_x509_crl((place.world.settings.pki / "trust" / "persons.crl").read_bytes())
    entry = crl.get_revoked_certificate_by_serial_number(int(of(place, cards[1])[0]["serial"], 16))
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.cessation_of_operation
    place.run("pki", "revoke", "--card", cards[0], "--holder", "899700000067", expect=2)
    place.run("pki", "revoke", expect=2)
    place.run("pki", "revoke", "--card", "8025000001/none", expect=1)


def test_a_production_installation_says_so(tmp_path: Path) -> None:
    """Chosen when it is made, together with the address of the lists; seen on each card."""
    data, card = tmp_path / "data", tmp_path / "card.p12"
    runner, given = CliRunner(), {"CARNET_DATA": str(data), "CARNET_PIN": PIN}
    words = ["init", "--products", "production", "--pki-url", "http://127.0.0.1:8880"]
    assert runner.invoke(main, words, env=given).exit_code == 0
    done = runner.invoke(main, ["card", "issue", *PERSON, "--out", str(card), "--json"], env=given)
    assert json.loads(done.stdout)["products"] == "production"
    listed = json.loads(runner.invoke(main, ["pki", "list", "--json"], env=given).stdout)
    assert {line["products"] for line in listed} == {"production"}
    assert settings_module.load(data).credentials.products == "production"
    (data / "pki" / "index.json").unlink()
    missing = runner.invoke(main, ["card", "issue", *PERSON, "--out", str(tmp_path / "b.p12")], env=given)
    assert missing.exit_code == 2 and "no authorities" in missing.output


def test_the_pki_is_served(place: Place) -> None:
    """``pki serve``: openssl gets its answer from the process."""
    card = place.json("card", "issue", *PERSON, "--out", place.card("served"))
    serial = of(place, card["number"])[0]["serial"]
    pki = place.world.settings.pki
    words = [sys.executable, "-m", "carnet", "pki", "serve", "--port", "0", "--data", str(place.world.folder)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+/ocsp", process.stdout.readline())
            assert address is not None
            ask = ["openssl", "ocsp", "-issuer", str(pki / "trust" / "persons.pem"), "-serial", f"0x{serial}",
                   "-CAfile", str(pki / "trust" / "ca.pem"), "-url", address[0]]  # fmt: skip
            for expected in (": good", ": revoked"):
                said = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=60)
                assert expected in said.stdout and "verify OK" in said.stderr
                place.run("pki", "revoke", serial)
        finally:
            process.terminate()


def test_serve_all_serves_the_pki_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the services, in the process that watches them; a port that is taken stops it before they start."""
    (port,) = free_ports(1)
    asked: list[int] = []

    class Watching:
        def __init__(self, *_: object) -> None:
            return

        def start(self) -> None:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/crl/persons.crl", timeout=20) as answer:
                asked.append(answer.status)

        def wait_ready(self, _: object) -> None:
            return

        def run(self) -> int:
            return 0

    monkeypatch.setattr(serve, "Supervisor", Watching)
    monkeypatch.setattr(serve, "upgrade", lambda _: None)
    monkeypatch.setattr(pki_commands, "DEFAULT_PORT", port)
    words = ["serve", "all", "--pki", "--data", str(World.prepare(tmp_path / "data").folder)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and asked == [200] and f":{port}/ocsp" in done.output, done.output
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 2 and "cannot listen" in again.output and asked == [200]


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_processes_we_start_do_not_get_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a child can be read by whoever may read its /proc."""
    from carnet.supervisor import clean_environment as given

    monkeypatch.setenv("CARNET_PIN", PIN)
    monkeypatch.setenv("CARNET_PUK", "12345678")
    assert not {"CARNET_PIN", "CARNET_PUK"} & set(given()) and given()["PATH"] == os.environ["PATH"]


def test_no_core_file_is_left_once_a_pin_was_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash would write the PIN and the keys to disk: the limit is set before the PIN is read."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append((kind, limits[0])))
    monkeypatch.setattr(card_commands, "secret", lambda *_, **__: asked.append((-1, -1)) or "1234")
    place.run("card", "issue", *PERSON, "--out", place.card("core"))
    assert asked[0] == (resource.RLIMIT_CORE, 0) and (-1, -1) in asked


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["rsa-2048", "p-256"])
def token(request: pytest.FixtureRequest, live: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Made as a person makes it: keys on the token, request, signature, installation."""
    place = Place(live, tmp_path_factory.mktemp("token"))
    label = f"zoe-{request.param}"
    softhsm.token(label)
    uri, csr, answer = softhsm.uri(label), place.folder / "zoe.csr", place.folder / "zoe.pem"
    place.alone("card", "request", uri, "--out", csr, "--key", request.param)
    place.run("pki", "sign", *PERSON, "--specialty", "SM26", "--request", csr, "--out", answer)
    place.alone("card", "install", uri, answer)
    place.run("patient", "open", PATIENT, "--consent") if request.param == "rsa-2048" else None
    place.run("patient", "allow", PATIENT, "899700000059")
    yield uri


@softhsm.needed
def test_a_token_deposits_asks_and_reads_over_tls(place: Place, token: str) -> None:
    """``send``, ``query``, ``retrieve`` with keys that stay on the token: they connect and they sign."""
    key = "rsa" if "rsa" in token else "ec"
    with as_file(files("fixtures").joinpath("cda", "cr-bio-v1.xml")) as cda:
        report = place.folder / f"{key}.xml"
        unique = str(time.time_ns())
        report.write_text(re.sub(r'(<id root=")[0-9.]+(")', rf"\g<1>1.2.250.1.999.7.{unique}\g<2>",
                                 cda.read_text("utf-8"), count=1), "utf-8")  # fmt: skip
        said = place.alone("send", report, "--card", token, "--patient", PATIENT, "--json")
    sent = json.loads(said.splitlines()[0])
    assert sent["status"] == "deposited", said
    assert sent["unique_id"] in place.alone("query", PATIENT, "--card", token)
    out = place.folder / "read"
    place.alone("retrieve", PATIENT, sent["unique_id"], "--card", token, "--out", out)
    assert [file.read_bytes() for file in out.iterdir()] == [report.read_bytes()]


@softhsm.needed
def test_a_token_shows_and_asserts(place: Place, token: str) -> None:
    """Who it is, and an assertion that the service's own verifier takes."""
    shown = json.loads(place.alone("card", "show", token, "--json"))
    assert (shown["identifier"], shown["can_sign"], shown["specialties"]) == ("899700000059", True, ["SM26"])
    assertion = place.alone("card", "assert", "--card", token, "--patient", PATIENT)
    assert "SignatureValue" in assertion and "899700000059" in assertion


@softhsm.needed
@pytest.mark.parametrize("token", ["p-256"], indirect=True)
def test_a_token_under_a_wrong_pin_is_refused(place: Place, token: str) -> None:
    """The same words from every command; a PIN in the address, and no PIN, are misuse."""
    for words in (("query", PATIENT, "--card", token), ("card", "show", token)):
        said = place.alone(*words, expect=1, CARNET_PIN="999999")
        assert "the PIN does not open pkcs11:token=zoe-" in said and "999999" not in said
    place.alone("card", "show", token)
    said = place.alone("query", PATIENT, "--card", f"{token}&pin-value=4719", expect=2)
    assert "no place" in said and "4719" not in said
    source = place.folder / "pin.txt"
    source.write_text(softhsm.PIN)
    shown = place.alone("card", "show", f"{token}&pin-source=file:{source}", CARNET_PIN="999999")
    assert "899700000059" in shown


@softhsm.needed
def test_a_revoked_token_is_refused_by_the_services(place: Place, live: World) -> None:
    """Its key still answers, its certificate no longer counts."""
    softhsm.token("revoked")
    uri, csr, answer = softhsm.uri("revoked"), place.folder / "r.csr", place.folder / "r.pem"
    place.alone("card", "request", uri, "--out", csr, "--key", "p-256")
    words = ("person", "899700000075", "--surname", "PERDU", "--given", "Ivo")
    made = place.json("pki", "sign", *words, "--request", csr, "--out", answer)
    place.alone("card", "install", uri, answer)
    place.run("pki", "revoke", "--card", made["card"], "--reason", "keyCompromise")
    deadline = time.monotonic() + 20
    while True:
        said = place.alone("query", PATIENT, "--card", uri, expect=1)
        if "FailedAuthentication" in said or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert "FailedAuthentication" in said
