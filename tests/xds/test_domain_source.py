"""Code sets that follow their file while a service runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from carnet.admin import Meter
from xds.domain import DomainError
from xds.domain_source import DomainSource
from xds.model import Code

RED, BLUE = Code("red", "1.2.3"), Code("blue", "1.2.3")


def write(file: Path, *codes: Code) -> None:
    listed = "".join(f'<Code code="{code.code}" codingScheme="{code.scheme}"/>' for code in codes)
    file.write_text(
        '<Codes><AssigningAuthority id="1.2.3"/><CodeType name="CLASSCODE" '
        f'classScheme="41A5887F-8865-4C09-ADF7-E362475B143A">{listed}</CodeType></Codes>', "utf-8"
    )
    later(file)


_moments = iter(range(1, 1000))


def later(file: Path) -> None:
    """Give the file a time of its own, whatever the resolution of the disk."""
    moment = 1_700_000_000 + next(_moments)
    os.utime(file, (moment, moment))


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    """A code added by the operator is allowed without a restart, one taken away is not.

    Rule: R-024
    """
    file = tmp_path / "codes.xml"
    write(file, RED)
    source = DomainSource("connectathon", file, look_every=0)
    first = source.current
    assert first.allows("class_code", RED) and not first.allows("class_code", BLUE)
    write(file, BLUE)
    assert source.current.allows("class_code", BLUE) and not source.current.allows("class_code", RED)
    assert first.allows("class_code", RED), "a request under way keeps the domain it began with"


@pytest.mark.parametrize("content", ["<Codes>", "", "<Other/>", "<Codes><CodeType name='classCode'/></Codes>", None])
def test_a_broken_file_changes_nothing_and_is_told(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The last good code sets stay in force; log and measure say so until the file is mended.

    Rule: R-024
    """
    file = tmp_path / "codes.xml"
    write(file, RED)
    source = DomainSource("connectathon", file, look_every=0)
    meter = Meter()
    meter.watch_codes(source)
    assert b"carnet_code_sets_current 1.0" in generate_latest(meter.collected)
    if content is None:
        file.unlink()
    else:
        file.write_text(content, "utf-8")
        later(file)
    for _ in range(3):
        assert source.current.allows("class_code", RED)
    assert b"carnet_code_sets_current 0.0" in generate_latest(meter.collected)
    assert str(file) in source.problem and caplog.text.count("stay in force") == 1
    write(file, BLUE)
    assert source.current.allows("class_code", BLUE) and not source.problem
    assert b"carnet_code_sets_current 1.0" in generate_latest(meter.collected)


def test_no_service_starts_on_a_broken_file(tmp_path: Path) -> None:
    """There is no last good one then."""
    file = tmp_path / "codes.xml"
    file.write_text("<Codes>", "utf-8")
    with pytest.raises(DomainError):
        DomainSource("connectathon", file)


def test_the_file_is_not_looked_at_for_every_request(tmp_path: Path) -> None:
    """Within the pause the answer costs one look at a clock."""
    file = tmp_path / "codes.xml"
    write(file, RED)
    source = DomainSource("connectathon", file, look_every=3600)
    write(file, BLUE)
    assert source.current.allows("class_code", RED)


def test_a_folder_of_ones_own_and_a_shipped_domain(tmp_path: Path) -> None:
    """codes.xml of a folder is followed; a shipped domain has nothing to follow."""
    (tmp_path / "domain.toml").write_text('name = "ours"\n', "utf-8")
    write(tmp_path / "codes.xml", RED)
    source = DomainSource(tmp_path, look_every=0)
    write(tmp_path / "codes.xml", BLUE)
    assert source.current.allows("class_code", BLUE)
    shipped = DomainSource("dmp", look_every=0)
    assert shipped.current is shipped.current and not shipped.problem
