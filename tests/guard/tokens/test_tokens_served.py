"""The token service as a process, over mutual TLS: asked by zeep from its own description, and by the command line.

Clause: WS-Trust 1.3 3, 4, 7, 8
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zeep
from click.testing import CliRunner, Result
from lxml import etree
from zeep.exceptions import Fault

from carnet.cli import main
from conformance.token_client import OUR_SOFTWARE
from conformance.zeep_transport import MtomTransport
from guard.credentials import vihf
from guard.tokens.request import DIALECT, ID_TOKEN, SAML2
from tests.guard.tokens.conftest import CLIENT, SECTOR, Desk, a_person, signer_sha256
from tests.guard.tokens.test_issue_by_card import said
from tests.live import INDISCREET, a_document, provide, submission_of
from tests.openid_provider import Provider
from tests.world import STRUCTURE
from xds.namespaces import SAML, WSSE, WST

PIN = "pin-4417"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, provider: Provider, secrets: dict[str, str]) -> Iterator[Desk]:
    """``serve all`` with the token service switched on."""
    desk = Desk.prepare(tmp_path_factory.mktemp("served"), provider, secrets, "dmp")
    desk.world.serve_processes()
    yield desk
    desk.world.stop()


def zeep_of(desk: Desk, who: str) -> Any:
    """zeep, given nothing but the address and a card."""
    base = desk.world.settings.tokens_url
    transport = MtomTransport(base, desk.cards[who], desk.world.folder / "pki" / "trust" / "ca.pem")
    return zeep.Client(f"{base}/services/tokens?wsdl", transport=transport)


def claims(**more: str) -> dict[str, Any]:
    given = OUR_SOFTWARE | {vihf.STRUCTURE: STRUCTURE, vihf.SECTOR: SECTOR} | more
    return {"Dialect": DIALECT, "ClaimType": [{"Uri": uri, "Value": value} for uri, value in given.items()]}


def assertion_in(answer: Any) -> etree._Element:
    (response,) = answer
    held = response.RequestedSecurityToken["_value_1"]
    assert held.tag == f"{{{SAML}}}Assertion"
    found: etree._Element = held
    return found


def test_zeep_asks_for_a_token_and_the_services_take_it(served: Desk) -> None:
    """Typed calls throughout: issue by card, use at registry and repository, judge, take back, judge again."""
    client, patient_id = zeep_of(served, "physician").service, served.world.patient()
    data = a_document()
    made = submission_of(data, patient_id)
    assert provide(served.world.client(), made, data).is_success
    expires = datetime.now(UTC) + timedelta(minutes=10)
    answer = client.Issue(
        TokenType=SAML2, RequestType=f"{WST}/Issue", Claims=claims(**{vihf.RESOURCE_ID: patient_id}),
        Lifetime={"Expires": expires}, Context="urn:essai:1",
    )
    assert (answer[0].TokenType, answer[0].Context) == (SAML2, "urn:essai:1")
    element = assertion_in(answer)
    signed = etree.tostring(element)
    identifier = answer[0].RequestedUnattachedReference.SecurityTokenReference.KeyIdentifier["_value_1"]
    assert identifier == element.get("ID")
    user = served.using("physician", signed)
    found = served.find("physician", signed, patient_id)
    assert [one.unique_id for one in found.objects] == [made.entries[0].unique_id]
    outcome, items = user.retrieve(
        [(served.world.settings.repository.unique_id, made.entries[0].unique_id)], Bytes, patient_id=patient_id
    )
    assert outcome.is_success and items[0].received == data
    status = client.Validate(RequestType=f"{WST}/Validate", ValidateTarget={"_value_1": element})
    assert status.Status.Code == f"{WST}/status/valid"
    client.Cancel(RequestType=f"{WST}/Cancel", CancelTarget={"_value_1": element})
    status = client.Validate(RequestType=f"{WST}/Validate", ValidateTarget={"_value_1": element})
    assert status.Status.Code == f"{WST}/status/invalid" and status.Status.Reason
    with pytest.raises(Exception, match="could not be authenticated"):
        served.find("physician", signed, patient_id)
    with pytest.raises(Exception, match="could not be authenticated"):
        served.using("physician", signed).retrieve(
            [(served.world.settings.repository.unique_id, made.entries[0].unique_id)], Bytes, patient_id=patient_id
        )


class Bytes:
    """A sink that keeps the bytes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes | memoryview) -> None:
        self.data += bytes(chunk)

    def finish(self) -> bytes:
        return self.data

    def abort(self) -> None:
        return


def test_zeep_presents_a_login(served: Desk) -> None:
    """A structure's certificate on the connection, the two tokens as binary security tokens."""
    tokens, patient_id = served.login(a_person("anne")), served.world.patient()
    kinds = {ID_TOKEN: tokens["id_token"], "urn:ietf:params:oauth:token-type:access_token": tokens["access_token"]}
    sent = [
        {"ValueType": kind, "_value_1": base64.b64encode(token.encode()).decode()} for kind, token in kinds.items()
    ]
    answer = zeep_of(served, "laboratory").service.Issue(
        RequestType=f"{WST}/Issue", Claims=claims(**{vihf.RESOURCE_ID: patient_id}),
        OnBehalfOf={"BinarySecurityToken": sent},
    )
    signed = etree.tostring(assertion_in(answer))
    assert served.find("laboratory", signed, patient_id).outcome.is_success


def test_zeep_reads_our_faults(served: Desk) -> None:
    """Code, subcode of WS-Trust and reason."""
    with pytest.raises(Fault) as caught:
        zeep_of(served, "physician").service.Issue(RequestType=f"{WST}/Renew")
    assert "RequestType" in caught.value.message
    assert any("InvalidRequest" in str(code) for code in caught.value.subcodes)


def test_the_description_is_complete_offline(served: Desk) -> None:
    """Every schema comes from the service; the page for a person names the three verbs."""
    client = zeep_of(served, "physician")
    assert set(client.wsdl.bindings) and {str(t.qname.namespace) for t in client.wsdl.types.elements} >= {WST, WSSE}
    page = client.transport.session.get(f"{served.world.settings.tokens_url}/services/tokens").text
    assert page.count("WS-Trust") >= 3


# -- the command line --------------------------------------------------------------------------------------------------


def run(desk: Desk, *words: str | Path, expect: int = 0, given: str = "") -> Result:
    environment = {"CARNET_DATA": str(desk.world.folder), "CARNET_PIN": PIN}
    result = CliRunner().invoke(main, [str(word) for word in words], env=environment, input=given or None)
    assert result.exit_code == expect, f"{words}: exit {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def cards(served: Desk, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cards")
    return {name: served.cards[name].save(folder / f"{name}.p12", PIN) for name in ("physician", "laboratory")}


def test_a_person_at_a_terminal(served: Desk, cards: dict[str, Path], tmp_path: Path) -> None:
    """Issue, query with it, from a file and through a pipe, validate, cancel, validate again."""
    patient_id, anne = served.world.patient(), ("--card", cards["physician"])
    issued = run(served, "token", "issue", *anne, "--structure", STRUCTURE, "--patient", patient_id).stdout
    told = json.loads(run(served, "token", "issue", *anne, "--structure", STRUCTURE, "--json").stdout)
    assert etree.fromstring(told["assertion"]).get("ID") == told["id"] != ""
    file = tmp_path / "anne.xml"
    file.write_text(issued, "utf-8")
    assert said(issued.encode().strip(), "//s:AuthnContextDecl/text()") == [vihf.SMARTCARD_PKI]
    assert run(served, "query", patient_id, *anne, "--assertion", file).output == "nothing found\n"
    assert run(served, "query", patient_id, *anne, "--assertion", "-", given=issued).output == "nothing found\n"
    assert run(served, "token", "validate", file, *anne).output == "valid\n"
    assert "cancelled _" in run(served, "token", "cancel", file, *anne).output
    assert json.loads(run(served, "token", "validate", file, *anne, "--json", expect=1).output)["valid"] is False
    run(served, "query", patient_id, *anne, "--assertion", file, expect=1)
    run(served, "token", "cancel", file, "--card", cards["laboratory"], expect=1)


def test_software_that_cannot_sign(served: Desk, cards: dict[str, Path], tmp_path: Path) -> None:
    """A login in, a query out; the ID token comes from a file or standard input, never from an argument."""
    patient_id, lab = served.world.patient(), ("--card", cards["laboratory"])
    tokens = served.login(a_person("anne"))
    access = tmp_path / "access.txt"
    access.write_text(tokens["access_token"] + "\n", "utf-8")
    words = ("token", "issue", *lab, "--login", "-", "--access-token", access, "--patient", patient_id)
    issued = run(served, *words, given=tokens["id_token"] + "\n").stdout
    assert run(served, "query", patient_id, *lab, "--assertion", "-", given=issued).output == "nothing found\n"
    refused = run(served, *words, given=tokens["id_token"], expect=1).output
    assert "The login could not be verified" in refused


def test_misuse_and_an_absent_peer(served: Desk, cards: dict[str, Path], tmp_path: Path) -> None:
    anne = ("--card", cards["physician"])
    nothing = tmp_path / "nothing.xml"
    nothing.write_text("no assertion", "utf-8")
    run(served, "token", "validate", nothing, *anne, expect=2)
    run(served, "query", served.world.patient(), *anne, "--assertion", nothing, expect=2)
    ca = served.world.folder / "pki" / "trust" / "ca.pem"
    absent = ("--tokens-url", "https://127.0.0.1:1", "--ca", ca)
    run(served, "token", "issue", *anne, "--structure", STRUCTURE, *absent, expect=3)


def test_the_signer_and_the_setting_that_lists_it(served: Desk) -> None:
    told = json.loads(run(served, "token", "signer", "--json").output)
    assert (told["sha256"], told["is_listed"]) == (signer_sha256(served.world.folder), True)
    assert f'token_services = ["{told["sha256"]}"]' in run(served, "token", "signer").output


def test_its_log_is_a_chain_and_holds_no_token(served: Desk, cards: dict[str, Path]) -> None:
    """`carnet log` shows it beside the others; it verifies; no token, key or signature is in it or in any output.

    Rule: W-13
    """
    served.login(a_person("anne"))
    run(served, "token", "issue", "--card", cards["physician"], "--structure", STRUCTURE)
    assert "WS-Trust Issue" in run(served, "log", "--all", "--last", "50", "--json").output
    assert "was given an assertion" in run(served, "log", "--all", "--last", "50", "--lang", "en").output
    verified = json.loads(run(served, "log", "verify", "--json").output)
    (own,) = [one for one in verified if one["log"] == "tokens"]
    assert own["lines"] > 3 and own["flaws"] == []
    path = Path(served.world.settings.tokens_database.removeprefix("sqlite:///"))
    held = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not re.search(rb"eyJ[A-Za-z0-9_-]{20}|SignatureValue|PRIVATE KEY|<saml2", held)


def test_its_audit_messages(served: Desk, cards: dict[str, Path]) -> None:
    """A login with its outcome, from the node that took it."""
    run(served, "token", "issue", "--card", cards["physician"], "--structure", STRUCTURE)
    messages = run(served, "log", "--atna", "--all", "--last", "30").output
    assert 'csd-code="110122"' in messages and "carnet-tokens" in messages
    assert not INDISCREET.search(re.sub(r"2790599\d{8}", "", messages).replace("ESSAI", ""))


def test_the_client_secret_is_not_ours(served: Desk, secrets: dict[str, str]) -> None:
    """The service needs the provider's public keys and nothing that could log anybody in."""
    text = (served.world.folder / "carnet.toml").read_text("utf-8")
    assert CLIENT in text and secrets[CLIENT] not in text
