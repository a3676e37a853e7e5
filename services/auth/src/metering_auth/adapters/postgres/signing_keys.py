"""The keys that this process knows: private parts opened from their seals, public parts for verification and JWKS."""

from collections.abc import Iterable, Mapping

import asyncpg
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key

from metering_auth.adapters.postgres.rows import Connection
from metering_auth.domain.tokens import SigningMaterial
from metering_common.postgres.queries import load_queries
from metering_common.registry.documents import KeyState
from metering_common.service.sealed import Keyring, SealedError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

QUERIES = load_queries("metering_auth", "sql/identity.sql")


class NoSigningKeyError(Exception):
    """No key is active: nothing can be signed."""


class SigningKeys:
    """A copy of the keys in memory; `load` brings it up to date."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._private: dict[str, SigningMaterial] = {}
        self._public: dict[str, RSAPublicKey] = {}
        self._states: dict[str, KeyState] = {}
        self._accept_until: dict[str, int | None] = {}
        self._unopened: dict[str, SealedError] = {}

    async def load(self, connection: Connection) -> None:
        """Reads all keys that are not retired. One that cannot be opened here hurts nothing until it is to sign."""
        self._take(await connection.fetch(QUERIES.kept_keys))

    async def active(self, connection: Connection, kid: str | None) -> SigningMaterial:
        """The key of which the database says that it is active; raises `NoSigningKeyError` or `SealedError`."""
        material = None if kid is None else await self.usable(connection, kid)
        if material is None:
            raise self._unopened.get(kid or "") or NoSigningKeyError("no signing key is active")
        return material

    def not_ready_reason(self) -> str | None:
        """For /readyz: the key that signs must be one that this process can open."""
        active = [kid for kid, state in self._states.items() if state is KeyState.ACTIVE]
        return next((f"key {kid}: {self._unopened[kid]}" for kid in active if kid in self._unopened), None)

    async def usable(self, connection: Connection, kid: str) -> SigningMaterial | None:
        """The key if its private part is still kept; loaded if it is new here (another replica may have made it)."""
        if kid not in self._private:
            await self.load(connection)
        return self._private.get(kid)

    @property
    def trusted(self) -> Mapping[str, RSAPublicKey]:
        """Public keys whose signatures count: all but withdrawn ones."""
        return {kid: key for kid, key in self._public.items() if self._states[kid] is not KeyState.WITHDRAWN}

    @property
    def decoy(self) -> RSAPublicKey:
        """Some public key, to verify against where no key fits."""
        for key in self._public.values():
            return key
        raise NoSigningKeyError("there is no key at all")

    def offered(self, now: int) -> dict[str, RSAPublicKey]:
        """What third parties may trust at a Unix second: ingest-api's own rule."""
        return {
            kid: key for kid, key in self.trusted.items() if (until := self._accept_until[kid]) is None or now < until
        }

    def _take(self, rows: Iterable[asyncpg.Record]) -> None:
        found = {row["kid"]: row for row in rows}
        self._states = {kid: KeyState(row["state"]) for kid, row in found.items()}
        self._accept_until = {kid: row["accept_until"] for kid, row in found.items()}
        self._public = {kid: self._public.get(kid) or _public_key(row["public_key"]) for kid, row in found.items()}
        kept = {kid: row["private_sealed"] for kid, row in found.items() if row["private_sealed"] is not None}
        self._open(kept)

    def _open(self, kept: Mapping[str, bytes]) -> None:
        """What was opened before is not opened again."""
        private, unopened = {kid: self._private[kid] for kid in kept if kid in self._private}, {}
        for kid in kept.keys() - private.keys():
            try:
                private[kid] = self._opened(kid, kept[kid])
            except SealedError as error:
                unopened[kid] = error
        for kid in unopened.keys() - self._unopened.keys():
            log.error("key.cannot_be_opened", kid=kid, error=str(unopened[kid]))
        self._private, self._unopened = private, unopened

    def _opened(self, kid: str, sealed: bytes) -> SigningMaterial:
        key = load_der_private_key(self._keyring.open(sealed, kid.encode()), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError(f"key {kid} is no RSA key")
        return SigningMaterial(kid, key)


def _public_key(pem: str) -> RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a public key is no RSA key")
    return key
