"""Certificates made while the tests run, by an authority that nobody else trusts."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, folder: Path, common: str) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common)
        today = datetime.datetime.now(datetime.UTC)
        builder = self._builder(self._name, self._key.public_key(), today - 10 * DAY, today + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = builder.add_extension(identifier, False).sign(self._key, hashes.SHA256())
        self.file = folder / f"{common}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        begin: datetime.datetime,
        end: datetime.datetime,
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        return builder.not_valid_before(begin).not_valid_after(end)

    def issue(self, host: str, *, expired: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for `host` from this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        today = datetime.datetime.now(datetime.UTC)
        end = today - DAY if expired else today + DAY
        builder = self._builder(_name("server"), key.public_key(), today - 5 * DAY, end)
        names = x509.SubjectAlternativeName([_alternative(host)])
        certificate = builder.add_extension(names, False).sign(self._key, hashes.SHA256())
        path = self.folder / f"{certificate.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def hashed_folder(self) -> Path:
        """A directory with the authority under the name by which OpenSSL looks for it."""
        folder = self.folder / "hashed"
        folder.mkdir(exist_ok=True)
        (folder / f"{self._subject_hash()}.0").write_bytes(self.file.read_bytes())
        return folder

    def _subject_hash(self) -> str:
        """X509_NAME_hash: SHA-1 over the name's parts in lower case UTF-8, without their frame."""
        text = self._name.rfc4514_string().removeprefix("CN=").lower().encode()
        common_name = bytes.fromhex("0603550403")  # the identifier 2.5.4.3
        value = b"\x0c" + bytes([len(text)]) + text
        pair = b"\x30" + bytes([len(common_name + value)]) + common_name + value
        digest = hashlib.sha1(b"\x31" + bytes([len(pair)]) + pair).digest()
        return f"{int.from_bytes(digest[:4], 'little'):08x}"
