"""Cases `outage_20s` and `outage_26h`: an intake that fails in every way, and one that is away for longer than it takes old data."""

import glob
import json
import signal
import time
from email.utils import formatdate

from agent import API_KEY, GUARD_S, Agent, Setup
from case_clock import LIBRARY
from checks import check, equal, wait_until
from door import Door
from fake_http import Answer
from fake_intake import FakeIntake
from fake_lambda import post
from load import Load, arrived, require_all

PHASE_S = 2.5
FAST = {"DD_FORWARDER_BACKOFF_BASE": "0.05", "DD_FORWARDER_BACKOFF_MAX": "0.5", "DD_FORWARDER_TIMEOUT": "1",
        "DD_LOGS_CONFIG_BATCH_WAIT": "0.2", "DD_FORWARDER_STORAGE_MAX_DISK_RATIO": "1", "DD_HEALTH_METRICS": "false"}
HOUR_S = 3600


class MoodyIntake(FakeIntake):
    """Answers everything with `status` while that is set, and `slowly` if it is to; else as an intake does, and tells the time."""

    def __init__(self, now=time.time):
        self.status, self.headers, self.delay, self.now = None, {}, 0, now
        super().__init__(API_KEY)

    def handle(self, method, path, headers, body):
        if self.status:
            return Answer(self.status, headers=self.headers)
        answer = Answer(404) if (method, path) == ("GET", "/") else super().handle(method, path, headers, body)
        answer.delay, answer.headers = self.delay, answer.headers | {"Date": formatdate(self.now(), usegmt=True)}
        return answer

    def turn(self, status=None, delay=0, **headers):
        self.status, self.delay, self.headers = status, delay, headers


def outage_20s(setup: Setup):
    folder = setup.folder("outage_20s")
    with MoodyIntake() as intake, Door(intake) as door:
        with Agent([setup.binary, "run"], _env(setup, folder, door.url)) as agent, Load(agent, 0.02) as load:
            for mode in ("refuse", "reset", "silent", "drip"):
                door.turn(mode)
                load.stopping.wait(PHASE_S)
            door.turn("open")
            moods = [dict(status=500), dict(status=429, **{"Retry-After": "1"}), dict(status=403), dict(delay=0.5)]
            for mood in moods:
                intake.turn(**mood)
                load.stopping.wait(PHASE_S)
                if mood.get("status") == 403:
                    intake.turn()
                    agent.signal(signal.SIGHUP)  # the key is resolved again at once and not within a minute
            before = load.sent
            intake.turn()
            wait_until(lambda: before < max(arrived(intake)["lines"], default=0), GUARD_S, "new lines at the intake")
            load.stop()
            wait_until(lambda: _is_through(agent), GUARD_S, "everything sent")
            ledger = agent.terminate()
        found = arrived(intake)
    require_all(found, load.sent)
    ledger.require_balanced()
    intake.require_no_faults()
    first_new = next(at for at, line in enumerate(found["lines"]) if before < line)
    behind = sum(line <= before for line in found["lines"][first_new:])
    return (f"{load.sent} records of each signal through refused, reset, silent, one byte a second, 500, 429, 403 and slow; "
            f"each arrived once; {behind} old lines came behind the first new one")


def _is_through(agent):
    rows = agent.ledger_now().signals.values()
    return all(row["memory"] == row["spool"] == 0 for row in rows)


def outage_26h(setup: Setup):
    library = glob.glob(LIBRARY)
    if not library:
        return "left out: libfaketime is not installed"
    folder = setup.folder("outage_26h")
    offset, ahead = folder / "offset", [0]

    def leap(hours):
        ahead[0] = int(hours * HOUR_S)
        offset.write_text(f"+{ahead[0]}\n")

    leap(0)
    fake = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with MoodyIntake(lambda: time.time() + ahead[0]) as intake, Door(intake) as door:
        with Agent([setup.binary, "run"], _env(setup, folder, door.url, **fake)) as agent:
            load = Load(agent, 0, lambda: time.time() + ahead[0])
            _deliver_one(agent, load)  # the intake agrees with the clock, so that a leap is time that has passed
            door.turn("refuse")
            for hours in (0, 9, 25.5):
                leap(hours)
                load.send(10)
                wait_until(lambda: agent.ledger_now().signals["checks"]["accepted"] == load.sent, GUARD_S, "all checks")
                post(load.ports[0], "/lambda/flush", b"{}")  # closes bodies; they cannot leave, so the answer takes two seconds
                wait_until(lambda: _is_on_disk(agent, load.sent), GUARD_S, "everything in the spool")
            leap(26)
            door.turn("open")
            wait_until(lambda: _is_through(agent), GUARD_S, "everything sent or too old")
            ledger = agent.terminate(code=75)
        found = arrived(intake)
    equal(sorted(found["spans"]), list(range(1, 31)), "spans, which the intake takes whatever their age")
    equal(sorted(found["lines"]), [0, *range(11, 31)], "lines of the last 18 hours, and the one before")
    equal((found["counted"], found["values"], found["checks"]), (10, 10, 10), "points and checks of the last hour")
    equal(found["events"], 20, "events of the last 18 hours")
    rows = ledger.signals
    too_old = {name: rows[name].get("too_old", 0) for name in ("traces", "logs", "metrics", "checks", "events")}
    equal(too_old, {"traces": 0, "logs": 10, "metrics": 40, "checks": 20, "events": 10}, "too old")
    check(all(ledger.settles(name) for name in rows), f"not balanced: {ledger.text}")
    intake.require_no_faults()
    return "26 hours: 30 spans, 20 of 30 lines and events, 10 of 30 points and checks arrived; the others counted as too old"


def _deliver_one(agent, load):
    line = {"time": "2026-01-02T03:04:05Z", "type": "function", "record": "line 0"}
    equal(post(load.ports[0], "/lambda/logs", json.dumps([line]).encode())[0], 200, "answer to a line")
    wait_until(lambda: agent.ledger_now().signals["logs"]["sent"] == 1, GUARD_S, "the first line delivered")


def _is_on_disk(agent, sent):
    rows = agent.ledger_now().signals
    return all(rows[name]["spool"] + rows[name].get("too_old", 0) + rows[name]["sent"] == rows[name]["accepted"] for name in rows) and \
        rows["metrics"]["accepted"] == 2 * sent


def _env(setup, folder, url, **more):
    env = setup.agent_env(folder, **FAST, **more)
    return env | {"DD_API_KEY": API_KEY, "DD_DD_URL": url, "DD_APM_DD_URL": url, "DD_LOGS_CONFIG_LOGS_DD_URL": url}
