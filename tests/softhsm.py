"""SoftHSM 2: a token in a folder, behind the same PKCS#11 door as a real card's library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from guard.credentials.pkcs11_uri import TokenAddress, parse

PIN, SO_PIN = "4719", "87654321"
_PLACES = ("/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm", "/usr/lib64/pkcs11")


def library() -> str:
    """Path of its library; "" where it is not installed."""
    return next((f"{place}/libsofthsm2.so" for place in _PLACES if Path(place, "libsofthsm2.so").is_file()), "")


needed = pytest.mark.skipif(
    not library() or shutil.which("softhsm2-util") is None, reason="SoftHSM 2 is not installed (package softhsm2)"
)
_lock = threading.Lock()


def token(label: str) -> TokenAddress:
    """A new token under ``PIN``, in the one folder of this test process: the library reads its settings once."""
    with _lock:
        _configured()
        words = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]
        subprocess.run(words, check=True, capture_output=True)
        if "pkcs11" in sys.modules:  # a library that is loaded already sees a new token only after this
            import pkcs11

            pkcs11.lib(library()).reinitialize()
    return parse(uri(label))


def uri(label: str) -> str:
    return f"pkcs11:token={label}?module-path={library()}"


def _configured() -> None:
    if "SOFTHSM2_CONF" in os.environ:
        return
    import atexit
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
