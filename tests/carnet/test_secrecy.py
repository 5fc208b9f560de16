"""PINs and keys reach no argument, environment, log, message, JSON, trace, core file or file but their own."""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from carnet import settings as settings_module
from carnet.node import all_pair_files
from carnet.supervisor import free_ports, ready_process
from carnet.workers import wanted
from guard.credentials.cards import Card, CardError, PrivateKey, WrongPin
from guard.credentials.pki import KeyKind, Pki
from tests.live import clean_environment
from tests.world import STRUCTURE

ROOT = Path(__file__).resolve().parents[2]
PIN = "Zq7-kepler-4812"
PROCESSES = 3 + 2 * wanted(0)
"""The supervisor, two masters, and the workers of each."""
VARIABLE = "CARNET_PIN"
CAMILLE = "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH"


# -- the environment and the core -------------------------------------------------------------------------------------


def probe(code: str, *, cwd: Path, pin: str = PIN) -> str:
    """Run ``code`` as the body of a command of ours, with a PIN in its environment; what it printed."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    program = f"""
import ctypes, os, resource, subprocess, sys, click
from carnet.cli import main
from carnet.secrecy import from_environment
@click.command("probe")
def command():
{lines}
type(main).get_command = lambda self, context, name: command
main(["probe"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment() | {VARIABLE: pin, "LAST": "kept"}, cwd=cwd,
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pin_leaves_the_environment_and_stays_known(tmp_path: Path) -> None:
    """Of the process as /proc shows it, and of every child; the command still finds it; the rest stays. Rule: K-08"""
    told = probe(
        "print(open('/proc/self/environ').read())\n"
        "print(subprocess.run(['env'], capture_output=True, text=True).stdout)\n"
        "print('known', from_environment('CARNET_PIN')[::-1], os.environ.get('CARNET_PIN'))\n", cwd=tmp_path,
    )
    assert PIN not in told and f"known {PIN[::-1]} None" in told
    assert told.count("LAST=kept") == 2


def test_both_are_so_before_a_command_is_even_loaded(tmp_path: Path) -> None:
    """To load what a command needs takes a second or two. Rule: K-08"""
    program = """
import ctypes, importlib, resource, sys
from carnet import cli
loading = importlib.import_module
def look(name):
    told = open('/proc/self/environ').read().count(sys.argv[1]), ctypes.CDLL(None).prctl(3)
    print(name, *told, *resource.getrlimit(resource.RLIMIT_CORE))
    return loading(name)
importlib.import_module = look
cli.main(["card", "show", "--help"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, PIN], env=clean_environment() | {VARIABLE: PIN}, cwd=tmp_path,
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.stdout.startswith("carnet.commands.card 0 0 0 0\n"), done.stdout + done.stderr


def test_a_process_of_ours_leaves_no_core_and_lets_nobody_look(tmp_path: Path) -> None:
    """No core by size, and none by a collector either: the system does not dump it, and gives its memory to nobody."""
    told = probe("print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))", cwd=tmp_path)
    assert told.strip() == "(0, 0) 0"


def test_a_crash_of_ours_dumps_nothing(tmp_path: Path) -> None:
    """Where another process would have."""
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    ours = f"from carnet.secrecy import close_process; close_process(); {crash}"

    def dumps(code: str) -> bool:
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                _, most = resource.getrlimit(resource.RLIMIT_CORE)
                resource.setrlimit(resource.RLIMIT_CORE, (most, most))
                os.chdir(tmp_path)
                os.execve(sys.executable, [sys.executable, "-c", code], clean_environment())
            os._exit(99)
        return os.WCOREDUMP(os.waitpid(pid, 0)[1])

    if not dumps(crash):
        pytest.skip("this system dumps no core of anybody")
    assert not dumps(ours)


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> list[Card]:
    pki = Pki.create(tmp_path_factory.mktemp("pki") / "pki")
    return [pki.issue_person("899700000018", "ESSAI", "Anne", key=KeyKind.EC), pki.issue_structure(
        STRUCTURE, "LABORATOIRE FICTIF", "Automate", key=KeyKind.RSA)]  # fmt: skip


def numbers_of(key: PrivateKey) -> list[int]:
    numbers = key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return [numbers.d, numbers.p, numbers.q]  # type: ignore[union-attr]
    return [numbers.private_value]  # type: ignore[union-attr]


def forms_of(key: PrivateKey) -> list[bytes]:
    """How the secret of a key may stand in a file: DER and PEM of two kinds, lines of PEM that hold no public number,
    and its private numbers, raw, decimal, hexadecimal, in base64."""
    found = []
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        der = key.private_bytes(Encoding.DER, form, NoEncryption())
        rows = key.private_bytes(Encoding.PEM, form, NoEncryption()).splitlines()[1:-1]
        found += [der, b"".join(rows), *(rows[8:-1] if isinstance(key, rsa.RSAPrivateKey) else rows[:1])]
    for number in numbers_of(key):
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        found += [raw, raw.hex().encode(), str(number).encode(), base64.b64encode(raw)[:40]]
    return found


def test_no_text_about_a_card_holds_its_key(cards: list[Card]) -> None:
    """repr and str of cards and key pairs, and of whatever holds them."""
    for card in cards:
        for pair in (card.authentication, card.signature):
            texts = [repr(card), str(card), repr(pair), f"{pair}", repr([card]), repr({"card": card}), repr(vars(card))]
            for text in texts:
                assert not any(form in text.encode() for form in forms_of(pair.key))


@examples(max_examples=60, deadline=None)
@given(
    pin=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=8, max_size=20),
    spoil=st.sampled_from(["wrong pin", "not a card", "absent", "half", "empty"]),
)
def test_no_error_of_a_card_holds_a_pin(cards: list[Card], tmp_path_factory: pytest.TempPathFactory, pin: str,
                                        spoil: str) -> None:  # fmt: skip
    """Neither the right one nor the one that was tried, in message, repr, causes or trace."""
    folder = tmp_path_factory.mktemp("cards")
    file = cards[0].save(folder / "card.p12", pin)
    tried = pin[::-1] + "x" if spoil == "wrong pin" else pin
    data = file.read_bytes()
    if spoil in ("not a card", "half", "empty"):
        file.write_bytes({"not a card": b"x" * 99, "half": data[: len(data) // 2], "empty": b""}[spoil])
    elif spoil == "absent":
        file.unlink()
    with pytest.raises(CardError) as refused:
        Card.open(file, tried)
    assert (refused.type is WrongPin) is (spoil == "wrong pin")
    error: BaseException | None = refused.value
    texts = ["".join(traceback.format_exception(refused.value))]
    while error is not None:
        texts += [str(error), repr(error), *map(repr, error.args)]
        error = error.__cause__ or error.__context__
    for text in texts:
        assert pin not in text and tried not in text
    shutil.rmtree(folder)


@examples(max_examples=100, deadline=None)
@given(
    password=st.from_regex(r"[A-Za-z0-9]{10,20}", fullmatch=True),
    line=st.sampled_from([
        '[registry]\ndatabase = "postgresql://carnet:{}@host/one"\n', '[registry]\ndatabse = "postgresql://c:{}@h/one"\n',
        '[registry]\ndatabase = ["postgresql://c:{}@h/one"]\n', '[registry]\nport = "{}"\n', 'database = "{}"\n',
        '[repository]\nmax_documents = "{}"\n', '[domain]\ncredentials = {{ a = "{}" }}\n', '[nothing]\na = "{}"\n',
    ]),
)  # fmt: skip
def test_no_text_about_settings_holds_a_password(
    tmp_path_factory: pytest.TempPathFactory, password: str, line: str
) -> None:
    """An address of a database may hold one; a mistyped line is told by its key, not by its value."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / settings_module.FILE_NAME).write_text(line.format(password))
    try:
        loaded = settings_module.load(folder)
    except ValueError as error:
        texts = [str(error), repr(error), "".join(traceback.format_exception(error))]
    else:
        assert password in loaded.registry_database
        texts = [repr(loaded), str(loaded), repr(loaded.registry), f"{loaded.repository}"]
    assert not any(password in text for text in texts)


# -- everything, after a day's work -----------------------------------------------------------------------------------


@dataclass
class Day:
    """An installation in which everything has been done once, and all that came out of it."""

    folder: Path
    data: Path
    said: list[str] = field(default_factory=list)
    command_lines: set[bytes] = field(default_factory=set)
    environments: dict[str, bytes] = field(default_factory=dict)

    def run(self, *words: str | Path, expect: int = 0, pin: str = PIN) -> str:
        """One command, with the PIN in its environment, as a person at a terminal would have it."""
        environment = clean_environment() | {
            VARIABLE: pin, "CARNET_DATA": str(self.data), "CARNET_STRUCTURE": STRUCTURE,
            "TMPDIR": str(self.folder / "tmp"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "carnet", *map(str, words)], env=environment, cwd=self.folder, capture_output=True,
            text=True, timeout=120, check=False,
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.said += [done.stdout, done.stderr]
        return done.stdout

    def watch(self, stop: threading.Event) -> None:
        """Arguments of every process that starts meanwhile in our folder."""
        while not stop.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if b"carnet" in line:
                        self.command_lines.add(line)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Cards, records, a deposit, a query, a retrieve, refusals, rotation, checks; a PIN where services start too."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "tmp").mkdir()
    day = Day(folder, folder / "data")
    stop = threading.Event()
    watcher = threading.Thread(target=day.watch, args=(stop,))
    watcher.start()
    services = None
    try:
        day.run("init")
        ports = free_ports(4)
        (day.data / settings_module.FILE_NAME).write_text(
            f"[registry]\nport = {ports[0]}\nadmin_port = {ports[1]}\n"
            f"[repository]\nport = {ports[2]}\nadmin_port = {ports[3]}\n"
        )
        environment = clean_environment() | {VARIABLE: PIN, "TMPDIR": str(folder / "tmp")}
        with (folder / "services.log").open("wb") as log:
            services = subprocess.Popen(
                [sys.executable, "-m", "carnet", "serve", "all", "--data", str(day.data), "--log-level", "debug"],
                env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True,
            )
        _work(day, services, ports)
        yield day
    finally:
        stop.set()
        watcher.join()
        if services is not None:
            services.terminate()
            services.wait(60)


def _family(pid: int) -> list[int]:
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += _family(int(child))
    return found


def _work(day: Day, services: subprocess.Popen[bytes], ports: list[int]) -> None:
    deadline = time.monotonic() + 90
    while not (ready_process(f"http://127.0.0.1:{ports[1]}") and ready_process(f"http://127.0.0.1:{ports[3]}")):
        assert services.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    family = _family(services.pid)
    assert len(family) == PROCESSES
    for pid in family:
        day.environments[f"service {pid}"] = Path(f"/proc/{pid}/environ").read_bytes()
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(x for x in limits if x.startswith("Max core file size")).split()[4:6] == ["0", "0"]
    anne, lab = day.folder / "anne.p12", day.folder / "lab.p12"
    day.run("card", "issue", "person", "899700000018", "--surname", "ESSAI", "--given", "Anne", "--specialty", "SM26",
            "--out", anne)  # fmt: skip
    day.run("card", "issue", "structure", STRUCTURE, "--organisation", "LABORATOIRE FICTIF", "--out", lab, "--json")
    day.run("card", "show", anne, "--json")
    day.run("patient", "open", CAMILLE, "--consent")
    day.run("patient", "allow", CAMILLE, STRUCTURE, "--structure")
    cda = ROOT / "fixtures" / "cda" / "cr-bio-v1.xml"
    unique_id = json.loads(day.run("send", cda, "--card", lab, "--json"))["unique_id"]
    day.run("query", CAMILLE, "--card", anne, "--json")
    day.run("retrieve", CAMILLE, unique_id, "--card", anne, "--out", day.folder / "got")
    day.run("card", "assert", "--card", anne, "--patient", CAMILLE)
    day.run("explain", "--card", anne, "--patient", CAMILLE)
    day.run("card", "show", anne, expect=1, pin=PIN + "x")
    day.run("query", CAMILLE, "--card", anne, expect=1, pin=PIN + "x")
    day.run("query", CAMILLE, "--card", day.data / "carnet.toml", expect=1)
    day.run("pki", "rotate", "registry", "--json")
    day.run("log", "checkpoint")
    day.run("log", "verify")
    day.run("check", "--full")
    day.run("log", "--all", "--last", "50", "--json")


def secrets_of(day: Day) -> dict[str, tuple[list[bytes], set[Path]]]:
    """Name of a secret to its forms, and the files that may hold it."""
    pin = PIN.encode()
    found: dict[str, tuple[list[bytes], set[Path]]] = {
        "PIN": ([pin, pin.hex().encode(), base64.b64encode(pin), *map(PIN.encode, ("utf-16-be", "utf-16-le"))], set()),
    }
    for file in sorted(day.data.rglob("*.key")):
        key = load_pem_private_key(file.read_bytes(), None)
        found[file.name] = (forms_of(key), {file})  # type: ignore[arg-type]
    for name in ("anne", "lab"):
        card = Card.open(day.folder / f"{name}.p12", PIN)
        found[f"{name}, authentication"] = (forms_of(card.authentication.key), set())
        found[f"{name}, signature"] = (forms_of(card.signature.key), set())
    assert len(found) == 1 + 3 + 7 + 4
    return found


def holds(content: bytes, forms: list[bytes]) -> bool:
    """Whether a secret stands there, broken over lines or not."""
    joined = content.replace(b"\n", b"")
    return any(form in content or form in joined for form in forms)


@pytest.mark.slow
def test_nothing_leaks_in_a_day(day: Day) -> None:
    """Outputs, logs, arguments, environments and files are searched for PIN and keys, in each form. Rule: K-08"""
    places = {f"output {n}": text.encode() for n, text in enumerate(day.said)}
    places |= {f"arguments {n}": line for n, line in enumerate(day.command_lines)} | day.environments
    files = [file for file in day.folder.rglob("*") if file.is_file()]
    assert len(day.command_lines) > 5 and len(day.environments) == PROCESSES and len(day.said) > 30
    assert {"services.log", "registry.sqlite", "anne.p12", "lab.sign.p12"} <= {file.name for file in files}
    for name, (forms, homes) in secrets_of(day).items():
        for place, content in places.items():
            assert not holds(content, forms), f"{name} in {place}"
        for file in files:
            if file not in homes:
                assert not holds(file.read_bytes(), forms), f"{name} in {file}"


@pytest.mark.slow
def test_the_search_would_find_what_it_searches(day: Day) -> None:
    """Each key in its own file; the PIN in what a person keeps it in."""
    for name, (forms, homes) in secrets_of(day).items():
        for home in homes:
            assert holds(home.read_bytes(), forms), name
    assert holds(b"pin = " + PIN.encode(), secrets_of(day)["PIN"][0])


@pytest.mark.slow
def test_nothing_temporary_is_left(day: Day) -> None:
    """Cards were opened, and contexts made of their keys, by a dozen commands and two services."""
    assert [p.name for p in (day.folder / "tmp").rglob("*") if p.is_file() and b"KEY" in p.read_bytes()] == []
    assert not list(day.folder.rglob("core*"))
    assert all(files.key.stat().st_mode & 0o777 == 0o600 for files in all_pair_files(
        settings_module.load(day.data), "registry"))  # fmt: skip
