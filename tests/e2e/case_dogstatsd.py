"""Cases of DogStatsD: what client libraries sent is what arrives, in numbers and tags."""

import json
import subprocess
from collections import defaultdict
from pathlib import Path

from agent import API_KEY, HOSTNAME, Agent, Setup, run_client
from checks import check, equal, wait_until
from fake_intake import CHECKS, EVENTS, SERIES, SKETCHES, FakeIntake
from metric_payload import COUNT, GAUGE, quantile

KINDS = ("counts", "gauges", "sets", "distributions", "histograms", "stamped")
CLIENTS = Path(__file__).parent / "clients"


def dogstatsd_python(setup: Setup):
    command = [setup.work / "venv/bin/python", CLIENTS / "statsd.py"]
    udp = _client(setup, "dogstatsd_python", lambda stage: [*command, f"udp:{stage.port}"])
    unix = _client(setup, "dogstatsd_python_unix", lambda stage: [*command, f"unix:{stage.socket}"])
    stream = _client(setup, "dogstatsd_python_stream", lambda stage: [*command, f"stream:{stage.stream_socket}"])
    return f"udp: {udp}; unix socket: {unix}; stream: {stream}"


def dogstatsd_node(setup: Setup):
    env = {"NODE_PATH": str(setup.work / "node-6/node_modules")}
    command = [setup.work / "node/node", CLIENTS / "statsd.js"]
    udp = _client(setup, "dogstatsd_node", lambda stage: [*command, f"udp:{stage.port}"], env)
    unix = _client(setup, "dogstatsd_node_unix", lambda stage: [*command, f"unix:{stage.socket}"], env)
    return f"udp: {udp}; unix socket: {unix}"


def dogstatsd_script(setup: Setup):
    with _stage(setup, "dogstatsd_script") as stage:
        sent = stage.folder / "sent"
        subprocess.run(["sh", CLIENTS / "statsd.sh", str(stage.port), sent], check=True, timeout=60)
        times = int(sent.read_text())
        stage.end(points=4 * times)
        equal(stage.sums(COUNT)["script.runs|job:backup"], times, "runs")
        equal(stage.last("script.free|job:backup"), times - 1, "free")
        [(_, sketch)] = stage.sketches().items()
        equal(sketch["cnt"], 2 * times, "values of a packed line")
    return f"{4 * times} points by nc, all there"


def _client(setup, name, command, env=None):
    with _stage(setup, name) as stage:
        truth = run_client(command(stage), setup.client_env(0, **(env or {})), stage.folder)
        points = sum(len(values) for kind in KINDS for values in truth.get(kind, {}).values())
        ledger = stage.end(at_least=1)
        _compare(truth, stage)
        row = ledger.signals["metrics"]
        equal(row.get("missed", 0), 0, "datagrams that the system lost")
        equal((row["dropped"], row["sent"]), (0, row["accepted"]), f"ledger {ledger.text}")
    contexts = sum(len(truth.get(kind, {})) for kind in KINDS)
    return f"{points} values of {contexts} contexts: {', '.join(kind for kind in KINDS if kind in truth)}, events, checks"


def _compare(truth, stage):
    sums, sketches = stage.sums(COUNT), stage.sketches()
    for key, values in truth["counts"].items():
        equal(sums[key], sum(value / rate for value, rate in values), f"count {key}")
    for key, values in truth["gauges"].items():
        equal(stage.last(key), values[-1][0], f"gauge {key}")
    for key, values in truth["sets"].items():
        # Each ten seconds count their own.
        equal(max(stage.points(GAUGE, key)), len({value for value, _ in values}), f"set {key}")
    for key, values in truth["histograms"].items():
        name, tags = key.split("|")
        values = [value for value, _ in values]
        equal(sums[f"{name}.count|{tags}"], len(values), f"count of {key}")
        equal(max(stage.points(GAUGE, f"{name}.max|{tags}")), max(values), f"highest of {key}")
    for key, values in truth["distributions"].items():
        values, sketch = sorted(value for value, _ in values), sketches[key]
        equal((sketch["cnt"], sketch["min"], sketch["max"]), (len(values), values[0], values[-1]), f"distribution {key}")
        _near(sketch["sum"], sum(values), 1e-9, f"sum of {key}")
        for part in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0):
            exact = values[int(part * (len(values) - 1))]
            _near(quantile(sketch["bins"], part), exact, 1 / 128, f"quantile {part} of {key}")
    for key, points in truth.get("stamped", {}).items():
        kind = COUNT if key in sums else GAUGE
        equal(stage.stamped(kind, key), [tuple(point) for point in points], f"points with a time of their own {key}")
    for path, wanted in ((EVENTS, truth["events"]), (CHECKS, truth["checks"])):
        found = stage.intake.metrics[path]
        equal(len(found), len(wanted), path)
        for one, other in zip(found, wanted):
            equal({name: one.get(name) for name in other}, other, path)


def _near(found, wanted, tolerance, what):
    check(abs(found - wanted) <= tolerance * abs(wanted), f"{what}: found {found}, wanted {wanted}")


class _stage:
    """An agent with its intake, and what arrived there by metric and tags."""

    def __init__(self, setup, name):
        self.folder, self.intake = setup.folder(name), FakeIntake(API_KEY)
        self.socket, self.stream_socket = self.folder / "statsd.sock", self.folder / "stream.sock"
        env = setup.agent_env(self.folder, self.intake, DD_DOGSTATSD_SOCKET=str(self.socket),
                              DD_DOGSTATSD_STREAM_SOCKET=str(self.stream_socket))
        self.agent = Agent([setup.binary, "run"], env)

    def __enter__(self):
        self.intake.__enter__()
        self.agent.__enter__()
        self.agent.ready()
        self.port = self.agent.dogstatsd_port()
        return self

    def __exit__(self, *error):
        self.agent.__exit__(*error)
        self.intake.__exit__(*error)

    def end(self, points=0, at_least=0):
        """Stops the agent once it has everything."""
        wait_until(lambda: max(points, at_least) <= self.agent.ledger_now().signals["metrics"]["accepted"], 30, "points")
        ledger = self.agent.terminate()
        ledger.require_balanced()
        self.intake.require_no_faults()
        for series in self.intake.metrics[SERIES]:
            equal([(r.type, r.name) for r in series.resources if r.type == "host"], [("host", HOSTNAME)], "host of series")
        return ledger

    def stamped(self, kind, key):
        """Seconds and values of a series, in the order of time."""
        found = [s for s in self.intake.metrics[SERIES] if _key(s) == key]
        check(found, f"no series {key} among {sorted({_key(s) for s in self.intake.metrics[SERIES]})}")
        equal({s.type for s in found}, {kind}, f"type of {key}")
        points = sorted((point.timestamp, point.value) for s in found for point in s.points)
        equal(len({at for at, _ in points}), len(points), f"points of {key} at one time, of which the intake keeps one")
        return points

    def points(self, kind, key):
        return [value for _, value in self.stamped(kind, key)]

    def last(self, key):
        return self.points(GAUGE, key)[-1]

    def sums(self, kind):
        keys = {_key(s) for s in self.intake.metrics[SERIES] if s.type == kind}
        return defaultdict(float, {key: sum(self.points(kind, key)) for key in keys})

    def sketches(self):
        merged = {}
        for sketch in self.intake.metrics[SKETCHES]:
            equal(sketch.host, HOSTNAME, "host of a sketch")
            whole = merged.setdefault(_key(sketch), {"cnt": 0, "sum": 0.0, "min": float("inf"), "max": float("-inf"), "bins": []})
            for part in sketch.dogsketches:
                equal(sum(part.n), part.cnt, "bins of a sketch")
                whole["cnt"] += part.cnt
                whole["sum"] += part.sum
                whole["min"], whole["max"] = min(whole["min"], part.min), max(whole["max"], part.max)
                whole["bins"] += zip(part.k, part.n)
        return merged


def _key(series):
    return f"{series.metric}|{','.join(sorted(series.tags))}"
