"""A steady load of all signals, numbered, so that what arrives can be compared with what was accepted."""

import json
import socket
import threading
import time
from datetime import datetime, timezone

from checks import equal
from fake_intake import CHECKS, EVENTS, SERIES, SKETCHES
from fake_lambda import post


class Load:
    """Sends one record of each signal every `every` seconds, stamped by `now`, until it is stopped."""

    def __init__(self, agent, every, now=time.time, padding=""):
        self.ports, self.statsd = agent.ready(), agent.dogstatsd_port()
        self.every, self.now, self.padding = every, now, padding
        self.sent, self.failed, self.stopping = 0, [], threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        self.thread.join()
        equal(self.failed, [], "requests that were not accepted")

    def send(self, count):
        """So many at once, without a thread."""
        for _ in range(count):
            self._send_one()
        equal(self.failed, [], "requests that were not accepted")

    def _run(self):
        while not self.stopping.wait(self.every):
            self._send_one()

    def _send_one(self):
        number, now = self.sent + 1, self.now()
        span = {"trace_id": number, "span_id": 1, "service": "s", "name": "n", "resource": f"GET /{number % 10}",
                "start": int(now * 1e9), "duration": 1000, "meta": {"padding": self.padding}}
        stamp = datetime.fromtimestamp(now, timezone.utc).isoformat().replace("+00:00", "Z")
        line = {"time": stamp, "type": "function", "record": f"line {number} {self.padding}"}
        for port, path, body in ((self.ports[1], "/v0.3/traces", [[span]]), (self.ports[0], "/lambda/logs", [line])):
            status, _ = post(port, path, json.dumps(body).encode())
            if status != 200:
                self.failed.append((number, path, status))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            points = f"e2e.count:1|c\ne2e.size:{number}|d\n_sc|e2e.check|0\n_e{{1,1}}:t|{number % 10}"
            client.sendto(points.encode(), ("127.0.0.1", self.statsd))
        self.sent = number


def arrived(intake):
    """What has come so far: numbers of spans and of lines, values counted, values in sketches, checks, events."""
    with intake.changed:
        counts = [p for series in intake.metrics[SERIES] if series.metric == "e2e.count" for p in series.points]
        sketches = [d for sketch in intake.metrics[SKETCHES] if sketch.metric == "e2e.size" for d in sketch.dogsketches]
        return {
            "spans": [span.traceID for span in intake.spans()],
            "lines": [int(log["message"].split()[1]) for log in intake.logs()],
            "counted": int(sum(point.value for point in counts)),
            "values": sum(sketch.cnt for sketch in sketches),
            "checks": len(intake.metrics[CHECKS]),
            "events": len(intake.metrics[EVENTS]),
        }


def require_all(found, sent):
    """Each record once."""
    everything = list(range(1, sent + 1))
    equal(sorted(found["spans"]), everything, "spans")
    equal(sorted(found["lines"]), everything, "lines")
    rest = {name: found[name] for name in ("counted", "values", "checks", "events")}
    equal(rest, dict.fromkeys(rest, sent), "metrics, checks and events")
