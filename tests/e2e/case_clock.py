"""Case `clock_1970`: a board that starts in 1970. What it stamps then arrives with the right time, whoever tells it."""

import glob
import json
import socket
import time
from datetime import datetime, timezone
from email.utils import formatdate

from agent import API_KEY, GUARD_S, Agent, Setup
from checks import check, equal, wait_until
from fake_http import Answer
from fake_intake import CHECKS, EVENTS, SERIES, SKETCHES, FakeIntake
from fake_lambda import post

UPTIME_S = 100  # the wrong clock's time at the start
LAST_ALIVE_S = 26 * 3600  # ago: what a board without a battery may have saved when it was last alive
TOLERANCE_S = 15  # a header has whole seconds, a point the time of its ten seconds
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"


def clock_1970(setup: Setup):
    library = glob.glob(LIBRARY)
    if not library:
        return "left out: libfaketime is not installed"
    told = _run(setup, library[0], "told", _intake_tells)
    _run(setup, library[0], "early", _intake_tells, 1)  # the first ten seconds of 1970 are zero as a bucket's time
    was_set = _run(setup, library[0], "set", _clock_is_set)
    alive = _run(setup, library[0], "alive", _clock_is_set, time.time() - LAST_ALIVE_S)
    left = _run_left(setup, library[0])
    passed_on = _run_passed_on(setup, library[0])
    return (f"told by the intake: {told}; set by somebody: {was_set}, or after going on from a day ago: {alive}; "
            f"left for a run with a clock: {left}; {passed_on}")


class TellingIntake(FakeIntake):
    """An intake that nobody reaches at first."""

    def __init__(self):
        self.is_up, self.asked, self.posts_early = False, 0, []
        super().__init__(API_KEY)

    def handle(self, method, path, headers, body):
        if not self.is_up:
            if method == "POST":
                self.posts_early.append(path)
            self.asked += 1
            return Answer(reset=True)
        if (method, path) == ("GET", "/"):
            return Answer(404, headers={"Date": formatdate(time.time(), usegmt=True)})
        return super().handle(method, path, headers, body)


def _run(setup, library, name, end_outage, uptime=UPTIME_S):
    folder = setup.folder(f"clock_{name}")
    offset, is_plausible = folder / "offset", UPTIME_S < uptime
    began = time.time()
    offset.write_text(f"-{began - uptime:.0f}\n")
    with TellingIntake() as intake:
        env = {
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DD_FORWARDER_BACKOFF_BASE": "0.01", "DD_FORWARDER_BACKOFF_MAX": "0.05",
            "DD_FORWARDER_STORAGE_MAX_DISK_RATIO": "1", "DD_HEALTH_METRICS": "false",
        }
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake, **env)) as agent:
            ports = agent.ready()
            sent_at = time.time()
            _send(agent, ports, uptime + sent_at - began)
            wait_until(lambda: intake.asked, GUARD_S, "the first try")
            if not is_plausible:
                equal(intake.posts_early, [], "requests with data before anybody knows the time")
            end_outage(intake, offset)
            wait_until(lambda: _arrived(intake), GUARD_S, "all signals at the intake")
            ledger = agent.terminate()
            lines = [line for line in agent.all_lines() if "clock" in line]
        equal(any("cannot be right" in line for line in lines), not is_plausible, f"warnings about the clock in {lines}")
    intake.require_no_faults()
    ledger.require_balanced()
    stamps = _stamps(intake)
    wrong = {what: stamp - sent_at for what, stamp in stamps.items() if TOLERANCE_S < abs(stamp - sent_at)}
    equal(wrong, {}, "stamps off by seconds")
    return f"{len(stamps)} kinds of stamps within {max(abs(stamp - sent_at) for stamp in stamps.values()):.0f} s"


def _run_left(setup, library):
    """What a run without a clock has left on disk is sent by one that has a clock from its start."""
    folder = setup.folder("clock_left")
    began = time.time()
    with TellingIntake() as intake:
        env = setup.agent_env(folder, intake, DD_FORWARDER_BACKOFF_BASE="0.01", DD_FORWARDER_BACKOFF_MAX="0.05",
                              DD_FORWARDER_STORAGE_MAX_DISK_RATIO="1", DD_HEALTH_METRICS="false")
        wrong = {"LD_PRELOAD": library, "FAKETIME": f"-{began - UPTIME_S:.0f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with Agent([setup.binary, "run"], {**env, **wrong}) as agent:
            _send(agent, agent.ready(), UPTIME_S + time.time() - began)
            agent.terminate()
        intake.is_up, started = True, time.time()
        with Agent([setup.binary, "run"], env) as agent:
            agent.ready()
            wait_until(lambda: _arrived(intake), GUARD_S, "all signals at the intake")
            agent.terminate().require_balanced()
    intake.require_no_faults()
    stamps = _stamps(intake)
    wrong = {what: stamp - started for what, stamp in stamps.items() if TOLERANCE_S < abs(stamp - started)}
    equal(wrong, {}, "stamps off by seconds")
    return f"{len(stamps)} kinds of stamps within {max(abs(stamp - started) for stamp in stamps.values()):.0f} s"


def _run_passed_on(setup, library):
    """Where nothing but a tracer's telemetry is to be sent, its intake is asked for the time."""
    folder = setup.folder("clock_passed_on")
    with PassedOnIntake() as intake:
        wrong = {"LD_PRELOAD": library, "FAKETIME": f"-{time.time() - UPTIME_S:.0f}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        env = setup.agent_env(folder, intake, DD_FORWARDER_BACKOFF_BASE="0.01", DD_HEALTH_METRICS="false", **wrong)
        with Agent([setup.binary, "run"], env) as agent:
            equal(post(agent.ready()[1], "/telemetry/proxy/api/v2/apmtelemetry", b"{}")[0], 200, "answer to telemetry")
            wait_until(lambda: "POST" in [method for method, _ in intake.seen], 10, "telemetry at the intake")
            agent.terminate().require_balanced()
        equal(intake.seen, [("GET", "/"), ("POST", "/api/v2/apmtelemetry")], "requests")
    return "telemetry alone asks, too"


class PassedOnIntake(FakeIntake):
    """Takes everything."""

    def __init__(self):
        self.seen = []
        super().__init__(API_KEY)

    def handle(self, method, path, headers, body):
        self.seen.append((method, path))
        return Answer(202, b"{}", headers={"Date": formatdate(time.time(), usegmt=True)})


def _intake_tells(intake, _offset):
    intake.is_up = True


def _clock_is_set(intake, offset):
    offset.write_text("+0\n")
    intake.is_up = True


def _send(agent, ports, wrong_now):
    """One record of each kind, as clients on the same machine would stamp them."""
    span = {"trace_id": 7, "span_id": 8, "service": "s", "name": "n", "resource": "r", "start": int(wrong_now * 1e9),
            "duration": 1000}
    equal(post(ports[1], "/v0.3/traces", json.dumps([[span]]).encode())[0], 200, "answer to a span")
    stamp = datetime.fromtimestamp(wrong_now, timezone.utc).isoformat().replace("+00:00", "Z")
    line = {"time": stamp, "type": "function", "record": "a line"}
    equal(post(ports[0], "/lambda/logs", json.dumps([line]).encode())[0], 200, "answer to a line")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for point in ("views:1|c", "size:2|d", "_e{5,4}:title|text", "_sc|check|1"):
            client.sendto(point.encode(), ("127.0.0.1", agent.dogstatsd_port()))
    wait_until(lambda: agent.ledger_now().signals["checks"]["accepted"], GUARD_S, "the service check")
    post(ports[0], "/lambda/flush", b"{}")


def _arrived(intake):
    with intake.changed:
        return intake.spans() and intake.logs() and intake.stats and all(intake.metrics[path] for path in intake.metrics)


def _stamps(intake):
    buckets = [bucket for payload in intake.stats for client in payload["Stats"] for bucket in client["Stats"]]
    return {
        "span": intake.spans()[0].start / 1e9,
        "log": intake.logs()[0]["timestamp"] / 1e3,
        "bucket of statistics": buckets[0]["Start"] / 1e9,
        "point": intake.metrics[SERIES][0].points[0].timestamp,
        "sketch": intake.metrics[SKETCHES][0].dogsketches[0].ts,
        "check": intake.metrics[CHECKS][0]["timestamp"],
        "event": intake.metrics[EVENTS][0]["date_happened"],
    }
