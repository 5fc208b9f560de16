"""An OpenID Connect login against an assertion: a real provider, code flow with PKCE, claims of Pro Santé Connect.

Clause: OpenID Connect Core 1.0 3.1; DMP VIHF 1 (AIR); Pro Santé Connect
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guard.credentials import vihf
from guard.credentials.vouched import BROWSER_LOGIN
from guard.tokens.request import NONCE
from tests.guard.tokens.conftest import ACTIVITY, ANNE, CLIENT, EXERCISE, OTHER_CLIENT, Desk, a_person
from tests.guard.tokens.test_issue_by_card import said
from tests.openid_provider import Provider
from tests.world import PHYSICIAN, STRUCTURE
from xds.wire.client import FaultReceived


@pytest.fixture
def anne() -> str:
    return a_person("anne")


def by_login(desk: Desk, tokens: dict[str, str], who: str = "laboratory", **claims: str) -> bytes:
    """The assertion for a login that the structure presents."""
    return desk.asking(who).issue(claims, id_token=tokens["id_token"], access_token=tokens["access_token"])


def test_a_login_becomes_an_assertion_that_the_registry_takes(desk: Desk, anne: str) -> None:
    """The structure connects, she has logged in: her identifier, profession, specialty and sector come from there.

    Rule: W-01, W-02
    """
    patient_id = desk.world.patient()
    assertion = by_login(desk, desk.login(anne), **{vihf.RESOURCE_ID: patient_id})
    assert said(assertion, "s:Subject/s:NameID/text()") == [PHYSICIAN]
    assert said(assertion, "//*[local-name()='Role']/@code") == ["10", "SM26"]
    assert said(assertion, "//s:AuthnContextDecl/text()") == [BROWSER_LOGIN]
    assert said(assertion, "//s:AuthnContextClassRef/text()") == [vihf.CLASSES + "unspecified"]
    values = {
        name: said(assertion, f"//s:Attribute[@Name='{name}']/s:AttributeValue/text()")
        for name in (vihf.STRUCTURE, vihf.SECTOR, vihf.AUTHENTICATION_MODE, vihf.SUBJECT_ID)
    }
    assert list(values.values()) == [[STRUCTURE], [f"SA01^{vihf.SECTORS}"], ["INDIRECTE_RENFORCEE"], ["ESSAI Anne"]]
    assert desk.find("laboratory", assertion, patient_id).outcome.is_success
    line = desk.world.log_of(patient_id)[-1]
    assert (line.caller_id, line.mode, line.structure_id) == (PHYSICIAN, "INDIRECTE_RENFORCEE", STRUCTURE)
    issued = desk.lines(1)[0]
    assert (issued.caller_id, issued.detail) == (PHYSICIAN, f"by login, client {CLIENT}")


def test_only_the_structure_that_presented_the_login_can_use_it(desk: Desk, anne: str) -> None:
    """Not another structure, nor a card, hers included: it has not been seen. Rule: W-04"""
    patient_id = desk.world.patient()
    assertion = by_login(desk, desk.login(anne), **{vihf.RESOURCE_ID: patient_id})
    for who in ("other", "physician", "colleague"):
        with pytest.raises(FaultReceived, match="could not be authenticated"):
            desk.find(who, assertion, patient_id)


def test_the_moment_of_the_login_is_kept(desk: Desk, anne: str) -> None:
    """AuthnInstant is auth_time, not the moment of issue."""
    assertion = by_login(desk, desk.login(anne))
    assert said(assertion, "//@AuthnInstant")[0].endswith(".000Z") and said(assertion, "//@AuthnInstant")[0] <= said(
        assertion, "@IssueInstant"
    )[0]  # fmt: skip


def test_plain_xua(event: Desk, anne: str) -> None:
    """In a test event: the roles the domain accepts, here the profession alone."""
    patient_id = event.world.patient()
    assertion = by_login(event, event.login(anne), **{vihf.RESOURCE_ID: patient_id})
    assert said(assertion, "//*[local-name()='Role']/@code") == ["10"]
    assert event.find("laboratory", assertion, patient_id).outcome.is_success


def test_it_is_refused_where_the_service_is_not_listed(unlisted: Desk, anne: str) -> None:
    """Whatever the provider says. Rule: W-03"""
    patient_id = unlisted.world.patient()
    assertion = by_login(unlisted, unlisted.login(anne), **{vihf.RESOURCE_ID: patient_id})
    with pytest.raises(FaultReceived, match="could not be authenticated"):
        unlisted.find("laboratory", assertion, patient_id)


def test_a_login_serves_once(desk: Desk, anne: str) -> None:
    """The second use is refused; a request that failed for another reason has used nothing up. Rule: W-07"""
    tokens = desk.login(anne)
    with pytest.raises(FaultReceived, match="InvalidRequest"):
        by_login(desk, tokens, **{vihf.RESOURCE_ID: "nobody"})
    by_login(desk, tokens)
    with pytest.raises(FaultReceived, match="FailedAuthentication: The login could not be verified"):
        by_login(desk, tokens)
    assert desk.lines(1)[0].reason == "login: used before"


def test_a_nonce_that_is_given_is_compared(desk: Desk, anne: str) -> None:
    """Rule: W-05"""
    tokens = desk.login(anne, nonce="n-0S6_WzA2Mj")
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, tokens, **{NONCE: "another"})
    assert desk.lines(1)[0].reason == "login: nonce is another"
    by_login(desk, tokens, **{NONCE: "n-0S6_WzA2Mj"})


def test_the_login_of_a_weak_level_is_refused(desk: Desk, anne: str) -> None:
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, desk.login(anne, acr="eidas0"))
    assert "acr" in desk.lines(1)[0].reason


def test_a_login_at_another_client_is_refused(desk: Desk, anne: str) -> None:
    """The software of another structure got it; and the other way about. Rule: W-06"""
    for client, who in ((OTHER_CLIENT, "laboratory"), (CLIENT, "other")):
        with pytest.raises(FaultReceived, match="FailedAuthentication"):
            by_login(desk, desk.login(anne, client), who)
        assert "is not of the calling structure" in desk.lines(1)[0].reason


def test_a_card_presents_no_login(desk: Desk, anne: str) -> None:
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, desk.login(anne), "physician")


def test_another_structure_cannot_be_claimed(desk: Desk, anne: str) -> None:
    with pytest.raises(FaultReceived, match="expected the structure that connects"):
        by_login(desk, desk.login(anne), **{vihf.STRUCTURE: "10B0000099"})


def with_exercises(*exercises: dict[str, Any]) -> dict[str, Any]:
    return {"SubjectRefPro": {"exercices": list(exercises)}}


def exercise(activities: list[dict[str, Any]], **changes: str) -> dict[str, Any]:
    return copy.deepcopy(EXERCISE) | changes | {"activities": activities}


UNPROVEN = [
    ("works-elsewhere", with_exercises(exercise([ACTIVITY | {"numeroFinessSite": "990000001"}])), "no activity in the"),
    ("works-nowhere", {"SubjectRefPro": {"exercices": []}}, "no activity in the"),
    ("undescribed", {"SubjectRefPro": None}, "SubjectRefPro is missing"),
    ("nobody", {"SubjectNameID": ""}, "SubjectNameID is missing"),
    ("test-identity", {"SubjectNameID": "ANS20231122132732"}, "SubjectNameID is missing or no national identifier"),
    ("two-activities", with_exercises(exercise([ACTIVITY, ACTIVITY | {"codeSecteurDactivite": "SA07"}])), "several"),
    ("unknown-profession", with_exercises(exercise([ACTIVITY], codeProfession="4711")), "has no role here"),
    ("a-list", with_exercises(exercise([ACTIVITY], codeProfession=["10"])), "codeProfession is not text"),  # type: ignore[arg-type]
    ("no-list", {"SubjectRefPro": {"exercices": {"0": 1}}}, "exercices is not a list"),
    ("split", {"SubjectNameID": "899700000018\n"}, "SubjectNameID is not text"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), UNPROVEN, ids=[one[0] for one in UNPROVEN])
def test_a_person_who_cannot_be_placed_is_refused(desk: Desk, name: str, changes: Any, reason: str) -> None:
    """One answer for all, the reason in the log. Rule: W-02, W-08"""
    with pytest.raises(FaultReceived, match="FailedAuthentication: The login could not be verified"):
        by_login(desk, desk.login(a_person(name, **changes)))
    assert reason in desk.lines(1)[0].reason


def test_the_caller_chooses_among_the_activities(desk: Desk) -> None:
    """Two professions and two sectors in one structure; a role that is not hers is refused."""
    nurse = exercise([ACTIVITY], codeProfession="60", codeSavoirFaire="")
    both = a_person("both", **with_exercises(exercise([ACTIVITY, ACTIVITY | {"codeSecteurDactivite": "SA07"}]), nurse))
    chosen = by_login(desk, desk.login(both), **{vihf.ROLE: "60^^1.2.250.1.71.1.2.7"})
    assert said(chosen, "//*[local-name()='Role']/@code") == ["60"]
    where = {vihf.ROLE: "10^^1.2.250.1.71.1.2.7", vihf.SECTOR: f"SA07^{vihf.SECTORS}"}
    assert f"SA07^{vihf.SECTORS}" in said(by_login(desk, desk.login(both), **where), "//s:AttributeValue/text()")
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, desk.login(both), **{vihf.ROLE: "21^^1.2.250.1.71.1.2.7"})


def test_a_student_is_no_physician_yet(desk: Desk) -> None:
    """codeCategorieProfessionnelle E: the role has a code system of its own."""
    student = a_person("student", **with_exercises(exercise([ACTIVITY], codeCategorieProfessionnelle="E")))
    schemes = said(by_login(desk, desk.login(student)), "//*[local-name()='Role']/@codeSystem")
    assert schemes[0] == "1.2.250.1.71.1.2.8"


def test_without_the_access_token_the_person_is_not_described(desk: Desk, anne: str) -> None:
    """This provider says who she is in the ID token, and what she does only at its userinfo."""
    tokens = desk.login(anne)
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, tokens | {"access_token": ""})
    assert "the access token has to come along" in desk.lines(1)[0].reason


def test_the_access_token_of_another_person_is_refused(desk: Desk, anne: str) -> None:
    other = a_person("luc", sub="f:essai:luc", SubjectNameID="899700000034")
    tokens = desk.login(anne) | {"access_token": desk.login(other)["access_token"]}
    with pytest.raises(FaultReceived, match="FailedAuthentication"):
        by_login(desk, tokens)
    assert desk.lines(1)[0].reason == "login: userinfo is of another person"


@pytest.fixture
def down(provider: Provider) -> Iterator[Provider]:
    yield provider
    provider.down = False


def test_a_provider_that_is_down_refuses_nobody_for_good(
    tmp_path: Path, down: Provider, secrets: dict[str, str], anne: str
) -> None:
    """Another fault than for a bad login, nothing used up; afterwards the same login serves."""
    desk = Desk.prepare(tmp_path / "tokens", down, secrets, "dmp").serve_here()
    tokens = desk.login(anne)
    by_login(desk, desk.login(anne))  # the keys are known from here on
    down.down = True
    with pytest.raises(FaultReceived, match="RequestFailed: The token service cannot answer now"):
        by_login(desk, tokens)
    assert desk.lines(1)[0].reason.startswith("login: userinfo: OSError")
    down.down = False
    by_login(desk, tokens)


def test_keys_may_come_from_a_file(tmp_path: Path, provider: Provider, secrets: dict[str, str], anne: str) -> None:
    """For an operator who lets nothing out; the provider is then asked for the person alone."""
    keys = tmp_path / "keys.json"
    keys.write_text(provider.server.keyjar.export_jwks_as_json(), "utf-8")
    desk = Desk.prepare(tmp_path / "tokens", provider, secrets, "dmp", keys=str(keys)).serve_here()
    tokens, before = desk.login(anne), len(provider.asked)
    by_login(desk, tokens)
    assert provider.asked[before:] == ["/userinfo"]


def test_a_login_may_serve_until_it_ends(
    tmp_path: Path, provider: Provider, secrets: dict[str, str], anne: str
) -> None:
    """tokens.login_once false: one assertion for each patient out of one login."""
    desk = Desk.prepare(tmp_path / "tokens", provider, secrets, "dmp", login_once=False).serve_here()
    tokens = desk.login(anne)
    assert said(by_login(desk, tokens), "@ID") != said(by_login(desk, tokens), "@ID")


def test_anne_is_fictive() -> None:
    """What the other tests change is their own copy."""
    assert ANNE["SubjectRefPro"]["exercices"] == [EXERCISE] and EXERCISE["activities"] == [ACTIVITY]
