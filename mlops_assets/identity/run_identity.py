"""Whom a Dagster run acts as: who launched it says so in a signed tag; a run without one acts as the service `dagster`.

The Dagster UI shows a run's tags to anybody, so the tag is good for nothing else: it names one run, this purpose as its
audience, ends after a day, and no other door takes the platform's own signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Protocol

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from mlops_assets.identity.access import AccessPolicy
from mlops_assets.identity.directory import Directory
from mlops_assets.identity.principals import DAGSTER
from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.identity import Principal
from mlops_assets.storage.keys import KeyFolder

TAG = "mlops/principal"
PURPOSE = "runs"
AUDIENCE = ISSUER = "mlops_assets/runs"
KEPT_FOR = timedelta(days=1)
LAUNCH = "run.launch"
_ALGORITHM = "Ed25519"
_KIND = "mlops-run+jwt"


class InvalidRunIdentity(PlatformError):
    """A run's tag does not prove who launched it."""

    code: ClassVar[str] = "invalid_run_identity"


class TaggedRun(Protocol):
    """What we look at of a Dagster run."""

    @property
    def run_id(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]: ...


class RunIdentity:
    """Signs and reads the tag `mlops/principal` of runs."""

    def __init__(self, keys: KeyFolder, directory: Directory, access: AccessPolicy, clock: Clock) -> None:
        self._keys, self._directory, self._access, self._clock = keys, directory, access, clock

    def tags(self, launcher: Principal, run_id: str) -> dict[str, str]:
        """Return the tags of a run that `launcher` launches.

        Raises:
            Forbidden: if they may not launch runs.
        """
        self._access.require(launcher, LAUNCH)
        key = self._keys.signing_key(PURPOSE)
        now = self._clock.now()
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": launcher.name,
            "run": run_id,
            "scopes": sorted(launcher.scopes),
            "credential": launcher.credential,
            "iat": int(now.timestamp()),
            "exp": int((now + KEPT_FOR).timestamp()),
        }
        header = {"alg": _ALGORITHM, "kid": key.key_id, "typ": _KIND}
        signer = OKPKey.import_key(key.private_pem)
        return {TAG: jwt.encode(header, claims, signer, algorithms=[_ALGORITHM])}

    def principal_of(self, run: TaggedRun | None) -> Principal:
        """Return whom a run acts as, with the roles of now; a sensor's or a schedule's tick is no run.

        Raises:
            InvalidRunIdentity: if the tag is not ours, is another run's, or is older than a day.
            Forbidden: if the principal is unknown or deactivated, or may not launch runs.
        """
        if run is None or TAG not in run.tags:
            credential = "" if run is None else f"run:{run.run_id}"
            return self._access.require(self._directory.principal(DAGSTER, credential=credential), LAUNCH)
        claims = self._verified(run)
        found = self._directory.principal(str(claims["sub"]), credential=f"run:{run.run_id}")
        launcher = replace(found, scopes=frozenset(map(str, claims["scopes"])))
        return self._access.require(launcher, LAUNCH)

    def _verified(self, run: TaggedRun) -> Mapping[str, Any]:
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            run={"essential": True, "value": run.run_id},
            scopes={"essential": True},
            exp={"essential": True},
        )
        try:
            token = jwt.decode(run.tags[TAG], self._key(run.tags[TAG]), algorithms=[_ALGORITHM])
            rules.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise InvalidRunIdentity(
                f"The tag {TAG} of run {run.run_id} does not prove who launched it ({error}). A run that is launched "
                f"again in the Dagster UI must not carry the first one's tag: remove it there, and the run acts as "
                f"{DAGSTER!r}; or launch it with `mlops`."
            ) from None  # a failed run shows its innermost cause, and that is this
        return token.claims

    def _key(self, tag: str) -> OKPKey:
        """Return the public key that the tag names: keys of before a rotation still verify."""
        kid = jws.extract_compact(tag.encode()).headers().get("kid")
        public = self._keys.public_keys(PURPOSE).get(str(kid))
        if public is None:
            raise ValueError(f"no key of this installation has the id {kid!r}")
        return OKPKey.import_key(public.pem)
