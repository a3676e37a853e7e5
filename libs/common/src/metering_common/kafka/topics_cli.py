"""`metering-topics`: makes topics and ACLs from the topics' contracts, or says in what topics are weaker than those."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

import orjson
from aiokafka.errors import KafkaError

from metering_common.contract import schemas, topics
from metering_common.kafka import acls, topics_cat
from metering_common.service.output import Printing
from metering_common.service.settings import KafkaSettings, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when every topic holds its contract, 1 when not, 2 for wrong settings."""
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what matters is in the one line below
    options = _parser().parse_args(arguments)
    if options.command == "schemas":
        return _schemas(write=options.write)
    if options.command == "acls" and not options.apply:
        with Printing():
            _print_acls(acls.contract_acls(options.prefix), as_json=options.json)
        return 0
    return _with_kafka(options)


def _with_kafka(options: argparse.Namespace) -> int:
    settings = load_settings(KafkaSettings)
    if options.environment:
        settings = settings.model_copy(update={"environment": options.environment})
    try:
        if options.command == "acls":
            return asyncio.run(_apply_acls(settings, acls.contract_acls(options.prefix)))
        if options.command == "cat":
            return asyncio.run(_cat(settings, options))
        rows = asyncio.run(_apply(settings) if options.command == "apply" else _check(settings))
    except (KafkaError, OSError) as error:
        sys.stderr.write(f"metering-topics: {error}\n")
        return 1
    with Printing():
        _print(rows, as_json=options.json)
    return 1 if any(row.faults for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metering-topics", description="Topics and ACLs from contracts/topics/*.yaml."
    )
    parser.add_argument(
        "command",
        choices=["apply", "check", "acls", "schemas", "cat"],
        help="apply: create and strengthen; check: only look; acls: print who may do what, as commands for "
        "kafka-acls.sh; schemas: hold contracts/schemas against the code; cat: print what "
        "stands on a topic, a JSON line per record",
    )
    parser.add_argument("topic", nargs="?", choices=sorted(topics.load_contracts()), help="with cat")
    parser.add_argument("--partition", type=int, help="with cat: only this one")
    parser.add_argument("--offset", type=int, default=0, help="with cat: from here on")
    parser.add_argument("--limit", type=int, default=100, help="with cat: so many records at most")
    parser.add_argument("--environment", choices=["production", "laptop"], help="instead of KAFKA_ENVIRONMENT")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--apply", action="store_true", help="with acls: create them, as a principal that may")
    parser.add_argument("--prefix", default="", help="with acls: before each principal's name")
    parser.add_argument("--write", action="store_true", help="with schemas: write them from the code")
    return parser


def _schemas(*, write: bool) -> int:
    if write:
        schemas.write()
    differences = schemas.find_differences()
    sys.stderr.writelines(f"{difference}\n" for difference in differences)
    return 1 if differences else 0


def _print_acls(wanted: list[acls.Acl], *, as_json: bool) -> None:
    if as_json:
        content = orjson.dumps([acl._asdict() for acl in wanted], option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write(content + "\n")
    else:
        sys.stdout.writelines(f"{command}\n" for command in acls.kafka_acls_commands(wanted))


async def _apply_acls(settings: KafkaSettings, wanted: list[acls.Acl]) -> int:
    """Exit status 1 when a principal may do more than the contracts need."""
    surplus = await acls.apply_acls(settings, wanted)
    sys.stdout.write(f"{len(wanted)} ACLs hold\n")
    sys.stderr.writelines(
        f"{acl.principal} may also {acl.operation} {acl.resource} {acl.name}, which no contract needs\n"
        for acl in surplus
    )
    return 1 if surplus else 0


async def _cat(settings: KafkaSettings, options: argparse.Namespace) -> int:
    """One line per record, or with --json too: it is JSON anyway."""
    if options.topic is None:
        sys.stderr.write("metering-topics: cat needs a topic\n")
        return 2
    left = options.limit
    with Printing():
        async for record in topics_cat.records(settings, options.topic, options.partition, options.offset):
            if not left:
                break
            sys.stdout.write(orjson.dumps(record).decode() + "\n")
            left -= 1
    return 0


async def _apply(settings: KafkaSettings) -> list[topics.Applied]:
    return await topics.apply(settings)


async def _check(settings: KafkaSettings) -> list[topics.Applied]:
    rows = []
    for name in topics.load_contracts():
        try:
            await topics.check_topics(settings, [name])
            rows.append(topics.Applied(name, "checked", []))
        except topics.TopicContractError as error:
            rows.append(topics.Applied(name, "checked", error.faults))
    return rows


def _print(rows: list[topics.Applied], *, as_json: bool) -> None:
    if as_json:
        content = [{"topic": row.topic, "action": row.action, "faults": row.faults} for row in rows]
        sys.stdout.write(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for row in rows:
        sys.stdout.write(f"{row.topic}: {row.action}\n")
        sys.stderr.writelines(f"{fault}\n" for fault in row.faults)


if __name__ == "__main__":
    sys.exit(main())
