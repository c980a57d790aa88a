"""When a job is due: cron as cron means it, and slots that every process computes alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.jobs.schedules import Every, Schedule, parse_cron

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULES: list[Schedule] = [
    Every(30),
    Every(0.1),
    Every(86_400),
    *(
        parse_cron(text, zone)
        for text in (
            "0 2 * * *",
            "30 2 * * *",
            "*/7 * * * *",
            "0 1 * * sun",
            "*/5 * * * * *",
            "0 0 29 2 *",
            "15 1,2 * * *",
        )
        for zone in (ZoneInfo("UTC"), BERLIN, ZoneInfo("Australia/Lord_Howe"))
    ),
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@settings(deadline=None, max_examples=150)
@given(
    schedule=st.sampled_from(SCHEDULES),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2039, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 (given one)
)
def test_a_moment_lies_between_two_slots(schedule: Schedule, moment: datetime) -> None:
    latest, following = schedule.latest(moment), schedule.after(moment)
    assert latest <= moment < following
    assert schedule.after(latest) == following
    assert schedule.latest(following) == following
    assert latest.tzinfo is following.tzinfo is UTC


CLOCK_CHANGES = [
    (BERLIN, utc("2026-03-29T01:00")),
    (BERLIN, utc("2026-10-25T01:00")),
    (ZoneInfo("Australia/Lord_Howe"), utc("2026-04-04T15:00")),  # by half an hour
    (ZoneInfo("Australia/Lord_Howe"), utc("2026-10-03T15:30")),
    (ZoneInfo("America/New_York"), utc("2026-11-01T06:00")),
]


@pytest.mark.parametrize(("zone", "change"), CLOCK_CHANGES)
@pytest.mark.parametrize(
    "text", ["30 2 * * *", "30 1 * * *", "15 1,2 * * *", "*/7 * * * *", "5 * * * *", "0 30 2 * * *"]
)
def test_slots_go_on_through_a_change_of_clocks(text: str, zone: ZoneInfo, change: datetime) -> None:
    schedule = parse_cron(text, zone)
    for minutes in range(-180, 181):
        moment = change + timedelta(minutes=minutes, seconds=10)
        latest, following = schedule.latest(moment), schedule.after(moment)
        assert latest <= moment < following, moment
        assert schedule.after(latest) == following, moment
        assert schedule.latest(following) == following, moment


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "SUN", "0,7"])
def test_sunday_is_sunday(sunday: str) -> None:
    weekly = parse_cron(f"0 1 * * {sunday}", ZoneInfo("UTC"))
    assert weekly.after(utc("2026-05-01T00:00")) == utc("2026-05-03T01:00")
    assert weekly.after(utc("2026-05-03T01:00")) == utc("2026-05-10T01:00")


def test_weekdays_begin_with_monday() -> None:
    weekdays = parse_cron("0 8 * * 1-5", ZoneInfo("UTC"))
    assert weekdays.after(utc("2026-05-01T08:00")) == utc("2026-05-04T08:00"), "from Friday to Monday"


def test_a_day_of_the_month_or_of_the_week_is_enough() -> None:
    either = parse_cron("0 0 15 * mon", ZoneInfo("UTC"))
    assert either.after(utc("2026-05-11T00:00")) == utc("2026-05-15T00:00")
    assert either.after(utc("2026-05-15T00:00")) == utc("2026-05-18T00:00")


def test_a_time_that_is_skipped_or_repeated_comes_once() -> None:
    nightly = parse_cron("30 2 * * *", BERLIN)
    spring = [utc("2026-03-28T00:00")]
    autumn = [utc("2026-10-24T00:00")]
    for moments in (spring, autumn):
        for _ in range(3):
            moments.append(nightly.after(moments[-1]))
    assert spring[1:] == [utc("2026-03-28T01:30"), utc("2026-03-29T01:00"), utc("2026-03-30T00:30")]
    assert autumn[1:] == [utc("2026-10-24T00:30"), utc("2026-10-25T00:30"), utc("2026-10-26T01:30")]


@pytest.mark.parametrize(
    "text", ["", "x", "0 2 * *", "61 * * * *", "0 2 * * 8", "0 0 30 2 *", "* * * * * * *", "@daily"]
)
def test_what_is_no_expression_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a cron expression|never comes"):
        parse_cron(text, ZoneInfo("UTC"))


def test_slots_of_an_interval_are_the_same_for_everybody() -> None:
    moment = utc("2026-05-01T08:00:17")
    assert Every(30).latest(moment) == utc("2026-05-01T08:00:00")
    assert Every(30).after(moment) == Every(30).after(moment + timedelta(seconds=12)) == utc("2026-05-01T08:00:30")
