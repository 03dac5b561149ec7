"""Certificates of the HTTP edge: those the operator gives, or one made at the first start."""

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from foreshape_controller.config import ApiSettings
from foreshape_controller.errors import ConfigError

VALID_DAYS = 825
LOOPBACK = ("localhost",)


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as browsers and openssl show it."""
        cert = x509.load_pem_x509_certificate(self.cert.read_bytes())
        return cert.fingerprint(hashes.SHA256()).hex(":").upper()


def prepare(api: ApiSettings) -> Pair | None:
    """The pair to serve with, None for plain HTTP. Raises ConfigError where the configuration is unsafe or incomplete."""
    if api.tls == "self-signed":
        return self_signed(api)
    if api.tls == "files" or (api.tls == "auto" and api.tls_cert):
        return _given(api)
    if not _loopback(api.bind) and not api.insecure:
        raise ConfigError(
            f"[api] bind is {api.bind}, which others can reach, without TLS: set tls = self-signed, or tls_cert and tls_key; "
            "or insecure = true where the network is trusted"
        )
    return None


def self_signed(api: ApiSettings) -> Pair:
    """The pair beside the admin token (``tls/ca.pem``, ``tls/key.pem``), made when it is missing. Agents take ca.pem as their CA file."""
    folder = Path(api.admin_token_file).absolute().parent / "tls"
    pair = Pair(folder / "ca.pem", folder / "key.pem")
    if pair.cert.exists() and pair.key.exists():
        return pair
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        _make(pair, _names(api))
    except OSError as e:
        raise ConfigError(f"cannot write the certificate into {folder}: {e.strerror}") from e
    return pair


def _given(api: ApiSettings) -> Pair:
    for option, path in (("tls_cert", api.tls_cert), ("tls_key", api.tls_key)):
        if not path or not Path(path).is_file():
            raise ConfigError(f"[api] {option}: there is no file {path!r}")
    return Pair(Path(api.tls_cert), Path(api.tls_key))


def _loopback(bind: str) -> bool:
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind in LOOPBACK


def _names(api: ApiSettings) -> list[x509.GeneralName]:
    """The names of this machine, the address bound, and what the operator adds."""
    words = dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn(), api.bind, *api.tls_names))
    return [_name(w) for w in words if w and w not in ("0.0.0.0", "::")]  # noqa: S104  these are no names


def _name(word: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(word))
    except ValueError:
        return x509.DNSName(word)


def _make(pair: Pair, names: list[x509.GeneralName]) -> None:
    """A certificate that is its own CA, and its key; the key first, so that a crash leaves no certificate without one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Foreshape controller")])
    start = datetime.now(UTC) - timedelta(hours=1)
    cert = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_USAGE, critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair.key.unlink(missing_ok=True)
    write_private(pair.key, private)
    pair.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))


_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def write_private(path: Path, content: bytes) -> None:
    """A new file that only this user can read. Raises FileExistsError where there is one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
