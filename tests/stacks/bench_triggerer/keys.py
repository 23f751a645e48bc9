"""A key: for the service account that both triggers sign in with, and for the stand-in's TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HOST: Final = "aiplatform.localhost"
"""Google's clients call `aiplatform.DOMAIN`; names under localhost are this machine's (RFC 6761, 6.3)."""


def make_key() -> tuple[bytes, bytes]:
    """A private key and a certificate of its own for `HOST`, good for a day, both PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def service_account_key(private: bytes, url: str) -> dict[str, Any]:
    """A key file as Google Cloud hands them out, for nobody's account; the emulator gives tokens for it."""
    return {
        "type": "service_account",
        "project_id": "bench-project",
        "private_key_id": "bench",
        "private_key": private.decode(),
        "client_email": "bench@bench-project.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
    }
