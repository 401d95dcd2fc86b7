"""Pages of a stream as what a replica folds."""

from __future__ import annotations

from durafold.client import Page
from durafold.state.replica import Batch
from durafold.wire.envelope import Envelopes

__all__ = ["batch_of"]


def batch_of(page: Page) -> Batch:
    """The messages of a page, to fold.

    Raises:
        MalformedResponse: the page is no JSON, as `Page.json` says.
    """
    return Batch(Envelopes(page.json()), page.offset, page.next_offset)
