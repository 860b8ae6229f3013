"""A CA that signs the certificates of one cluster, and nothing else. Requires the extra `tls`.

    ca = authority.ensure(Path("ca.crt"), Path("ca.key"), now)
    pair = ca.issue(Certificate("nats-tls", ("nats",)), now)

Keys are ECDSA on P-256, as in deploy/kubernetes/tls/cert-manager. A certificate has its names in subjectAltName alone
(RFC 5280, 4.2.1.6), and the extensions that Python 3.13's and OpenSSL's strict checks require.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.runtime.errors import SettingError
from shared.runtime.private_file import write_private
from tidegate.cluster.certificates import Certificate

NAME = "tidegate-ca"
# A new CA has to be distributed to all its peers, so it lasts.
CA_LIFE = dt.timedelta(days=3650)
# Renewal is manual, so they last longer than cert-manager's 90 days; the last third is for renewal.
LIFE = dt.timedelta(days=365)
RENEWED = 1 / 3
# How much the clocks of nodes may be behind.
SKEW = dt.timedelta(hours=1)


class Pair(NamedTuple):
    """A certificate and its key."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def until(self) -> dt.datetime:
        return self.cert.not_valid_after_utc

    @property
    def renewed_from(self) -> dt.datetime:
        """Return when less than a third of its life is left."""
        return self.until - RENEWED * (self.until - self.cert.not_valid_before_utc)

    def cert_pem(self) -> str:
        return self.cert.public_bytes(Encoding.PEM).decode()

    def key_pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Authority(NamedTuple):
    """The CA."""

    own: Pair

    def issue(self, certificate: Certificate, now: dt.datetime) -> Pair:
        """Return a new pair, valid for a year, or as long as the CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.own.key.public_key())
        builder = (
            _builder(x509.Name([]), self.own.cert.subject, key, now, min(now + LIFE, self.own.until))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_names(certificate), critical=True)
            .add_extension(_usages(certificate), critical=False)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(signer, critical=False)
        )
        return Pair(builder.sign(self.own.key, hashes.SHA256()), key)

    def is_good(self, pair: Pair, certificate: Certificate, now: dt.datetime) -> bool:
        """Return whether a pair is of this CA, matches the certificate, and has a third of its life left."""
        try:
            pair.cert.verify_directly_issued_by(self.own.cert)
            names = pair.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            usages = pair.cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            return False
        as_wanted = (names, usages) == (_names(certificate), _usages(certificate))
        return as_wanted and _is_key_of(pair) and now < pair.renewed_from


def ensure(cert: Path, key: Path, now: dt.datetime) -> Authority:
    """Return the CA of these files, created if there is none. Raises SettingError if it can't be used."""
    if not cert.exists():
        pair = _new_ca(now)
        # The key first: without a certificate it is unused, and the next run replaces it.
        write_private(key, pair.key_pem())
        write_private(cert, pair.cert_pem())
        return Authority(pair)
    found = read(cert, key)
    remedy = f"To begin with a new CA, which every pod has to be told of, move {cert.parent} away"
    if not found or not _is_key_of(found):
        raise SettingError(f"{key} is not the key of {cert}, or one of them can't be read: put both back. {remedy}")
    if found.until <= now:
        raise SettingError(f"the CA of {cert} ended on {found.until:%Y-%m-%d}. {remedy}")
    return Authority(found)


def read(cert: Path, key: Path) -> Pair | None:
    """Return a pair from its files; None if they are missing or invalid."""
    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    return Pair(found, private) if isinstance(private, ec.EllipticCurvePrivateKey) else None


def _new_ca(now: dt.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = (
        _builder(name, name, key, now, now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, until: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _names(certificate: Certificate) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in certificate.names])


def _usages(certificate: Certificate) -> x509.ExtendedKeyUsage:
    both = ((certificate.serves, ExtendedKeyUsageOID.SERVER_AUTH), (certificate.asks, ExtendedKeyUsageOID.CLIENT_AUTH))
    return x509.ExtendedKeyUsage([usage for on, usage in both if on])


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    """signs: other certificates."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_key_of(pair: Pair) -> bool:
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return pair.cert.public_key().public_bytes(*form) == pair.key.public_key().public_bytes(*form)
