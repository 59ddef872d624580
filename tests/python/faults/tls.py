"""Certificates made while the tests run, by an authority that nobody else trusts.

The `openssl` command makes them: it is where the TLS library is, and asks nothing of the Python.
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import ssl
import subprocess
from pathlib import Path

DAY = datetime.timedelta(days=1)

CONFIGURATION = """\
[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical, CA:true
subjectKeyIdentifier = hash
[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
default_md = sha256
rand_serial = yes
unique_subject = no
policy = subject
[subject]
commonName = supplied
"""


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _moment(time: datetime.datetime) -> str:
    return f"{time:%Y%m%d%H%M%SZ}"


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, folder: Path, common: str) -> None:
        self.folder = folder
        self.file = folder / "authority.pem"
        self._numbers = itertools.count()
        (folder / "configuration").write_text(CONFIGURATION)
        (folder / "index").touch()
        self._request(common, "authority.key", "-x509", "-days", "2", "-out", self.file.name)

    def _openssl(self, *words: str) -> str:
        command = ["openssl", *words]
        done = subprocess.run(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _request(self, common: str, key: str, *options: str) -> None:
        """Make a key, and a request for a certificate or a certificate of its own."""
        words = ["req", "-new", "-config", "configuration", "-subj", f"/CN={common}"]
        words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        self._openssl(*words, "-nodes", "-keyout", key, *options)

    def _sign(self, name: str, begin: datetime.datetime, end: datetime.datetime) -> None:
        words = ["ca", "-batch", "-notext", "-config", "configuration", "-extfile", f"{name}.ext"]
        words += ["-cert", self.file.name, "-keyfile", "authority.key"]
        words += ["-startdate", _moment(begin), "-enddate", _moment(end)]
        self._openssl(*words, "-in", f"{name}.csr", "-out", f"{name}.pem")

    def files(self, host: str, *, expired: bool = False) -> tuple[Path, Path]:
        """A certificate for `host` from this authority, and its key."""
        name = f"server-{next(self._numbers)}"
        today = datetime.datetime.now(datetime.UTC)
        (self.folder / f"{name}.ext").write_text(f"subjectAltName = {_alternative(host)}\n")
        self._request("server", f"{name}.key", "-out", f"{name}.csr")
        self._sign(name, today - 5 * DAY, today - DAY if expired else today + DAY)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def issue(self, host: str, *, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for `host` from this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(host, expired=expired))
        return context

    def hashed_folder(self) -> Path:
        """A directory with the authority under the name by which OpenSSL looks for it."""
        folder = self.folder / "hashed"
        folder.mkdir(exist_ok=True)
        name = self._openssl("x509", "-noout", "-subject_hash", "-in", self.file.name).strip()
        (folder / f"{name}.0").write_bytes(self.file.read_bytes())
        return folder
