"""The first refresh token of a gateway: asked for by an operator, it begins a family."""

import asyncio
from uuid import uuid4

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.adapters.postgres.signing_keys import QUERIES, SigningKeys
from metering_auth.adapters.postgres.token_store import add_token
from metering_auth.application.instants import Instants, database_clock
from metering_auth.domain.actor import Actor
from metering_auth.domain.texts import NotRegisteredError
from metering_auth.domain.token_pairs import IssuedClaims, Lifetimes, TokenPair

NEXT_SECOND = 0.1  # how often the clock is asked while the second of a revocation passes


class TokenIssuer:
    """Issues root tokens; the access token of a pair is given away with the first refresh, so it is not kept."""

    def __init__(self, keys: SigningKeys, lifetimes: Lifetimes, instants: Instants = database_clock) -> None:
        self._keys = keys
        self._lifetimes = lifetimes
        self._instants = instants

    async def issue(self, connection: Connection, actor: Actor, gateway_id: int) -> TokenPair:
        """A new family's first pair; raises `NotRegisteredError` or `NoSigningKeyError`.

        Tokens of the second of a revocation are void, so within it the next second is waited for.
        """
        pair = await self._try_issue(connection, actor, gateway_id)
        while pair is None:
            await asyncio.sleep(NEXT_SECOND)
            pair = await self._try_issue(connection, actor, gateway_id)
        return pair

    async def _try_issue(self, connection: Connection, actor: Actor, gateway_id: int) -> TokenPair | None:
        async with connection.transaction():
            provider_id = await connection.fetchval(QUERIES.provider_of_gateway, gateway_id)
            if provider_id is None:
                raise NotRegisteredError(f"gateway {gateway_id} is not registered")
            await connection.execute(QUERIES.hold_off_revocation, provider_id)
            standing = await connection.fetchrow(QUERIES.gateway_standing, gateway_id, self._instants())
            if standing is None:
                raise NotRegisteredError(f"gateway {gateway_id} is not registered")
            if int(standing["now"].timestamp()) <= (standing["revoked_at"] or 0):
                return None
            material = await self._keys.active(connection, standing["active_kid"])
            claims = IssuedClaims.fresh(standing["now"], self._lifetimes)
            pair = claims.signed(provider_id, gateway_id, material)
            family_id = uuid4()
            await connection.execute(QUERIES.add_family, family_id, gateway_id, standing["now"])
            await add_token(connection, family_id, (0, 0), claims, kid=material.kid, token=pair.refresh)
            gateway = f"gateway:{gateway_id}"
            await audit.record(connection, actor, "token.issued", gateway, after={"family": str(family_id)})
            return pair
