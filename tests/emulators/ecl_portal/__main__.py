"""`python -m tests.emulators.ecl_portal`: the emulator as a process of its own, until it is ended.

Prints one JSON line with its addresses and the controllers' serials and codes when it is ready.
"""

import argparse
import asyncio
import json
import signal
import ssl
import sys
from pathlib import Path

import uvloop

from tests.emulators.ecl_portal import fleet, server
from tests.emulators.ecl_portal.virtual_clock import VirtualClock


def main() -> int:
    arguments = _parser().parse_args()
    uvloop.run(_serve(arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ecl_portal", description=__doc__)
    parser.add_argument("--dk-port", type=int, default=0, help="port of the Danish portal; 0 takes a free one")
    parser.add_argument("--com-port", type=int, default=0, help="port of the international portal")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control endpoint")
    parser.add_argument("--redirect-port", type=int, default=0, help="with TLS: port that redirects HTTP to HTTPS")
    parser.add_argument("--dk-count", type=int, default=1, help="ready-made controllers on the Danish portal")
    parser.add_argument("--com-count", type=int, default=1, help="ready-made controllers on the international portal")
    parser.add_argument("--latency-ms", type=float, default=0, help="how long each answer takes")
    parser.add_argument("--history-hours", type=float, default=288, help="since when the controllers have data")
    parser.add_argument("--start-ms", type=int, help="virtual Unix milliseconds to start at; now by default")
    parser.add_argument("--rate", type=float, default=1.0, help="virtual seconds per second; 0 stands still")
    parser.add_argument("--tls-certificate", type=Path, help="PEM file of certificate and key: serve HTTPS")
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    options = server.Options(
        dk_port=arguments.dk_port,
        com_port=arguments.com_port,
        control_port=arguments.control_port,
        redirect_port=arguments.redirect_port,
        dk_count=arguments.dk_count,
        com_count=arguments.com_count,
        latency_seconds=arguments.latency_ms / 1_000,
        history_ms=round(arguments.history_hours * 3_600_000),
        tls=_tls(arguments.tls_certificate),
        clock=VirtualClock(arguments.start_ms, arguments.rate),
    )
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with server.run(options) as emulator:
        print(json.dumps(_reported(emulator)), flush=True)  # noqa: T201  the line its starter waits for
        await ended.wait()


def _tls(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _reported(emulator: server.Emulator) -> dict[str, object]:
    return {
        "dkUrl": emulator.dk_url,
        "comUrl": emulator.com_url,
        "controlUrl": emulator.control_url,
        "redirectUrl": emulator.redirect_url,
        "serverCode": fleet.SERVER_CODE,
        "accessCode": fleet.ACCESS_CODE,
        "serials": {name: list(portal.controllers)[:10] for name, portal in emulator.portals.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
