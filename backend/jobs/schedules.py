"""When a job is due: a cron expression in a time zone, or every so many seconds. Each such moment is a slot, and every
process computes the same ones.

Expressions mean what cron means by them, by cronsim: 0 and 7 are Sunday, a day of the month or of the week is enough
where both are given, and a time of day that a change of clocks skips or repeats comes once. Six fields begin with
seconds. APScheduler's own reading of them counts weekdays from Monday and wants both days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Schedule(Protocol):
    """The slots of a job."""

    @property
    def text(self) -> str:
        """As it is shown and was configured."""

    def after(self, moment: datetime) -> datetime:
        """The first slot later than this moment."""

    def latest(self, moment: datetime) -> datetime:
        """The last slot that is not later than this moment."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Made by `parse_cron`, which has looked that it is right."""

    text: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        # In the second of two equal hours cronsim names a time of day as that of the first, which is gone by.
        slots = (slot.astimezone(UTC) for slot in CronSim(self.text, moment.astimezone(self.zone)))
        return next(slot for slot in slots if slot > moment)

    def latest(self, moment: datetime) -> datetime:
        # Backwards from the next slot: the one before that.
        return next(CronSim(self.text, self.after(moment).astimezone(self.zone), reverse=True)).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Every:
    """Counted from 1970, so that the slots do not depend on when a process started."""

    seconds: float

    @property
    def text(self) -> str:
        return f"every {self.seconds:g} s"

    def after(self, moment: datetime) -> datetime:
        return self.latest(moment) + timedelta(seconds=self.seconds)

    def latest(self, moment: datetime) -> datetime:
        pause = timedelta(seconds=self.seconds)
        return BEGINNING + (moment - BEGINNING) // pause * pause


def parse_cron(text: str, zone: ZoneInfo) -> Cron:
    """The schedule of a cron expression; ValueError says what is wrong with it."""
    now = datetime.now(zone)
    try:
        next(CronSim(text, now))
    except CronSimError as error:
        raise ValueError(
            f"{text!r} is not a cron expression ({error}); it has five fields, as in `0 2 * * *`: minute, hour, day of "
            "the month, month, day of the week"
        ) from error
    except StopIteration:
        raise ValueError(f"{text!r} never comes") from None
    return Cron(" ".join(text.split()), zone)
