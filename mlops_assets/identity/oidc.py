"""Whom an OpenID Connect issuer vouches for: its bearer tokens, verified against the keys that it publishes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

import httpx
from joserfc import jws, jwt
from joserfc.errors import ClaimError, ExpiredTokenError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import Key, KeySet, import_key

from mlops_assets.identity.sign_in import Unauthenticated
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import PlatformError

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""Signatures with a private key alone. With HS256 the issuer's public key would be the secret; `none` is no signature.
EdDSA and Ed25519 name the same algorithm (RFC 8037, RFC 9864)."""

LEEWAY_SECONDS = 60
KEPT_FOR = timedelta(hours=1)
ASKED_AGAIN_AFTER = timedelta(minutes=1)
TIMEOUT_SECONDS = 5.0
_KINDS = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""`typ` of an ID token or an access token; an issuer signs other things too, such as logouts."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class IssuerUnavailable(PlatformError):
    """The issuer's keys can't be had, so that nobody can be told from anybody."""

    code: ClassVar[str] = "store_unavailable"


class InvalidIssuer(PlatformError):
    """The issuer that is set can't be trusted with who people are."""

    code: ClassVar[str] = "invalid_settings"


class OidcIssuer:
    """One issuer, its keys kept for an hour. Safe to share between threads."""

    def __init__(self, issuer: str, *, audience: str, claim: str, clock: Clock) -> None:
        if not _is_safe(issuer):
            raise InvalidIssuer(f"MLOPS_OIDC_ISSUER {issuer!r}: write an https URL; http is for loopback alone.")
        self.issuer = issuer
        self._audience, self._claim, self._clock = audience, claim, clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._kept_since: datetime | None = None
        self._asked_at: datetime | None = None

    def subject_of(self, bearer: str) -> str:
        """Return the claim that names the principal, once signature and claims hold.

        Raises:
            Unauthenticated: saying what is wrong with the token.
            IssuerUnavailable: if the keys can't be had.
        """
        try:
            key = self._key(_header(bearer))
            claims = jwt.decode(bearer, key, algorithms=ALGORITHMS).claims
            self._rules().validate(claims)
        except ExpiredTokenError as error:
            raise self._refusal("it has expired") from error
        except MissingClaimError as error:
            raise self._refusal(f"it lacks a claim ({error.description})") from error
        except ClaimError as error:
            raise self._refusal(f"a claim is wrong ({error.description})") from error
        except (JoseError, ValueError) as error:  # malformed, an algorithm that is not allowed, a bad signature
            raise self._refusal("it is malformed or its signature does not hold") from error
        subject = claims[self._claim]
        if not isinstance(subject, str):
            raise self._refusal(f"its claim {self._claim} is no text")
        if self._claim == "email" and claims.get("email_verified") is not True:
            raise self._refusal("its address is not verified, and people can often choose it themselves")
        return subject

    def _rules(self) -> jwt.JWTClaimsRegistry:
        options: dict[str, Any] = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self._audience},
            "exp": {"essential": True},
        }
        options.setdefault(self._claim, {"essential": True})
        return jwt.JWTClaimsRegistry(now=int(self._clock.now().timestamp()), leeway=LEEWAY_SECONDS, **options)

    def _key(self, header: Mapping[str, Any]) -> Key:
        """Return the key that a token names. An unknown one makes us ask the issuer again, once a minute at most."""
        kid = header.get("kid")
        with self._lock:
            now = self._clock.now()
            is_fresh = self._kept_since is not None and now - self._kept_since < KEPT_FOR
            if self._keys is not None and is_fresh:
                try:
                    return self._keys.get_by_kid(kid)
                except InvalidKeyIdError:
                    if not self._may_ask(now):
                        raise
            elif not self._may_ask(now):
                raise self._unavailable("it did not answer less than a minute ago")
            self._asked_at = now
            self._keys = self._fetched()
            self._kept_since = now
            return self._keys.get_by_kid(kid)

    def _may_ask(self, now: datetime) -> bool:
        return self._asked_at is None or now - self._asked_at >= ASKED_AGAIN_AFTER

    def _fetched(self) -> KeySet:
        try:
            # A proxy of the environment has no business on loopback.
            with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not _is_loopback(self.issuer)) as client:
                described = _mapping(client, f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
                if described.get("issuer") != self.issuer:
                    raise self._unavailable(f"it calls itself {described.get('issuer')!r}")
                address = str(described.get("jwks_uri", ""))
                if not _is_safe(address):
                    raise self._unavailable(f"its keys are at {address!r}, which is not https")
                return _key_set(_mapping(client, address)["keys"])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise self._unavailable(f"what it answers is not what OpenID Connect says ({error})") from error

    def _refusal(self, why: str) -> Unauthenticated:
        return Unauthenticated(
            f"The token of {self.issuer} is not accepted: {why}. Get a new one from the issuer, for the audience "
            f"{self._audience}.",
            challenge='Bearer error="invalid_token"',
        )

    def _unavailable(self, why: str) -> IssuerUnavailable:
        return IssuerUnavailable(
            f"The keys of the issuer {self.issuer} can't be had: {why}. Try again in a minute; "
            "API tokens work meanwhile."
        )


def _header(bearer: str) -> Mapping[str, Any]:
    """Return the header, which nobody vouches for yet, if we would verify such a token at all."""
    header = jws.extract_compact(bearer.encode()).headers()
    algorithm, kind = header.get("alg"), str(header.get("typ", "")).lower()
    if algorithm not in ALGORITHMS or kind not in _KINDS:
        raise ValueError(f"algorithm {algorithm!r} and type {kind!r} are not accepted")
    return header


def _key_set(published: Sequence[Any]) -> KeySet:
    """Return the keys that we understand; an issuer may publish others beside them."""
    keys: list[Key] = []
    for one in published:
        with suppress(JoseError, ValueError, KeyError):
            keys.append(import_key(one))
    if not keys:
        raise ValueError("none of its keys is usable")
    return KeySet(keys)


def _mapping(client: httpx.Client, url: str) -> Mapping[str, Any]:
    response = client.get(url, headers={"Accept": "application/json"})
    response.raise_for_status()
    found = response.json()
    if not isinstance(found, dict):
        raise TypeError(f"{url} holds no JSON object")
    return cast("Mapping[str, Any]", found)


def _is_safe(url: str) -> bool:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return bool(parts.host) and (parts.scheme == "https" or (parts.scheme == "http" and parts.host in _LOOPBACK))


def _is_loopback(url: str) -> bool:
    return httpx.URL(url).host in _LOOPBACK
