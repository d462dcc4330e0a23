"""A stand-in for Datadog's intakes: decodes what arrives, remembers it, answers as scripted."""

import gzip
import json
import zlib
from dataclasses import dataclass, field

import msgpack
import zstandard

import agent_payload
import metric_payload
from checks import Failed, check, wait_until
from fake_http import Answer, FakeServer

TRACES, LOGS, STATS = "/api/v0.2/traces", "/api/v2/logs", "/api/v0.2/stats"
# What the agent passes on as it came; bodies are the products' own business.
PASSED_ON = {
    "/api/v2/apmtelemetry", "/api/v2/profile", "/api/v0.1/pipeline_stats", "/api/intake/llm-obs/v2/eval-metric",
}
SERIES, SKETCHES, CHECKS, EVENTS = "/api/v2/series", "/api/beta/sketches", "/api/v1/check_run", "/api/v1/events"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
# What the intake of metrics takes of each: its type, bytes before and after inflation, and how it is read.
METRICS = {
    SERIES: (PROTOBUF, 512_000, 5_242_880, metric_payload.decode_series),
    SKETCHES: (PROTOBUF, 2_621_440, 4_194_304, metric_payload.decode_sketches),
    CHECKS: (JSON, 2_621_440, 4_194_304, json.loads),
    EVENTS: (JSON, 2_621_440, 4_194_304, lambda body: [json.loads(body)]),
}
STATS_KEYS = "AgentHostname AgentEnv Stats AgentVersion ClientComputed SplitPayload".split()
INFLATE = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@dataclass
class Post:
    """One request with what it held; `accepted` when it was answered 2xx."""

    path: str
    headers: dict
    accepted: bool
    payload: object = None
    logs: list = field(default_factory=list)


@dataclass
class PassedOn:
    """A tracer's request as it came through the agent."""

    path: str
    headers: dict
    body: bytes


class FakeIntake(FakeServer):
    """Takes traces, logs and statistics. `faults` collects what a real intake would refuse; a good run leaves it empty."""

    def __init__(self, api_key, *answers):
        self.api_key, self.answers = api_key, list(answers)
        self.posts, self.faults, self.stats, self.passed_on = [], [], [], []
        self.metrics = {path: [] for path in METRICS}
        super().__init__()
        self.url = f"http://{self.address}"

    def handle(self, method, path, headers, body):
        if path == STATS:
            return self._take_stats(method, path, headers, body)
        if path.split("?")[0] in PASSED_ON:
            return self._take_passed_on(method, path, headers, body)
        if path in METRICS:
            return self._take_metrics(method, path, headers, body)
        try:
            post = self._read(method, path, headers, body)
        except Exception as err:  # whatever the decoders raise is the agent's fault, and told to it as 400
            self.faults.append(f"{method} {path}: {type(err).__name__}: {err}")
            return Answer(400)
        with self.changed:
            answer = self.answers.pop(0) if self.answers else Answer(202, b"{}")
            post.accepted = not answer.reset and 200 <= answer.status < 300
            self.posts.append(post)
            self.changed.notify_all()
        return answer

    def _read(self, method, path, headers, body):
        check(method == "POST" and path in (TRACES, LOGS), "no such endpoint")
        check(headers.get("DD-Api-Key") == self.api_key, "wrong DD-Api-Key")
        body = INFLATE[headers.get("Content-Encoding", "")](body)
        post = Post(path, {name.lower(): value for name, value in headers.items()}, False)
        if path == TRACES:
            check(headers.get("Content-Type") == "application/x-protobuf", "wrong Content-Type")
            post.payload = agent_payload.decode(body)
        else:
            check(headers.get("Content-Type") == "application/json", "wrong Content-Type")
            check(len(body) <= 5_000_000, "body above 5 MB")
            post.logs = json.loads(body)
            check(isinstance(post.logs, list) and 0 < len(post.logs) <= 1000, "not an array of 1 to 1000 logs")
        return post

    def _take_stats(self, method, path, headers, body):
        """Statistics come beside what a case scripts answers for, so they take none of those."""
        try:
            check(method == "POST" and headers.get("DD-Api-Key") == self.api_key, "wrong method or DD-Api-Key")
            check(headers.get("Content-Type") == "application/msgpack", "wrong Content-Type")
            payload = msgpack.unpackb(INFLATE[headers.get("Content-Encoding", "")](body))
            check(set(payload) == set(STATS_KEYS), f"keys {sorted(payload)}")
        except Exception as err:  # as above
            self.faults.append(f"{method} {path}: {type(err).__name__}: {err}")
            return Answer(400)
        with self.changed:
            self.stats.append(payload)
        return Answer(202, b"{}")

    def _take_passed_on(self, method, path, headers, body):
        """These, too, come beside what a case scripts answers for."""
        keys = headers.get_all("DD-Api-Key")
        if method != "POST" or keys != [self.api_key]:
            self.faults.append(f"{method} {path}: wrong method or DD-Api-Key")
            return Answer(403)
        with self.changed:
            self.passed_on.append(PassedOn(path, {name.lower(): value for name, value in headers.items()}, body))
            self.changed.notify_all()
        return Answer(202, b"{}", {"Content-Type": "application/json"})

    def _take_metrics(self, method, path, headers, body):
        """The same for metrics, events and service checks."""
        kind, compressed_max, plain_max, read = METRICS[path]
        try:
            check(method == "POST" and headers.get("DD-Api-Key") == self.api_key, "wrong method or DD-Api-Key")
            check(headers.get("Content-Type") == kind, "wrong Content-Type")
            plain = INFLATE[headers.get("Content-Encoding", "")](body)
            check(len(body) <= compressed_max and len(plain) <= plain_max, f"too large: {len(body)}, {len(plain)}")
            records = read(plain)
            points = sum(len(series.points) for series in records) if path == SERIES else 0
            check(points <= 10_000, f"{points} points")
        except Exception as err:  # as above
            self.faults.append(f"{method} {path}: {type(err).__name__}: {err}")
            return Answer(400)
        with self.changed:
            self.metrics[path] += records
            self.changed.notify_all()
        return Answer(202, b'{"errors":[]}')

    def groups(self, payloads=None):
        """Each group of statistics, or each in these payloads."""
        with self.changed:
            return [g for p in (self.stats if payloads is None else payloads) for client in p["Stats"] for bucket in client["Stats"] for g in bucket["Stats"]]

    def accepted(self):
        with self.changed:
            return [post for post in self.posts if post.accepted]

    def payloads(self):
        return [post.payload for post in self.accepted() if post.payload]

    def chunks(self):
        """Each accepted chunk with the tracer payload around it."""
        return [(tp, chunk) for p in self.payloads() for tp in p.tracerPayloads for chunk in tp.chunks]

    def spans(self):
        return [span for _, chunk in self.chunks() for span in chunk.spans]

    def logs(self):
        return [log for post in self.accepted() for log in post.logs]

    def wait_posts(self, count, seconds=30):
        wait_until(lambda: count <= len(self.posts), seconds, f"{count} requests at the intake")

    def require_no_faults(self):
        if self.faults:
            raise Failed(f"the intake refused: {self.faults[:3]}")
