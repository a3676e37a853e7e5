"""A request's body for tests, as aiohttp's server hands it to a handler."""

import asyncio
from unittest.mock import Mock

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol


def stream(*chunks: bytes, ended: bool = True) -> StreamReader:
    """Returns what has come so far; more may be fed, unless it has ended."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(Mock(spec=asyncio.Transport))
    content = StreamReader(protocol, 1 << 20, loop=loop)
    for chunk in chunks:
        content.feed_data(chunk)
    if ended:
        content.feed_eof()
    return content
