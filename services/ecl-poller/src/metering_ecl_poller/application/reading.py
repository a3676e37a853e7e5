"""Reads all pages of one device's readings as one: sorted, without repetition, known to be complete or not."""

from typing import Protocol

from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.answer import PageRequest
from metering_ecl_poller.domain.portal.dialect import RequestNames
from metering_ecl_poller.domain.portal.errors import AnswerUnreadableError
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

    A page that repeats the one before, or fewer samples than the portal counts, mean that the dialect has paging
    wrong: `AnswerUnreadableError`, since going on would take a part for the whole.
    """
    walk, read_id = PageWalk(account.serial), portal.new_request_id()
    for turn in range(names.page_cap):
        page = await portal.readings_page(
            account, PageRequest(wanted.device, wanted.from_ms, names.first_page + turn, read_id)
        )
        walk.add(page)
        if walk.is_last(page) or (wanted.until_ms is not None and walk.passed(wanted.until_ms)):
            return walk.reading(complete=True)
    if not walk.in_order:
        raise AnswerUnreadableError(account.serial, "readings", "more pages than the cap, and not in order of time")
    return walk.reading(complete=False)
