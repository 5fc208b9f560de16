"""``carnet serve``"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

import storage
from carnet import acceptance, admin, gate, node, plain_door, wiring
from carnet.affinity import domain_of
from carnet.commands import pki
from carnet.commands.init import create, upgrade
from carnet.console import DATA, Misuse, pki_of, settings_of
from carnet.hold import AlreadyServed, hold
from carnet.keys import Following, KeyTrouble
from carnet.mllp import MllpListener, MllpServer, PatientFeed
from carnet.refusals import handshake_logger
from carnet.server import GRACE, Listener, Server, bounded, demanding
from carnet.settings import Settings, write_served
from carnet.supervisor import Supervisor, die_with_parent
from carnet.token_service import logins_of, signer_of, token_service
from carnet.workers import Workers, wanted
from guard.credentials.certificates import TrustError
from guard.credentials.rule import Required
from xds.domain import DomainError
from xds.domain import load as load_domain

log = logging.getLogger("carnet.serve")

BUILDERS: dict[str, tuple[Callable[[Settings, Workers], wiring.Service], Callable[..., Any]]] = {
    gate.REGISTRY_NODE: (lambda chosen, us: wiring.registry_service(chosen, workers=us), storage.open_registry),
    gate.REPOSITORY_NODE: (lambda chosen, us: wiring.repository_service(chosen, workers=us), storage.open_repository),
    gate.TOKENS_NODE: (lambda chosen, _us: token_service(chosen), storage.open_tokens),
}
"""How each service is put together, and how its database is opened. The token service is one worker."""
LAST_REQUESTS = GRACE - wiring.LAST_WORDS - 3.0
"""Seconds after the service was told to end that the first worker waits for the others, whose lines it signs and sends;
what is left is for that."""
FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@click.command("serve")
@click.argument("what", type=click.Choice(["all", "registry", "repository", "tokens"]))
@DATA
@click.option("--domain", default="", help="Affinity domain (dmp, connectathon, or a folder).")
@click.option("--codes", type=click.Path(path_type=Path, exists=True), help="IHE code-set file of the event.")
@click.option("--credentials", type=click.Choice(["assertion", "tls", "off"]), help="What a caller must present.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option("--pki", "with_pki", is_flag=True, help="Answer OCSP and give out revocation lists, too (with all).")
@click.option("--supervised", is_flag=True, hidden=True, help="End when the parent process ends.")
def command(
    what: str, data: Path, domain: str, codes: Path | None, credentials: str | None, log_level: str, with_pki: bool,
    supervised: bool,
) -> None:
    """Serve the registry, the repository or the token service over mutual TLS until interrupted; or all of them, the
    token service where tokens.enabled is set.

    For a test event one line is enough: with a --domain that keeps no rights of access, `serve all` makes the
    installation first where --data is empty or not there.

    \b
    Examples:
      carnet serve all --data data
      carnet serve all --domain connectathon --codes codes.xml --credentials off
    """
    logging.basicConfig(level=log_level.upper(), format=FORMAT, stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    chosen = {"name": domain, "codes": str(codes.absolute()) if codes else "", "credentials": credentials or ""}
    flags = {"domain": {k: v for k, v in chosen.items() if v}}
    if what == "all" and domain and is_blank(data):
        prepare(data, domain)
    settings = settings_of(data, as_served=False, **flags)
    try:
        check(settings)
        served = gate.names(settings) if what == "all" else (what,)
        if gate.TOKENS_NODE in served:
            check_tokens(settings)
        check_keys(settings, served)
    except (DomainError, TrustError, ValueError) as error:
        raise Misuse(str(error)) from error
    if supervised:
        die_with_parent()
    else:
        hold_folder(settings, served)
        write_served(settings.data, settings if flags["domain"] else None)
    if what != "all":
        serve_one(settings, what)
        return
    look_for_ports(settings)
    upgrade(settings.data)
    pki_address = pki.begin(pki_of(data))[0] if with_pki else ""
    given = {
        "--domain": domain,
        "--codes": chosen["codes"],
        "--credentials": chosen["credentials"],
        "--log-level": log_level,
    }
    flags_given = [part for name, value in given.items() if value for part in (name, value)]
    supervisor = Supervisor(settings.data, served, flags_given)
    supervisor.start()
    try:
        supervisor.wait_ready(admin_addresses(settings))
    except RuntimeError as error:
        supervisor.stop()
        raise click.ClickException(str(error)) from error
    click.echo(endpoints(settings))
    if pki_address:
        click.echo(f"  {pki_address}\n")
    sys.exit(supervisor.run())


def is_blank(data: Path) -> bool:
    """There is no such folder, or nothing in it."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def prepare(data: Path, domain: str) -> None:
    """Make the installation of a test event. A domain with rights of access is no test: `carnet init` makes those, so
    that a folder that is missing today (a disk not mounted) is never served as a new and empty one.
    """
    try:
        if load_domain(domain).policy:
            return
    except DomainError as error:
        raise Misuse(str(error)) from error
    create(data)
    click.echo(f"{data}: a new installation")


def hold_folder(settings: Settings, served: Sequence[str]) -> None:
    """These services are nobody else's from now on. Raises Misuse."""
    try:
        hold(settings.data, served)
    except (AlreadyServed, OSError) as error:
        raise Misuse(str(error)) from error


def look_for_ports(settings: Settings) -> None:
    """Say which setting to change before anything is started. Raises Misuse."""
    for section, of in (("registry", settings.registry), ("repository", settings.repository)):
        for name, host in (("port", of.host), ("admin_port", "127.0.0.1"), ("http_port", "127.0.0.1")):
            port = getattr(of, name)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                if port:
                    socket.create_server((host, port), family=family).close()
            except OSError as error:
                variable = f"CARNET__{section}__{name}".upper()
                raise Misuse(
                    f"{host}:{port} cannot be used ({error.strerror}): end what listens there, or choose another "
                    f"{section}.{name} ({variable}=…)"
                ) from error


def check(settings: Settings) -> None:
    """What would stop a service later is said now. Raises DomainError, TrustError, ValueError with the remedy."""
    domain = domain_of(settings)
    rule = acceptance.credential_rule(settings, domain)
    acceptance.trust_of(settings, domain)
    gate.SoftwareGate(settings, domain)
    if (settings.registry.http_port or settings.repository.http_port) and rule.required is not Required.OFF:
        raise ValueError("registry.http_port and repository.http_port need `--credentials off`: HTTP carries none")


def check_tokens(settings: Settings) -> None:
    """The same of the token service. Raises ValueError with the remedy."""
    try:
        signer_of(settings)
        logins_of(settings)
    except OSError as error:
        raise ValueError(f"the token service: {error}") from error


def check_keys(settings: Settings, names: Sequence[str]) -> None:
    """The keys of these services can be used, and by nobody else. Raises KeyTrouble with the remedy."""
    for name in names:
        if wrong := node.problem(settings, name):
            raise KeyTrouble(wrong)
        if node.lacks_rsa(settings, name):
            log.warning(
                "%s: callers of TLS 1.2 cannot connect, its suites need RSA (%s.rsa.pem, %s.rsa.key)", name, name, name
            )


def admin_addresses(settings: Settings) -> dict[str, str]:
    """Service name to the address of its admin listener, where it has one."""
    ports = {
        "registry": settings.registry.admin_port,
        "repository": settings.repository.admin_port,
        "tokens": settings.tokens.admin_port if settings.tokens.enabled else 0,
    }
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items() if port}


def endpoints(settings: Settings) -> str:
    """What a person needs to know once both services answer."""
    data = os.path.relpath(settings.data)
    domain = domain_of(settings)
    plain = "".join(
        f"  without TLS http://127.0.0.1:{section.http_port}/services/{name}\n"
        for name, section in (("repository", settings.repository), ("registry", settings.registry))
        if section.http_port
    )
    section = settings.registry
    if section.mllp_port:
        how = "mutual TLS" if section.mllp_tls else "without TLS"
        plain += f"  identities  {section.host}:{section.mllp_port}   (ITI-8, MLLP, {how})\n"
    authority = min(domain.assigning_authorities, default="1.2.3")
    if domain.policy:
        plain += f"  records     {settings.registry_url}/services/record       (TD0.2 to TD1.6; docs/dmp.md)\n"
    if settings.tokens.enabled:
        plain += f"  tokens      {settings.tokens_url}/services/tokens       (WS-Trust; ?wsdl)\n"
    french = domain.credentials.profile == "vihf"
    patient = "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH" if french else f"T-1001^^^&{authority}&ISO"
    add = f'carnet patient open "{patient}" --consent' if french else f'carnet patient add "{patient}"'
    allow = f'\n  carnet patient allow "{patient}" 899700000018' if french else ""
    credentials = acceptance.credential_rule(settings, domain).required
    issue = more = ""
    if credentials is not Required.OFF:
        issue = "  carnet card issue person 899700000018 --surname ESSAI --given Anne --specialty SM26 " \
                f"--out {data}/anne.p12\n"
        more = f" --card {data}/anne.p12" + (" --structure 10B0000001" if french else "")
    direct = acceptance.takes_direct_registration(settings, domain)
    sources = "ITI-42, 61" if direct else "ITI-42, 61 from repositories"
    fixtures = os.path.relpath(Path(__file__).resolve().parents[2] / "fixtures" / "cda")
    override = "" if french else f" --patient '{patient}' --override {fixtures}/connectathon.toml"
    here = os.path.relpath(Path(sys.executable).parent)
    path = "" if shutil.which("carnet") else f'  export PATH="$PWD/{here}:$PATH"\n'
    trust = os.path.relpath(settings.pki / "trust" / "ca.pem")
    pem = f"  openssl pkcs12 -in {data}/anne.p12 -passin env:CARNET_PIN -nodes -out {data}/anne.pem" \
          "   (its key and certificate for other tools)\n" if issue else ""
    return f"""
Carnet serves the affinity domain {domain.name!r}, credentials {credentials}:
  repository  {settings.repository_url}/services/repository   (ITI-41, 43, 86; ?wsdl)
  registry    {settings.registry_url}/services/registry     (ITI-18, 44, 51, 57, 62, 92; {sources}; ?wsdl)
{plain}  trust       {trust}   (who vouches for these servers{"" if issue else "; no client certificate is asked for"})
  operator    {"   ".join(admin_addresses(settings).values())}   (/livez /readyz /metrics)

A deposit, in another terminal (fictive patient{", test card" if issue else ""}):
{path}  export CARNET_DATA={data} CARNET_PIN=0000
{issue}{pem}  {add}{allow}
  carnet send {fixtures}/cr-bio-v1.xml{override}{more}
  carnet query "{patient}"{more}
"""


def serve_one(settings: Settings, name: str) -> None:
    """One actor in this process and its workers; returns when it is told to stop."""
    section: Any = getattr(settings, name)
    build, opener = BUILDERS[name]
    url: str = getattr(settings, f"{name}_database")
    files = node.pair_files(settings, name)
    workers = Workers(wanted(getattr(section, "workers", 1)), section.threads)
    built: list[wiring.Service] = []
    beside: list[Callable[[], None]] = []
    """How to stop what listens beside the service."""

    def make() -> Any:
        built.append(build(settings, workers))
        if workers.is_first:
            open_beside(built[0])
        return built[0].app

    def open_beside(service: wiring.Service) -> None:
        if service.feed is not None:
            beside.append(listen_mllp(settings, service.feed))
        if section.admin_port:
            tally = admin.Tally(service.meter, workers)
            threading.Thread(target=tally.run, name="tally", daemon=True).start()
            ready = lambda: service.ready() or workers.missing()  # noqa: E731
            beside.append(admin.serve(section.admin_port, service.meter, ready, tally.take))
        if workers.begins():
            service.began()
        if getattr(section, "http_port", 0):
            anchors = settings.pki / "trust" / "ca.pem"
            beside.append(plain_door.open_door(section.http_port, section.host, section.port, anchors))

    def abandoned() -> None:
        for stop in beside:
            stop()

    listener = Listener(
        name=name,
        host=section.host,
        port=section.port,
        threads=section.threads,
        certificate=files.certificate,
        key=files.key,
        tls=listening_tls(
            settings, name, partial(bounded, idle=settings.limits.body_idle, rate=settings.limits.body_rate)
        ),
        idle=settings.limits.body_idle,
        on_handshake_failure=handshake_logger(lambda: opener(url, wiring.writers_of(settings, name, workers)), name),
    )
    def ended() -> None:
        for one in built if workers.is_first and workers.is_ending() else ():
            workers.wait_alone(LAST_REQUESTS)
            one.ended()

    Server(listener, workers, make, lambda: built[0].background(), abandoned, ended).run()  # noqa: PLW0108 - built exists only in the worker


def listening_tls(
    settings: Settings, name: str, finish: Callable[[ssl.SSLContext], ssl.SSLContext]
) -> Following:
    """What one of our listeners serves with, and goes on to serve with when keys or authorities change."""
    return node.server_tls(settings, name, acceptance.trust_of(settings, domain_of(settings)), finish)


def listen_mllp(settings: Settings, feed: PatientFeed) -> Callable[[], None]:
    """Serve the identity feed beside the registry, under its certificate. Returns how to stop it."""
    section = settings.registry
    server = MllpServer(
        MllpListener(
            host=section.host,
            port=section.mllp_port,
            tls=listening_tls(settings, wiring.REGISTRY_NODE, demanding) if section.mllp_tls else None,
            idle=section.mllp_idle,
            block=settings.limits.body_idle,
        ),
        feed,
    )
    server.start()
    return server.stop
