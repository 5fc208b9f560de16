"""Settings: the file, then the environment, then flags; and the file that ``init`` writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from carnet import acceptance, wiring
from carnet import settings as settings_module
from carnet.settings import FILE_NAME, Section, Settings, default_file, load
from xds.limits import Limits


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own CARNET__ variables."""
    import os

    for name in [n for n in os.environ if n.startswith("CARNET__")]:
        monkeypatch.delenv(name)


def installation(folder: Path, text: str = "") -> Path:
    (folder / FILE_NAME).write_text(text, "utf-8")
    return folder


def sections() -> dict[str, Section]:
    return {n: f.default for n, f in Settings.model_fields.items() if isinstance(f.default, Section)}


def test_the_written_file_lists_every_key_with_its_meaning_and_default(tmp_path: Path) -> None:
    """Uncommented it is valid and changes nothing."""
    text = default_file()
    for name, section in sections().items():
        assert f"[{name}]" in text
        for key, info in type(section).model_fields.items():
            assert info.description, f"{name}.{key} says nothing"
            assert f"# {info.description}\n# {key} = " in text
    active = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    listed = {name: set(keys) for name, keys in tomllib.loads(active).items()}
    assert listed == {name: set(type(section).model_fields) for name, section in sections().items()}
    files = ("", text, active)
    loaded = [load(installation(tmp_path, one)).model_dump() for one in files]
    assert loaded[0] == loaded[1] == loaded[2]


def test_the_environment_wins_over_the_file_and_flags_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key: what is not given again stays."""
    data = installation(tmp_path, "[registry]\nport = 1000\nthreads = 3\n[domain]\nname = 'connectathon'\n")
    assert (load(data).registry.port, load(data).registry.threads) == (1000, 3)
    monkeypatch.setenv("CARNET__REGISTRY__PORT", "2000")
    assert (load(data).registry.port, load(data).registry.threads) == (2000, 3)
    flagged = load(data, registry={"port": 3000})
    assert (flagged.registry.port, flagged.registry.threads, flagged.domain.name) == (3000, 3, "connectathon")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[registry]\nprot = 1\n", "prot"),
        ("[registri]\nport = 1\n", "registri"),
        ("[registry]\nport = 70000\n", "port"),
        ("[registry]\nthreads = 0\n", "threads"),
        ("[repository]\nregistry_timeout = -1\n", "registry_timeout"),
        ("[registry]\nport = 'many'\n", "port"),
        ("[repository]\nsources = ['1.2.250.1', 'labo']\n", "'labo' is not an OID"),
        ("[repository]\nsources = ['']\n", "'' is not an OID"),
        ("[repository]\nsources = '1.2'\n", "sources"),
        ("[repository]\ncda = 'strict'\n", "cda"),
    ],
)
def test_what_is_not_a_setting_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    """An unknown section or key, a value out of its range or of another kind."""
    with pytest.raises(ValueError, match=named):
        load(installation(tmp_path, text))


def test_an_unknown_variable_of_a_section_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in the environment does not pass silently."""
    monkeypatch.setenv("CARNET__REGISTRY__PROT", "1")
    with pytest.raises(ValueError, match="prot"):
        load(installation(tmp_path))


def test_without_an_installation_there_are_no_settings(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(FileNotFoundError, match="carnet init"):
        load(tmp_path)


def test_empty_places_are_filled_from_the_data_folder(tmp_path: Path) -> None:
    """Databases, documents, authorities and the link to the registry."""
    found = load(installation(tmp_path))
    assert found.registry_database == f"sqlite:///{tmp_path / 'registry' / 'registry.sqlite'}"
    assert found.repository_database.startswith(f"sqlite:///{tmp_path}")
    assert found.documents.startswith(str(tmp_path)) and found.pki == tmp_path / "pki"
    assert found.registry_url == "https://127.0.0.1:8442" and found.repository_url == "https://127.0.0.1:8441"
    assert found.known_repositories == {found.repository.unique_id}
    given = load(tmp_path, repository={"registry_url": "https://elsewhere:1"}, registry={"repositories": ["1.2"]})
    assert given.registry_url == "https://elsewhere:1" and given.known_repositories == {"1.2"}
    assert load(tmp_path, registry={"repositories": ["*"]}).known_repositories == frozenset(), "any repository"


def test_every_limit_of_the_wire_can_be_set(tmp_path: Path) -> None:
    """What is set is what the services get."""
    limits = wiring.limits_of(load(installation(tmp_path), limits={"parts": 7}))
    assert isinstance(limits, Limits) and limits.parts == 7
    assert wiring.limits_of(load(tmp_path)) == Limits()


@pytest.mark.parametrize("mode", ["tls", "off"])
def test_the_french_domain_never_goes_without_assertions(tmp_path: Path, mode: str) -> None:
    """The operator may ask for more than the domain, never for less; a test domain may switch credentials off."""
    strict = load(installation(tmp_path), domain={"credentials": mode})
    with pytest.raises(ValueError, match="always needs a signed assertion"):
        acceptance.credential_rule(strict, wiring.domain_of(strict))
    test_event = load(tmp_path, domain={"name": "connectathon", "credentials": mode})
    assert acceptance.credential_rule(test_event, wiring.domain_of(test_event)).required == mode


def test_settings_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    """A running service has one set of them."""
    found = load(installation(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        found.registry.port = 1
    assert settings_module.FILE_NAME == "carnet.toml"
