"""Tries at a token at the same time: right PINs all open it, wrong ones win none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pkcs11
import pytest

from guard.credentials import token_tries
from guard.credentials.cards import CardError, CardLocked, WrongPin
from guard.credentials.pki import Pki
from guard.credentials.try_counter import TRIES
from tests import softhsm
from tests.guard.credentials.test_token_card import made


@softhsm.needed
def test_right_pins_at_the_same_time_lock_nobody_out(pki: Pki) -> None:
    """However many: logins under way are waited for. SoftHSM itself may answer one of several processes that log in
    with an error of its own; nobody knows what became of that PIN, so it counts, until a right one comes."""
    made(pki, "together", is_rsa=False)
    one = f"""
from guard.credentials import token_card, token_tries
from guard.credentials.pkcs11_uri import parse
import sys
token_tries.PATIENCE = 60.0  # six on a busy machine
print("ready", flush=True)
sys.stdin.readline()
try:
    token_card.open_card(parse({softhsm.uri("together")!r}), {softhsm.PIN!r})
    print("open")
except token_card.CardError as error:
    print(type(error).__name__, error)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", one], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120)[0].strip() for process in started]
    broken = sum(one.startswith("CardError the card answered ") and "ObjectHandle" not in one for one in told)
    assert told.count("open") == len(told) - broken or broken >= TRIES, told


class Counted:
    """A token that counts by our objects, without PINs: what happens at the same time can be held still."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self._guard = threading.Lock()
        token_tries.begin(self)

    def open(self, *, rw: bool = False) -> Counted:
        return self

    def close(self) -> None:
        """One session is like another."""

    def get_objects(self, wanted: dict[Any, Any]) -> list[Any]:
        with self._guard:
            return [one for one in self.objects if one.label == wanted[pkcs11.Attribute.LABEL]]

    def create_object(self, data: dict[Any, Any]) -> Any:
        made = SimpleNamespace(label=data[pkcs11.Attribute.LABEL])

        def destroy() -> None:
            with self._guard:
                if made not in self.objects:
                    raise pkcs11.ObjectHandleInvalid
                self.objects.remove(made)

        made.destroy = destroy
        time.sleep(0.03)  # others look meanwhile, and see as few as we did
        with self._guard:
            self.objects.append(made)
        return made


@pytest.mark.parametrize("is_right", [True, False])
def test_the_fourth_at_the_same_time_waits(is_right: bool) -> None:
    """For what the three before him come to: in when their PINs were right, and locked out when they were wrong."""
    token, entered, end = Counted(), threading.Semaphore(0), threading.Event()

    def attempt() -> str:
        try:
            with token_tries.one_try(token, "card"):
                entered.release()
                end.wait(30)
                if not is_right:
                    raise WrongPin("no")
        except CardError as error:
            return type(error).__name__
        return "open"

    with ThreadPoolExecutor(4) as pool:
        three = [pool.submit(attempt) for _ in range(3)]
        for _ in three:
            assert entered.acquire(timeout=30)
        fourth = pool.submit(attempt)
        assert not entered.acquire(timeout=0.5) and not fourth.done()
        end.set()
        assert [one.result(30) for one in three] == (["open"] if is_right else ["WrongPin"]) * 3
        assert fourth.result(30) == ("open" if is_right else "CardLocked")


def test_wrong_pins_at_the_same_time_win_no_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many no more than three are looked at, whoever waits for whom; the token is locked then, and says what else
    it may be."""
    monkeypatch.setattr(token_tries, "PATIENCE", 0.5)
    token, looked = Counted(), []

    def attempt(_: int) -> str:
        try:
            with token_tries.one_try(token, "card"):
                looked.append(1)
                raise WrongPin("no")
        except CardError as error:
            return type(error).__name__

    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(attempt, range(12)))
    assert set(told) <= {"WrongPin", "CardLocked"} and len(looked) == told.count("WrongPin") <= 3
    told = [attempt(0) for _ in range(4)]
    assert told[-1] == "CardLocked" and len(looked) == 3
    with pytest.raises(CardLocked, match="or in use by others"), token_tries.one_try(token, "card"):
        raise AssertionError
