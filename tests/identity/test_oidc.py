"""Tokens of an OpenID Connect issuer: only those that it signed, for us, now, about somebody we know."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey

from mlops_assets.identity.oidc import InvalidIssuer, IssuerUnavailable, OidcIssuer
from mlops_assets.identity.sign_in import SignIn, Unauthenticated
from mlops_assets.kernel.errors import Forbidden
from mlops_assets.kernel.identity import Role
from tests.identity.house import START, House, MovingClock
from tests.identity.issuer import Issuer

AUDIENCE = "mlops"
NOW = int(START.timestamp())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def sign_in(house: House, issuer: Issuer) -> SignIn:
    house.add("kim", Role.COMPLIANCE, oidc_subject="sub-kim")
    oidc = OidcIssuer(issuer.url, audience=AUDIENCE, claim="sub", clock=house.clock)
    return SignIn(house.tokens, house.directory, oidc)


def claims(issuer: Issuer, **changes: Any) -> dict[str, Any]:
    """Return good claims with changes; None leaves a claim out."""
    good = {"iss": issuer.url, "aud": AUDIENCE, "sub": "sub-kim", "iat": NOW, "nbf": NOW, "exp": NOW + 300}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_the_issuer_vouches_for_a_principal_of_the_directory(sign_in: SignIn, issuer: Issuer):
    kim = sign_in.principal_of(issuer.sign(claims(issuer)))
    assert (kim.name, kim.roles, kim.credential) == ("kim", {Role.COMPLIANCE}, f"oidc:{issuer.url}")


def test_our_own_tokens_are_still_taken_and_the_issuer_is_not_asked(sign_in: SignIn, issuer: Issuer, house: House):
    assert sign_in.principal_of(house.tokens.issue("operator", by=house.root).bearer).name == "operator"
    assert not issuer.asked


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # by RFC 9864; issuers still say it
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"])
def test_every_allowed_algorithm_is_verified(sign_in: SignIn, issuer: Issuer, algorithm: str):
    key = issuer.add_key(algorithm)
    assert sign_in.principal_of(issuer.sign(claims(issuer), key=key, alg=algorithm)).name == "kim"
    header, _, signature = issuer.sign(claims(issuer), key=key, alg=algorithm).split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims(issuer, sub="sub-ann")).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        sign_in.principal_of(f"{header}.{forged}.{signature}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", "third"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"nbf": NOW + 61}, "not yet"),
        ({"iat": NOW + 61}, "future"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": ["sub-kim"]}, "sub"),
    ],
)
def test_a_wrong_claim_is_refused_and_named(sign_in: SignIn, issuer: Issuer, changes: dict[str, Any], words: str):
    with pytest.raises(Unauthenticated, match=words) as caught:
        sign_in.principal_of(issuer.sign(claims(issuer, **changes)))
    assert caught.value.challenge == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW - 59}, {"nbf": NOW + 60}, {"iat": NOW + 60}, {"nbf": None, "iat": None}, {"aud": ["x", AUDIENCE]}],
)
def test_clocks_may_differ_by_a_minute_and_audiences_may_be_several(
    sign_in: SignIn, issuer: Issuer, changes: dict[str, Any]
):
    assert sign_in.principal_of(issuer.sign(claims(issuer, **changes))).name == "kim"


def _unsigned(issuer: Issuer) -> str:
    return _token({"alg": "none", "kid": "rsa-1"}, claims(issuer), b"")


def _keyed_with_the_public_key(issuer: Issuer) -> str:
    header = {"alg": "HS256", "kid": "rsa-1"}
    signed = _token(header, claims(issuer), b"").rstrip(".")
    return f"{signed}.{_b64(hmac.new(issuer.keys[0].as_pem(private=False), signed.encode(), hashlib.sha256).digest())}"


def _signed_by_a_stranger(issuer: Issuer) -> str:
    return issuer.sign(claims(issuer), key=RSAKey.generate_key(2048, {"kid": "rsa-1"}))


def _brings_its_own_key(issuer: Issuer) -> str:
    key = RSAKey.generate_key(2048, {"kid": "rsa-1"})
    header = {"alg": "RS256", "kid": "rsa-1", "jwk": key.as_dict(private=False)}
    return jws.serialize_compact(header, json.dumps(claims(issuer)), key, algorithms=["RS256"])


def _stronger_but_not_allowed(issuer: Issuer) -> str:
    return issuer.sign(claims(issuer), alg="RS512")


def _another_kind_of_statement(issuer: Issuer) -> str:
    return issuer.sign(claims(issuer), typ="logout+jwt")


def _not_an_object(issuer: Issuer) -> str:
    return jws.serialize_compact({"alg": "RS256", "kid": "rsa-1"}, b"[1]", issuer.keys[0], algorithms=["RS256"])


def _with_a_secret_of_ours(issuer: Issuer) -> str:
    return jwt.encode({"alg": "HS256"}, claims(issuer), OctKey.import_key("secret-of-32-bytes-or-more-for-hs256"))


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize(
    "forge",
    [
        _unsigned,
        _keyed_with_the_public_key,
        _signed_by_a_stranger,
        _brings_its_own_key,
        _stronger_but_not_allowed,
        _another_kind_of_statement,
        _not_an_object,
        _with_a_secret_of_ours,
    ],
)
def test_a_forged_token_is_refused(sign_in: SignIn, issuer: Issuer, forge):
    with pytest.raises(Unauthenticated, match="not accepted"):
        sign_in.principal_of(forge(issuer))


def test_an_encryption_key_of_the_issuer_signs_nothing(sign_in: SignIn, issuer: Issuer):
    key = RSAKey.generate_key(2048, {"kid": "for-encryption", "use": "enc"})
    issuer.keys.append(RSAKey.import_key(key.as_dict(private=False)))
    signer = RSAKey.import_key({**key.as_dict(private=True), "use": "sig"})
    with pytest.raises(Unauthenticated):
        sign_in.principal_of(issuer.sign(claims(issuer), key=signer))


@given(text=st.one_of(st.from_regex(r"[\w=-]{0,40}\.[\w=-]{0,40}\.[\w=-]{0,40}", fullmatch=True), st.text(max_size=80)))
def test_no_text_is_more_than_refused(text: str):
    oidc = OidcIssuer("https://issuer.invalid", audience=AUDIENCE, claim="sub", clock=MovingClock())
    with pytest.raises(Unauthenticated):
        oidc.subject_of(text)


def test_a_subject_that_nobody_added_is_refused_with_who_can(sign_in: SignIn, issuer: Issuer, house: House):
    with pytest.raises(Forbidden, match=r"sub-lee.*An admin adds it"):
        sign_in.principal_of(issuer.sign(claims(issuer, sub="sub-lee")))
    house.directory.deactivate("kim", by=house.root)
    with pytest.raises(Forbidden, match="deactivated"):
        sign_in.principal_of(issuer.sign(claims(issuer)))


def test_another_claim_may_name_the_principal(house: House, issuer: Issuer):
    house.add("lee", Role.QUANT, oidc_subject="lee@desk.example")
    oidc = OidcIssuer(issuer.url, audience=AUDIENCE, claim="email", clock=house.clock)
    sign_in = SignIn(house.tokens, house.directory, oidc)
    good = {"email": "lee@desk.example", "email_verified": True}
    assert sign_in.principal_of(issuer.sign(claims(issuer, **good))).name == "lee"
    for changes, words in (
        ({}, "email"),
        ({"email": ["lee@desk.example"], "email_verified": True}, "no text"),
        ({"email": "lee@desk.example"}, "not verified"),
        ({**good, "email_verified": False}, "not verified"),
        ({**good, "email_verified": "false"}, "not verified"),
    ):
        with pytest.raises(Unauthenticated, match=words):
            sign_in.principal_of(issuer.sign(claims(issuer, **changes)))


def test_keys_are_asked_for_once_an_hour(sign_in: SignIn, issuer: Issuer, house: House):
    for _ in range(5):
        sign_in.principal_of(issuer.sign(claims(issuer, exp=NOW + 10_000)))
    assert issuer.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}
    house.clock.move(hours=1)
    sign_in.principal_of(issuer.sign(claims(issuer, exp=NOW + 10_000)))
    assert issuer.asked["/keys"] == 2


def test_a_rotated_key_is_found_and_the_withdrawn_one_ends(sign_in: SignIn, issuer: Issuer, house: House):
    old = issuer.sign(claims(issuer))
    assert sign_in.principal_of(old).name == "kim"
    issuer.keys.clear()
    issuer.add_key("RS256")
    house.clock.move(minutes=1)
    assert sign_in.principal_of(issuer.sign(claims(issuer))).name == "kim"
    with pytest.raises(Unauthenticated):
        sign_in.principal_of(old)


def test_a_flood_of_unknown_keys_asks_the_issuer_once_a_minute(sign_in: SignIn, issuer: Issuer, house: House):
    assert sign_in.principal_of(issuer.sign(claims(issuer))).name == "kim"
    stranger = RSAKey.generate_key(2048, {"kid": "unknown"})
    flood = issuer.sign(claims(issuer, exp=NOW + 10_000), key=stranger)
    for _ in range(120):
        house.clock.move(seconds=1)
        with pytest.raises(Unauthenticated):
            sign_in.principal_of(flood)
    assert issuer.asked["/keys"] == 3


def test_an_issuer_that_is_down_is_said_to_be_and_not_asked_on_every_call(
    sign_in: SignIn, issuer: Issuer, house: House
):
    token = issuer.sign(claims(issuer))
    issuer.status = 500
    for _ in range(10):
        with pytest.raises(IssuerUnavailable) as caught:
            sign_in.principal_of(token)
    assert caught.value.code == "store_unavailable"
    assert issuer.asked.total() == 1
    issuer.status = 200
    house.clock.move(minutes=1)
    assert sign_in.principal_of(token).name == "kim"


def test_an_issuer_that_does_not_listen_is_unavailable(sign_in: SignIn, issuer: Issuer):
    token = issuer.sign(claims(issuer))
    issuer._server.server_close()
    with pytest.raises(IssuerUnavailable, match="ConnectError"):
        sign_in.principal_of(token)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"discovery": {"issuer": "https://elsewhere.example"}}, "calls itself"),
        ({"discovery": {"jwks_uri": "http://keys.example/keys"}}, "not https"),
        ({"discovery": {"jwks_uri": None}}, "not https"),
        ({"keys": {"keys": []}}, "not what OpenID Connect says"),
        ({"keys": {"keys": 7}}, "not what OpenID Connect says"),
        ({"keys": {"keys": [{"kty": "RSA"}, 7]}}, "not what OpenID Connect says"),
    ],
)
def test_an_issuer_that_is_not_itself_is_not_believed(
    sign_in: SignIn, issuer: Issuer, changes: dict[str, Any], words: str
):
    issuer.changes = changes
    with pytest.raises(IssuerUnavailable, match=words):
        sign_in.principal_of(issuer.sign(claims(issuer)))


@pytest.mark.parametrize("url", ["http://issuer.example", "ftp://issuer.example", "issuer.example", "", "https://"])
def test_an_issuer_without_https_is_refused_at_once(url: str):
    with pytest.raises(InvalidIssuer, match="https"):
        OidcIssuer(url, audience=AUDIENCE, claim="sub", clock=MovingClock())


def _token(header: dict[str, Any], body: dict[str, Any], signature: bytes) -> str:
    return ".".join([_b64(json.dumps(header).encode()), _b64(json.dumps(body).encode()), _b64(signature)])


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
