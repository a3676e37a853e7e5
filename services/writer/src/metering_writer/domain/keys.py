"""What decides between COPY and upsert: which (device, time) a batch brings, and which of them it brings twice."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metering_writer.domain.binary_copy import Integers
from metering_writer.domain.columns import Block, Mask


class Keys(NamedTuple):
    """(device, time) of every measure of a batch, block after block; Unix seconds."""

    device: Integers
    ts: Integers


class Ranges(NamedTuple):
    """Per device the earliest and the latest time that a batch brings."""

    device: list[int]
    since: list[int]
    upto: list[int]


def keys_of(blocks: Sequence[Block]) -> Keys:
    if not blocks:
        return Keys(np.empty(0, np.int64), np.empty(0, np.int64))
    return Keys(np.concatenate([block.device for block in blocks]), np.concatenate([block.ts for block in blocks]))


def ranges_of(keys: Keys) -> Ranges:
    """One range per device. It may only decide for the quick way: requests that overtake each other give false hits."""
    order = np.lexsort((keys.ts, keys.device))
    device, ts = keys.device[order], keys.ts[order]
    starts = np.flatnonzero(np.r_[True, device[1:] != device[:-1]]) if len(device) else np.empty(0, np.int64)
    ends = np.r_[starts[1:], len(device)] - 1 if len(device) else starts
    return Ranges(device[starts].tolist(), ts[starts].tolist(), ts[ends].tolist())


def grouped(device: Integers, ts: Integers) -> tuple[Keys, Integers]:
    """Each (device, time) once, in key order, and for every entry the place of its own among them."""
    order = np.lexsort((ts, device))
    sorted_device, sorted_ts = device[order], ts[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (sorted_device[1:] != sorted_device[:-1]) | (sorted_ts[1:] != sorted_ts[:-1])
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum(starts) - 1
    return Keys(sorted_device[starts], sorted_ts[starts]), places


def repeated_in(keys: Keys) -> Mask:
    """Measures whose (device, time) the same batch brings more than once."""
    _, places = grouped(keys.device, keys.ts)
    return np.bincount(places)[places] > 1 if len(places) else np.zeros(0, np.bool_)


def among(keys: Keys, devices: Sequence[int]) -> Mask:
    """Measures of these devices."""
    return np.isin(keys.device, np.array(devices, np.int64))


def split(blocks: Sequence[Block], slow: Mask) -> tuple[list[Block], list[Block]]:
    """The blocks without and with the measures that must go the slow way; empty ones are left out."""
    fast_blocks, slow_blocks, start = [], [], 0
    for block in blocks:
        chosen = slow[start : start + len(block.ts)]
        start += len(block.ts)
        if chosen.any():
            slow_blocks.append(block.only(chosen))
        if not chosen.all():
            fast_blocks.append(block.only(~chosen) if chosen.any() else block)
    return fast_blocks, slow_blocks
