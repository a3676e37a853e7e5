"""metering-admin provider … and gateway …: who may send."""

import argparse

from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.revocation import RevocationInstant, wait_past, wait_published
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.commands.session import Answer, Parsers, Session, add_command, registry_id
from metering_auth.domain.plain import as_plain
from metering_common.registry.documents import Gateway, Provider, document_key

PUBLISH_SECONDS = 15.0  # a relay that died is replaced within 10 s
NOT_PUBLISHED = "committed, but not published yet: no auth process relays at the moment; it takes effect when one does"


def register(groups: Parsers) -> None:
    _register_provider(groups.add_parser("provider", help="who installs gateways").add_subparsers(required=True))
    _register_gateway(groups.add_parser("gateway", help="what sends measures").add_subparsers(required=True))


def _register_provider(commands: Parsers) -> None:
    add_command(commands, "add", _add_provider, "add a provider; prints its id").add_argument("name")
    add_command(commands, "list", _list_providers, "list all providers")
    for name, run, sentence in (
        ("disable", _disable_provider, "refuse all tokens of its gateways until it is enabled"),
        ("enable", _enable_provider, "take its gateways' tokens again"),
        ("revoke", _revoke_provider, "make every token issued to its gateways until now void for ever"),
    ):
        add_command(commands, name, run, sentence).add_argument("id", type=registry_id)


def _register_gateway(commands: Parsers) -> None:
    add = add_command(commands, "add", _add_gateway, "add a gateway; prints its id")
    add.add_argument("--provider", type=registry_id, required=True)
    add.add_argument("name")
    listing = add_command(commands, "list", _list_gateways, "list gateways")
    listing.add_argument("--provider", type=registry_id)
    for name, run, sentence in (
        ("issue-token", _issue_token, "print a first refresh token"),
        ("revoke", _revoke_gateway, "make every token issued to it until now void for ever"),
        ("reissue", _reissue, "revoke, then print a new first refresh token"),
        ("disable", _disable_gateway, "refuse its tokens until it is enabled"),
        ("enable", _enable_gateway, "take its tokens again"),
    ):
        add_command(commands, name, run, sentence).add_argument("id", type=registry_id)


async def _add_provider(session: Session, given: argparse.Namespace) -> Answer:
    provider = await owners.add_provider(session.connection, session.actor, given.name)
    return Answer(as_plain(provider), str(provider.id))


async def _list_providers(session: Session, _given: argparse.Namespace) -> Answer:
    return Answer([as_plain(each) for each in await owners.providers(session.connection)])


async def _disable_provider(session: Session, given: argparse.Namespace) -> Answer:
    changed = await owners.set_provider_active(session.connection, session.actor, given.id, active=False)
    return await _in_effect(session, changed)


async def _enable_provider(session: Session, given: argparse.Namespace) -> Answer:
    changed = await owners.set_provider_active(session.connection, session.actor, given.id, active=True)
    return await _in_effect(session, changed)


async def _revoke_provider(session: Session, given: argparse.Namespace) -> Answer:
    instant = RevocationInstant()
    return await _in_effect(session, await owners.revoke_provider(session.connection, session.actor, given.id, instant))


async def _add_gateway(session: Session, given: argparse.Namespace) -> Answer:
    gateway = await owners.add_gateway(session.connection, session.actor, given.provider, given.name)
    return Answer(as_plain(gateway), str(gateway.id))


async def _list_gateways(session: Session, given: argparse.Namespace) -> Answer:
    return Answer([as_plain(each) for each in await owners.gateways(session.connection, given.provider)])


async def _disable_gateway(session: Session, given: argparse.Namespace) -> Answer:
    changed = await owners.set_gateway_active(session.connection, session.actor, given.id, active=False)
    return await _in_effect(session, changed)


async def _enable_gateway(session: Session, given: argparse.Namespace) -> Answer:
    changed = await owners.set_gateway_active(session.connection, session.actor, given.id, active=True)
    return await _in_effect(session, changed)


async def _revoke_gateway(session: Session, given: argparse.Namespace) -> Answer:
    instant = RevocationInstant()
    return await _in_effect(session, await owners.revoke_gateway(session.connection, session.actor, given.id, instant))


async def _reissue(session: Session, given: argparse.Namespace) -> Answer:
    revoked = await _revoke_gateway(session, given)
    issued = await _issue_token(session, given)
    return Answer(issued.value, issued.text, failed=revoked.failed)


async def _issue_token(session: Session, given: argparse.Namespace) -> Answer:
    """Printed once and kept nowhere."""
    settings = session.store_settings()
    keys = SigningKeys(settings.keyring())
    await keys.load(session.connection)
    pair = await TokenIssuer(keys, settings.lifetimes()).issue(session.connection, session.actor, given.id)
    return Answer({"refreshToken": pair.refresh}, pair.refresh)


async def _in_effect(session: Session, changed: Provider | Gateway) -> Answer:
    """Returns when the change is on the registry topic and the second of a revocation has passed."""
    published = await wait_published(session.connection, document_key(changed), PUBLISH_SECONDS)
    if changed.revoked_at is not None:
        await wait_past(session.connection, changed.revoked_at)
    value = {**as_plain(changed), "published": published}
    return Answer(value, "done" if published else NOT_PUBLISHED, failed=not published)
