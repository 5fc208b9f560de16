"""Every file under ``schemas`` has its origin and date on record."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "schemas"
ROW = re.compile(r"^\| `([\w.-]+)` \|.*\| [^|]+ \| (\d{4}-\d{2}-\d{2}) \|$", re.MULTILINE)


def test_every_schema_and_description_is_listed_with_origin_and_date() -> None:
    """The table names the files that are there, and no others."""
    rows = ROW.findall((FOLDER / "MANIFEST.md").read_text(encoding="utf-8"))
    listed = [name for name, _ in rows if name.endswith((".xsd", ".wsdl"))]
    there = [path.name for folder in ("xsd", "wsdl") for path in (FOLDER / folder).iterdir()]
    assert sorted(listed) == sorted(there)


def test_everything_is_the_subject_of_a_manifest() -> None:
    """A new folder of schemas brings its own list, or enters this one."""
    for path in FOLDER.rglob("*"):
        if path.is_dir() or path.name in ("MANIFEST.md", "__init__.py") or "__pycache__" in path.parts:
            continue
        lists = [folder / "MANIFEST.md" for folder in path.parents if folder.is_relative_to(FOLDER)]
        text = "".join(file.read_text(encoding="utf-8") for file in lists if file.is_file())
        assert f"`{path.name}`" in text, path


def test_our_schemas_are_not_the_published_ones(oracles: Path) -> None:
    """Written by us: no line of documentation of the published schemas stands in ours."""
    published = " ".join(
        " ".join(path.read_text(encoding="utf-8", errors="replace").split())
        for path in (oracles / "ebxml-xsd").glob("*.xsd")
    )
    for path in (FOLDER / "xsd").glob("*.xsd"):
        for text in re.findall(r"<xs:documentation>([^<]+)</xs:documentation>", path.read_text(encoding="utf-8")):
            assert " ".join(text.split()) not in published, path.name
