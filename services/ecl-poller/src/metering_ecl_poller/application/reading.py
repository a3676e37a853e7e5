"""Reads all pages of one device's readings as one: sorted, without repetition, known to be complete or not."""

from typing import Protocol

from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.answer import PageRequest
from metering_ecl_poller.domain.portal.dialect import RequestNames
from metering_ecl_poller.domain.portal.errors import AnswerUnreadableError, PortalRefusedError
from metering_ecl_poller.domain.portal.models import MasterData, ReadingsPage
from metering_ecl_poller.domain.portal.pages import DeviceReading, PageWalk, ReadingRequest


class Portal(Protocol):
    """The portal's web API. Every answer is archived before it is read. Raises `PortalError`."""

    async def master_data(self, account: PortalAccount) -> MasterData: ...
    async def readings_page(self, account: PortalAccount, wanted: PageRequest) -> ReadingsPage: ...
    def new_request_id(self) -> str: ...


async def read_forward(
    portal: Portal, account: PortalAccount, wanted: ReadingRequest, names: RequestNames
) -> DeviceReading:
    """Reads pages until the end, the page cap, or until `until_ms` is passed. Raises `PortalError`.

    A page without a new sample, or fewer samples than the portal counts, mean that the dialect has paging wrong:
    `AnswerUnreadableError`, since going on would take a part for the whole. A refusal behind the first page may be the
    portal's way of saying that there is no more: what came is a read that was cut off, to be gone on with by `from`.
    """
    walk, read_id = PageWalk(account.serial), portal.new_request_id()
    for turn in range(1 if names.paging == "from" else names.page_cap):
        try:
            page = await portal.readings_page(account, _page(wanted, names, turn, walk, read_id))
        except PortalRefusedError:
            if not walk.pages:
                raise
            break
        walk.add(page)
        if walk.is_last(page) or (wanted.until_ms is not None and walk.passed(wanted.until_ms)):
            return walk.reading(complete=True)
    if not walk.in_order:
        raise AnswerUnreadableError(account.serial, "readings", "more pages than the cap, and not in order of time")
    return walk.reading(complete=walk.ends_at(wanted.from_ms))


def _page(wanted: ReadingRequest, names: RequestNames, turn: int, walk: PageWalk, read_id: str) -> PageRequest:
    size = walk.page_size or names.wanted_page_size
    number = names.first_page + (turn * size if names.paging == "offset" else turn)
    return PageRequest(
        wanted.device, wanted.from_ms, number, read_id, until_ms=wanted.until_ms, channels=wanted.channels
    )
