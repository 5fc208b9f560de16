"""What the token service keeps, on every engine."""

from __future__ import annotations

import threading

import pytest

from guard.audit import access_log
from guard.tokens.store import IssuedToken
from storage import SqlTokensDatabase


def a_token(token_id: str, until: int = 1000, holder: str = "person:1") -> IssuedToken:
    return IssuedToken(token_id=token_id, issuer="CN=issuer", holder=holder, until=until)


def test_a_token_is_taken_back_by_its_holder(tokens: SqlTokensDatabase) -> None:
    """Once or more; not by another, and not one that was never issued."""
    with tokens.write() as unit:
        unit.tokens.add(a_token("_1"))
        unit.tokens.add(a_token("_2"))
    with tokens.write() as unit:
        assert not unit.tokens.cancel("_1", "person:2")
        assert not unit.tokens.cancel("_9", "person:1")
        assert unit.tokens.cancel("_1", "person:1") and unit.tokens.cancel("_1", "person:1")
    with tokens.read() as unit:
        assert unit.tokens.cancelled(999) == [("CN=issuer", "_1")]
        assert unit.tokens.cancelled(1000) == []


def test_an_identifier_is_issued_once(tokens: SqlTokensDatabase) -> None:
    with tokens.write() as unit:
        unit.tokens.add(a_token("_1"))
    with pytest.raises(KeyError), tokens.write() as unit:
        unit.tokens.add(a_token("_1", holder="person:2"))


def test_a_login_is_used_once_and_with_what_it_was_used_for(tokens: SqlTokensDatabase) -> None:
    """A unit that fails leaves the login unused; one that succeeds uses it up, for every process."""
    with pytest.raises(RuntimeError), tokens.write() as unit:
        unit.tokens.use_login("ab", 1000)
        raise RuntimeError
    with tokens.write() as unit:
        unit.tokens.use_login("ab", 1000)
        unit.tokens.add(a_token("_1"))
        unit.audit.append(access_log.service_act("tokens", started=True))
    with pytest.raises(KeyError), tokens.write() as unit:
        unit.tokens.use_login("ab", 2000)
    with tokens.read() as unit:
        assert len(list(unit.audit.read_latest(10))) == 1


def test_of_many_uses_at_once_one_succeeds(tokens: SqlTokensDatabase) -> None:
    """Rule: W-07"""
    outcomes: list[bool] = []

    def use() -> None:
        try:
            with tokens.write() as unit:
                unit.tokens.use_login("ab", 1000)
            outcomes.append(True)
        except KeyError:
            outcomes.append(False)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [False] * 7 + [True]


def test_what_has_ended_is_forgotten(tokens: SqlTokensDatabase) -> None:
    """Tokens and logins; those that hold stay, and so does the log."""
    with tokens.write() as unit:
        unit.tokens.add(a_token("_old", until=10))
        unit.tokens.add(a_token("_new", until=100))
        unit.tokens.use_login("old", 10)
        unit.tokens.use_login("new", 100)
        unit.audit.append(access_log.service_act("tokens", started=True))
    with tokens.write() as unit:
        assert unit.tokens.forget(50) == 2
        assert unit.tokens.forget(50) == 0
        assert unit.tokens.cancel("_new", "person:1") and not unit.tokens.cancel("_old", "person:1")
    with tokens.read() as unit:
        assert len(list(unit.audit.read_latest(10))) == 1
