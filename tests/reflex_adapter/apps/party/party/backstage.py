"""What goes on in the app's process, for tests of what tabs leave behind. It sweeps much more often."""

import asyncio
import gc

import reflex as rx

from durafold.engine.listeners import _Listener
from durafold.reflex import hub
from durafold.reflex.classes import HUB

hub.SWEEP_INTERVAL_S = 0.2


class Counts(rx.State, mixin=True):
    """How many there are of each, when it was last asked. Tasks: those of durafold."""

    asked: int = 0
    tasks: int = 0
    tabs: int = 0
    open: int = 0
    listeners: int = 0

    @rx.event
    def ask(self) -> None:
        gc.collect()  # what nobody holds any more is no longer there
        self.asked += 1
        self.tasks = sum("durafold" in task.get_name() for task in asyncio.all_tasks())
        self.tabs = len(HUB.tabs)
        self.open = len(HUB.keys)
        self.listeners = sum(isinstance(thing, _Listener) for thing in gc.get_objects())
