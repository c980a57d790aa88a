"""The clock and the folder's follower, for /readyz."""

from __future__ import annotations

from django.conf import settings

from backend.api.checks import Check
from backend.jobs.selectors import current_leader
from tasks.runtime import runtime


def check_scheduler() -> Check:
    follower, candidate = runtime.follower, runtime.candidate
    if follower is None or not follower.is_alive:
        return Check(ok=False, detail="the folder is not followed in this process")
    if settings.ENV.run_scheduler and (candidate is None or not candidate.is_alive):
        return Check(ok=False, detail="the scheduler is not running in this process")
    if runtime.sender is None or not runtime.sender.is_alive:
        return Check(ok=False, detail="mail is not sent any more")
    leader = current_leader()
    return Check(ok=True, detail=f"{leader.name} runs the jobs" if leader else "no process runs the jobs at the moment")
