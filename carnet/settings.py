"""Settings: file, then environment ``CARNET__SECTION__KEY``, then flags; each key says its unit and default.

``carnet init`` writes a file that lists every key with its default; ``carnet serve`` works without editing it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from xds.limits import DEFAULT
from xds.model.datatypes import is_oid

FILE_NAME = "carnet.toml"
SERVED_NAME = "served.toml"
"""What ``carnet serve`` was told about the domain; the other commands of this installation follow it."""
HTTP_PORT = "TCP port without TLS, loopback only and only with credentials off; 0: none"
DATABASE = "SQLAlchemy URL; empty: SQLite under the data folder"
"""May hold a password: it is in no text about the settings."""
WORKERS = "processes that serve; 0: one for each core, at most 4"
Choice = Annotated[bool | None, BeforeValidator(lambda given: None if given == "" else given)]
"""True, false, or empty for what the domain says."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Domain(Section):
    """The affinity domain: rules and code sets."""

    name: str = Field("dmp", description="shipped domain (dmp, connectathon) or folder with a domain.toml")
    codes: str = Field("", description="IHE code-set file that replaces the domain's own; empty: the domain's")
    credentials: str = Field("", description="assertion, tls or off; empty: what the domain says")
    signatures: str = Field(
        "", description="signed submission sets: required, optional (verified when present) or off (stored unread); "
        "empty: what the domain says", pattern="^(required|optional|off)?$",
    )
    matrix: str = Field("", description="folder with access-matrix.csv or functional-rights.csv cells that win")


class Registry(Section):
    """The document registry."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8442, description="TCP port of the services", ge=0, le=65535)
    admin_port: int = Field(9442, description="TCP port of /livez /readyz /metrics, loopback only; 0: none")
    workers: int = Field(0, description=WORKERS, ge=0, le=64)
    threads: int = Field(16, description="requests each worker serves at once", ge=1, le=512)
    database: str = Field("", description=DATABASE, repr=False)
    max_results: int = Field(5000, description="objects in one LeafClass answer", ge=1)
    direct_registration: Choice = Field(
        None, description="accept ITI-42 from others than our repositories, true or false; empty: what the domain says"
    )
    mllp_port: int = Field(0, description="TCP port of the ITI-8 identity feed (MLLP); 0: none", ge=0, le=65535)
    mllp_tls: bool = Field(True, description="MLLP over mutual TLS; false: plain, on the loopback address only")
    mllp_idle: float = Field(3600.0, description="longest silence between two MLLP messages, seconds", gt=0)
    identity_sources: list[str] = Field(
        default_factory=list,
        description="certificates that may feed identities (ITI-8, ITI-44): common name or SHA-256; "
        "empty: any, and none where records need consent",
    )
    identity_senders: list[str] = Field(
        default_factory=list, description="application|facility (MSH-3, MSH-4) taken in ITI-8; empty: any"
    )
    authority_namespaces: list[str] = Field(
        default_factory=list, description="NAMESPACE&OID&ISO of assigning authorities that are sent by namespace alone"
    )
    feed_merges: bool = Field(True, description="identity feeds may merge; false: carnet patient merge only")
    device_id: str = Field("1.2.250.1.999.1.2", description="OID of the registry as an HL7 v3 device")
    repositories: list[str] = Field(
        default_factory=list,
        description="OIDs whose documents may be registered; *: any; empty: ours, or any where the domain says so",
    )
    http_port: int = Field(0, description=HTTP_PORT, ge=0, le=65535)


class Repository(Section):
    """The document repository."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8441, description="TCP port of the services", ge=0, le=65535)
    admin_port: int = Field(9441, description="TCP port of /livez /readyz /metrics, loopback only; 0: none")
    workers: int = Field(0, description=WORKERS, ge=0, le=64)
    threads: int = Field(16, description="requests each worker serves at once", ge=1, le=512)
    unique_id: str = Field("1.2.250.1.999.1.1", description="repositoryUniqueId, an OID of yours")
    database: str = Field("", description=DATABASE, repr=False)
    documents: str = Field("", description="folder of the documents; empty: under the data folder")
    registry_url: str = Field("", description="base address of the registry; empty: the one configured here")
    registry_timeout: float = Field(30.0, description="longest wait for the registry, seconds", gt=0)
    http_port: int = Field(0, description=HTTP_PORT, ge=0, le=65535)
    max_documents: int = Field(100, description="documents in one ITI-43 request", ge=1)
    sources: list[str] = Field(
        default_factory=list, description="OIDs of the sources (sourceId) that may deposit, ITI-41; empty: any"
    )
    cda: Literal["off", "warn", "refuse"] = Field(
        "off", description="a CDA document that is malformed, or another document or patient than its entry says: off "
        "(not read), warn or refuse"
    )
    on_demand: list[str] = Field(
        default_factory=lambda: ["repository.on_demand_summary:RecordSummary"],
        description="providers of on-demand documents, each module:Class",
    )
    keep_snapshots: bool = Field(True, description="store and register every on-demand document that is retrieved")
    grace: float = Field(
        900.0, description="age at which an unfinished deposit is swept, seconds; above the life of an assertion", gt=0
    )
    sweep_every: float = Field(60.0, description="pause between sweeps, seconds", gt=0)

    @field_validator("sources")
    @classmethod
    def _are_oids(cls, given: list[str]) -> list[str]:
        for one in given:
            if not is_oid(one):
                raise ValueError(f"{one!r} is not an OID")
        return given


class RecordRules(Section):
    """The patient's record: how long what lasts."""

    authorisation_days: int = Field(365, description="how long an authorisation lasts, days", ge=1)
    care_team_days: int = Field(365, description="the same for a member of the care team, days; 0: no end", ge=0)
    notice_days: int = Field(42, description="from the announcement of a record to its opening, days", ge=0)
    confirm_days: int = Field(30, description="within which a destruction must be confirmed, days", ge=1)
    retention_years: int = Field(10, description="a closed record is kept, years", ge=1)
    minors: bool = Field(True, description="minors are managed: secret connections are taken")
    majority: int = Field(18, description="age of majority, years", ge=1, le=30)
    secret_from: int = Field(0, description="youngest patient for whom a secret connection is taken, years", ge=0)
    managers: list[str] = Field(
        default_factory=list,
        description="SHA-256 of the certificates (of signature) of those who manage the system by SOAP: announce "
        "records, note a death, run the retention job, take out traces; empty: nobody",
    )
    most_found: int = Field(10, description="answers of a search by traits", ge=1, le=10)
    retention_every: float = Field(3600.0, description="pause between two runs of the retention job, seconds", gt=0)
    scrub_every: float = Field(
        86400.0, description="pause between two looks for traces to end and files to overwrite, seconds", gt=0
    )


class Credentials(Section):
    """Acceptance of signed assertions."""

    clock_skew: int = Field(60, description="tolerated clock difference, seconds", ge=0, le=300)
    max_age: int = Field(600, description="oldest IssueInstant of an assertion without NotOnOrAfter, seconds", ge=1)
    replay: str = Field("count", description="count: an assertion may serve again until it ends; strict: once only")
    products: Literal["test", "production"] = Field(
        "test", description="which cards and certificates count, by their product category; the others are refused"
    )
    revocation: Literal["refuse", "grace"] = Field(
        "refuse", description="when nothing current says whether a certificate is revoked: refuse it, or let the last "
        "good statement count for revocation_grace"
    )
    revocation_grace: int = Field(3600, description="that time, seconds", ge=1, le=604800)
    revocation_hosts: list[str] = Field(
        default_factory=list, description="OCSP responders and list servers that may be asked, host or host:port, "
        "plain HTTP; empty: nothing is fetched, the lists of pki/trust count"
    )
    revocation_longest: int = Field(3600, description="a fetched statement is asked for again after, seconds", ge=1)
    revocation_timeout: float = Field(3.0, description="longest wait for one statement, seconds", gt=0, le=60)
    revocation_retry: float = Field(30.0, description="a source that failed is left alone for, seconds", gt=0)
    revocation_nonce: bool = Field(False, description="refuse OCSP answers that do not repeat our nonce")
    software: Literal["", "off", "warn", "refuse"] = Field(
        "", description="software not homologated for what it asks: off, warn or refuse; empty: what the domain says"
    )
    software_folder: str = Field(
        "", description="folder with software.csv or software-profiles.csv that win over the domain's"
    )
    author: Literal["", "off", "warn", "refuse"] = Field(
        "", description="a submission, or a CDA document in one, whose author is not who signs: off, warn or refuse; "
        "empty: what the domain says"
    )
    structures: str = Field(
        "", description="CSV (legal_entity, site, name) of the sites a legal entity's certificate serves; empty: none"
    )
    cache: bool = Field(True, description="remember verified assertions until they end")
    max_lifetime: int = Field(
        0, description="longest validity of an assertion, seconds; 0: the domain's", ge=0, le=604800
    )
    audiences: list[str] = Field(default_factory=list, description="accepted Audience URIs; empty: the domain's")
    issuers: list[str] = Field(
        default_factory=list, description="accepted Issuer texts, plain XUA only; empty: the domain's"
    )
    token_services: list[str] = Field(
        default_factory=list,
        description="SHA-256 of certificates of token services: of these alone a VIHF is taken that neither the person "
        "nor the structure has signed; of these cancelled assertions are refused",
    )
    portals: list[str] = Field(
        default_factory=list,
        description="SHA-256 of certificates portals of patients sign with: their assertions speak for patients and "
        "their legal representatives, and for nobody else; empty: nothing on the wire makes a caller the patient",
    )
    cancelled_tokens: str = Field("", description="list of cancelled assertions, written by the token service and read "
                                  "by the others; empty: tokens/cancelled.json under the data folder")  # fmt: skip
    roles: list[str] = Field(default_factory=list, description="accepted roles, code^^system; empty: the domain's")
    purposes: list[str] = Field(
        default_factory=list, description="accepted purposes of use, code^^system; empty: the domain's"
    )
    reasons: list[str] = Field(
        default_factory=lambda: ["bris_de_glace", "centre_15"],
        description="purposes of use (code) that a VIHF must give a reason for (Mode_Acces_Raison)",
    )


class Tokens(Section):
    """The token service (WS-Trust): a card or an OpenID Connect login against a signed assertion."""

    enabled: bool = Field(False, description="`serve all` serves it, too")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8443, description="TCP port of the service", ge=0, le=65535)
    admin_port: int = Field(9443, description="TCP port of /livez /readyz /metrics, loopback only; 0: none")
    threads: int = Field(8, description="requests served at once", ge=1, le=512)
    database: str = Field("", description="SQLAlchemy URL; empty: SQLite under the data folder")
    certificate: str = Field("", description="PEM certificate that signs, of this service or of one structure; empty: "
                             "pki/servers/tokens-sign.pem")  # fmt: skip
    key: str = Field("", description="PEM key of that certificate; empty: pki/servers/tokens-sign.key")
    lifetime: int = Field(1800, description="longest validity of an assertion that is issued, seconds", ge=1)
    audiences: list[str] = Field(
        default_factory=list, description="addresses tokens may be asked for (AppliesTo); empty: the accepted audiences"
    )
    issuer: str = Field("", description="issuer of the OpenID Connect logins that are taken; empty: none is")
    keys: str = Field("", description="the issuer's keys (JWKS): https address, or a file")
    userinfo: str = Field("", description="https address that is asked with the access token; empty: nobody is asked")
    provider_ca: str = Field("", description="authorities of the issuer's own TLS certificate (PEM); empty: "
                             "pki/trust/ca.pem")  # fmt: skip
    clients: list[str] = Field(
        default_factory=list,
        description="whose logins are taken from whom: client_id=Struct_IdNat of the structure's certificate",
    )
    acr: list[str] = Field(
        default_factory=lambda: ["eidas1", "eidas2", "eidas3"], description="levels of authentication (acr) accepted"
    )
    login_class: str = Field("unspecified", description="AuthnContextClassRef of a login: a name of SAML 2.0, or a URI")
    login_age: int = Field(600, description="oldest ID token, seconds", ge=1)
    login_once: bool = Field(True, description="a login serves for one assertion; false: until the ID token ends")
    keys_kept: float = Field(3600.0, description="how long the issuer's keys are kept, seconds", gt=0)

    @field_validator("clients")
    @classmethod
    def _are_pairs(cls, given: list[str]) -> list[str]:
        for one in given:
            client, separator, structure = one.rpartition("=")
            if not (client and separator and structure):
                raise ValueError(f"{one!r} is not client_id=Struct_IdNat")
        return given


class Audit(Section):
    """Audit messages (ATNA), sent by syslog over TLS."""

    syslog_host: str = Field("", description="receiver of the audit messages, name or address; empty: kept, not sent")
    syslog_port: int = Field(6514, description="TCP port of the receiver", ge=1, le=65535)
    anchors: str = Field("", description="PEM bundle that vouches for the receiver; empty: our own authorities")
    certificate: str = Field("", description="PEM certificate shown to the receiver; empty: the service's own")
    key: str = Field("", description="PEM key of that certificate; empty: the service's own")
    verify_host: bool = Field(True, description="the receiver's certificate must name syslog_host")
    facility: int = Field(10, description="syslog facility number", ge=0, le=23)
    app_name: str = Field("carnet", description="APP-NAME of the syslog messages; blanks become _")
    source_id: str = Field("carnet", description="AuditSourceID, before -registry or -repository", min_length=1)
    site: str = Field("", description="AuditEnterpriseSiteID; empty: none")
    retention: int = Field(30, description="days a message is kept: once sent, or when none is ever sent", ge=1)
    checkpoints: str = Field("", description="folder of signed checkpoints of the log, best on another machine's disk; "
                             "empty: checkpoints under the data folder")  # fmt: skip
    checkpoint_every: float = Field(3600.0, description="pause between signed checkpoints of the log, seconds", gt=0)


class Emergencies(Section):
    """Accesses by emergency: what raises an alert, and who tells the patient."""

    records: int = Field(5, description="records one professional opens within the window that raise an alert; 0: none",
                         ge=0)  # fmt: skip
    window: int = Field(3600, description="the window, seconds", ge=1)
    new_structure: bool = Field(True, description="alert when the professional never acted for this structure before")
    far: bool = Field(True, description="alert when none of his structures is in the same French department")
    watch_every: float = Field(5.0, description="pause between looks at new accesses, seconds", gt=0)
    notifier: str = Field("", description="program that tells a patient, given one JSON object on its input; or "
                          "module:function; empty: nobody is told")  # fmt: skip
    notify_every: float = Field(30.0, description="pause between two rounds of telling patients, seconds", gt=0)
    notify_within: int = Field(30, description="for how long a registry tries to tell somebody, days", ge=1)


class Replies(Section):
    """Answers to another address than the one the request came from (asynchronous exchange)."""

    allowed: list[str] = Field(
        default_factory=list, description="addresses answers may be sent to, and below; empty: none, all are refused"
    )
    ca_file: str = Field("", description="authorities of the receivers' certificates (PEM); empty: pki/trust/ca.pem")
    plain_loopback: bool = Field(False, description="permit http addresses of this machine (127.0.0.1, [::1])")
    queue: int = Field(100, description="answers waiting at once; requests beyond are refused", ge=1)
    keep: float = Field(300.0, description="how long delivery is tried, seconds", gt=0)
    pause: float = Field(5.0, description="pause before the second attempt, seconds; doubled after each", gt=0)
    timeout: float = Field(30.0, description="longest wait for a receiver, seconds", gt=0)


class LimitSettings(Section):
    """Bounds on what comes from outside."""

    xml_part: int = Field(DEFAULT.xml_part, description="SOAP envelope, bytes")
    document: int = Field(DEFAULT.document, description="one document, bytes")
    message: int = Field(DEFAULT.message, description="whole HTTP body, bytes")
    parts: int = Field(DEFAULT.parts, description="parts of one multipart message")
    elements: int = Field(DEFAULT.elements, description="elements of one XML part")
    body_idle: float = Field(DEFAULT.body_idle, description="longest silence inside a request, seconds")
    body_rate: int = Field(DEFAULT.body_rate, description="lowest mean rate of a body, bytes per second")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="CARNET__",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    data: Path = Field(Path("data"), description="folder of everything this installation keeps")
    domain: Domain = Domain()
    registry: Registry = Registry()
    repository: Repository = Repository()
    tokens: Tokens = Tokens()
    record: RecordRules = RecordRules()
    credentials: Credentials = Credentials()
    audit: Audit = Audit()
    emergencies: Emergencies = Emergencies()
    replies: Replies = Replies()
    limits: LimitSettings = LimitSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def registry_database(self) -> str:
        return self.registry.database or f"sqlite:///{self.data / 'registry' / 'registry.sqlite'}"

    @property
    def repository_database(self) -> str:
        return self.repository.database or f"sqlite:///{self.data / 'repository' / 'repository.sqlite'}"

    @property
    def documents(self) -> str:
        return self.repository.documents or str(self.data / "repository" / "documents")

    @property
    def registry_url(self) -> str:
        return self.repository.registry_url or f"https://{self.registry.host}:{self.registry.port}"

    @property
    def repository_url(self) -> str:
        return f"https://{self.repository.host}:{self.repository.port}"

    @property
    def tokens_database(self) -> str:
        return self.tokens.database or f"sqlite:///{self.data / 'tokens' / 'tokens.sqlite'}"

    @property
    def tokens_url(self) -> str:
        return f"https://{self.tokens.host}:{self.tokens.port}"

    @property
    def cancelled_tokens(self) -> Path:
        given = self.credentials.cancelled_tokens
        return Path(given) if given else self.data / "tokens" / "cancelled.json"

    @property
    def checkpoints(self) -> Path:
        return Path(self.audit.checkpoints) if self.audit.checkpoints else self.data / "checkpoints"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def known_repositories(self) -> frozenset[str]:
        """OIDs the registry takes documents of; empty for any."""
        if "*" in self.registry.repositories:
            return frozenset()
        return frozenset(self.registry.repositories or [self.repository.unique_id])


def load(data: Path, *, as_served: bool = False, **flags: Any) -> Settings:
    """Settings of the installation in ``data``; raises FileNotFoundError when ``carnet init`` has not run there.

    ``as_served`` puts the domain that ``carnet serve`` was last told above that of the file.
    """
    file = data / FILE_NAME
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: run `carnet init --data {data}` first")

    class OfThisInstallation(Settings):
        model_config = SettingsConfigDict(toml_file=[file, data / SERVED_NAME] if as_served else file)

    return OfThisInstallation(data=data, **flags)


def write_served(data: Path, settings: Settings | None) -> None:
    """Note the domain these settings serve; None forgets it, and the settings file counts again."""
    file = data / SERVED_NAME
    if settings is None:
        file.unlink(missing_ok=True)
        return
    lines = [f"{key} = {_toml(value)}" for key, value in settings.domain.model_dump().items()]
    new = file.with_name(f".{SERVED_NAME}.new")
    new.write_text("\n".join(["# Written by `carnet serve`, from its options.", "[domain]", *lines, ""]), "utf-8")
    new.replace(file)


def default_file(**chosen: str) -> str:
    """The settings file with every key, its meaning and its default, all commented out but what is ``chosen``, a value
    by section and key: ``credentials__products="production"``."""
    lines = [
        "# Carnet settings. Every key with its default; uncomment to change.",
        "# The environment wins over this file: CARNET__REGISTRY__PORT=9000; flags win over both.",
    ]
    for name, field in Settings.model_fields.items():
        section = field.default
        if not isinstance(section, Section):
            continue
        lines += ["", f"[{name}]  # {type(section).__doc__}"]
        for key, info in type(section).model_fields.items():
            value = chosen.get(f"{name}__{key}")
            told = f"# {key} = {_toml(getattr(section, key))}" if value is None else f"{key} = {_toml(value)}"
            lines += [f"# {info.description}", told]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value or "", ensure_ascii=False) if isinstance(value, str | None) else str(value)
