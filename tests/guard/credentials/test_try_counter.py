"""Three wrong PINs lock a card file: also at the same time, across processes, and when somebody pulls the plug."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.negative_kit import Kit
from guard.credentials import try_counter
from guard.credentials.cards import Card, CardError, CardLocked, WrongPin, signature_path
from guard.credentials.try_counter import PUK_TRIES, TRIES, counter_path

PIN = "4719"


@pytest.fixture
def card(kit: Kit, tmp_path: Path) -> Path:
    return kit.other.save(tmp_path / "card.p12", PIN)


def wrong(card: Path, pin: str = "0000") -> str:
    with pytest.raises(CardError) as refused:
        Card.open(card, pin)
    assert pin not in str(refused.value)
    return f"{type(refused.value).__name__}: {refused.value}"


def test_three_wrong_pins_lock_and_the_right_one_gives_tries_back(card: Path) -> None:
    """Tries left are told; a right PIN before the third resets; then every PIN gets one and the same answer."""
    assert "2 tries left" in wrong(card) and "1 try left" in wrong(card)
    Card.open(card, PIN)
    assert "2 tries left" in wrong(card)
    wrong(card)
    assert "locked now" in wrong(card)
    assert wrong(card) == wrong(card, PIN) == wrong(card, "another")
    assert wrong(card).startswith("CardLocked")


def test_a_locked_card_is_not_even_tried(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No PIN is compared once it is locked: time cannot tell a right one."""
    for _ in range(TRIES):
        wrong(card)
    monkeypatch.setattr("guard.credentials.cards._unpacked", lambda *_: pytest.fail("the PIN was looked at"))
    with pytest.raises(CardLocked):
        Card.open(card, PIN)


def test_tries_at_the_same_time_win_nothing(card: Path) -> None:
    """Twelve threads: three are told that the PIN is wrong, nine that the card is locked."""
    with ThreadPoolExecutor(12) as pool:
        told = Counter(answer.split(":")[0] for answer in pool.map(lambda n: wrong(card, f"{n:04}"), range(12)))
    assert told == {"WrongPin": TRIES, "CardLocked": 12 - TRIES}


def test_tries_of_several_processes_are_one_count(card: Path) -> None:
    """The lock is on the file, not in the process."""
    program = (
        "import sys; from guard.credentials.cards import Card, CardError\n"
        "try: Card.open(sys.argv[1], 'no')\n"
        "except CardError as error: print(type(error).__name__)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(card)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    told = Counter(one.communicate(timeout=60)[0].strip() for one in running)
    assert told == {"WrongPin": TRIES, "CardLocked": 2}


def test_a_try_counts_before_the_pin_is_looked_at(card: Path) -> None:
    """A process killed in the middle has used its try: the count is on disk before the answer is known."""
    program = (
        "import sys, time; from guard.credentials import cards\n"
        "cards._unpacked = lambda *_: (print('trying', flush=True), time.sleep(60))\n"
        "cards.Card.open(sys.argv[1], 'no')"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(card)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "trying\n"
        os.kill(process.pid, signal.SIGKILL)
    assert json.loads(counter_path(card).read_text())["tries_left"] == TRIES - 1


def test_a_file_that_is_no_card_costs_no_try(card: Path) -> None:
    """Only PINs count."""
    whole = card.read_bytes()
    card.write_bytes(b"broken")
    for _ in range(TRIES + 1):
        assert "not a card" in wrong(card)
    card.write_bytes(whole)
    Card.open(card, PIN)


@pytest.mark.parametrize(
    "content", ["", "{}x", '{"tries_left": "9"}', '{"tries_left": 3, "more": 1}', "[3]", '{"tries_left": null}']
)
def test_a_damaged_counter_keeps_the_card_closed(card: Path, content: str) -> None:
    """Nobody opens a card by spoiling its counter."""
    counter_path(card).write_text(content)
    assert "stays closed" in wrong(card, PIN)


def test_a_card_whose_tries_cannot_be_counted_stays_closed(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no counter gives no tries."""
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot be counted" in wrong(card, PIN)


def test_puk_gives_tries_back_and_is_kept_as_a_hash(card: Path) -> None:
    """Made at issue, kept nowhere in clear; it unlocks, the PIN stays the same."""
    puk = try_counter.give_puk(card)
    kept = counter_path(card).read_text()
    assert len(puk) == 8 and puk.isdigit() and puk not in kept
    assert stat.S_IMODE(counter_path(card).stat().st_mode) == 0o600
    for _ in range(TRIES):
        wrong(card)
    with pytest.raises(WrongPin, match="4 left"):
        try_counter.unblock(card, "x" + puk[1:])
    assert wrong(card, PIN).startswith("CardLocked"), "a wrong PUK changes nothing"
    try_counter.unblock(card, puk)
    Card.open(card, PIN)


def test_wrong_puks_lock_for_good(card: Path) -> None:
    """The PUK has tries of its own; afterwards the right one is refused, too."""
    puk = try_counter.give_puk(card)
    for _ in range(PUK_TRIES):
        with pytest.raises(WrongPin):
            try_counter.unblock(card, "wrong")
    with pytest.raises(CardLocked, match="replaced"):
        try_counter.unblock(card, puk)


def test_a_card_without_puk_is_not_unlocked(card: Path) -> None:
    """A file of somebody else's making."""
    with pytest.raises(CardError, match="without a PUK"):
        try_counter.unblock(card, "")


def test_a_new_card_does_not_inherit_a_lock(card: Path, kit: Kit) -> None:
    """A counter left behind by an older card of the same name."""
    for _ in range(TRIES):
        wrong(card)
    card.unlink()
    signature_path(card).unlink()
    kit.card.save(card, PIN)
    Card.open(card, PIN)


