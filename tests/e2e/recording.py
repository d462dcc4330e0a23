"""Events as the Extensions and Telemetry APIs send them, and the log lines that an agent makes of them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

# Mixed case on purpose: the intake wants the name in lower case.
FUNCTION = "E2E-Checkout"
ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}"
INIT_MS = 250.0


@dataclass
class Invocation:
    """One run of the function. `lines` are function records: text, or an object with a level."""

    request_id: str
    status: str = "success"
    lines: list = field(default_factory=list)
    start: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    duration_ms: float = 120.0
    cold: bool = False

    @property
    def report_ms(self):
        return self.duration_ms + 3.25

    def at(self, offset_ms):
        return self.start + timedelta(milliseconds=offset_ms)

    def invoke(self, deadline_ms):
        return {
            "eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": self.request_id,
            "invokedFunctionArn": ARN + ":prod",
            "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1-695735a5-00112233445566778899aabb;Sampled=1"},
        }

    def begin(self):
        """From the start event to the last function line."""
        record = {"requestId": self.request_id, "version": "$LATEST"}
        events = [event(self.at(0), "platform.start", record)]
        return events + [event(self.at(1 + i), "function", line) for i, line in enumerate(self.lines)]

    def done(self):
        record = {"requestId": self.request_id, "status": self.status,
                  "metrics": {"durationMs": self.duration_ms, "producedBytes": 2}}
        if self.status == "error":
            record["errorType"] = "Runtime.Unknown"
        return event(self.at(self.duration_ms), "platform.runtimeDone", record)

    def report(self):
        metrics = {"durationMs": self.report_ms, "billedDurationMs": 400, "memorySizeMB": 256, "maxMemoryUsedMB": 91}
        if self.cold:
            metrics["initDurationMs"] = INIT_MS
        record = {"requestId": self.request_id, "status": self.status, "metrics": metrics}
        return event(self.at(self.report_ms), "platform.report", record)

    def start_line(self):
        return f"START RequestId: {self.request_id} Version: $LATEST"

    def report_line(self):
        parts = [f"REPORT RequestId: {self.request_id}", f"Duration: {self.report_ms:.2f} ms",
                 f"Runtime Duration: {self.duration_ms:.2f} ms",
                 f"Post Runtime Duration: {self.report_ms - self.duration_ms:.2f} ms", "Billed Duration: 400 ms",
                 "Memory Size: 256 MB", "Max Memory Used: 91 MB"]
        return "\t".join(parts + ([f"Init Duration: {INIT_MS:.2f} ms"] if self.cold else []))


def init_events(at):
    """What the platform replays to a new subscriber after a cold start."""
    phase = {"initializationType": "on-demand", "phase": "init"}
    return [
        event(at, "platform.initStart", {**phase, "runtimeVersion": "python:3.12.v40", "functionName": FUNCTION,
                                          "functionVersion": "$LATEST", "instanceMaxMemory": 256}),
        event(at, "platform.telemetrySubscription", {"name": "datadog-agent", "state": "Subscribed",
                                                      "types": ["platform", "function", "extension"]}),
        event(at, "platform.initRuntimeDone", {**phase, "status": "success"}),
        event(at, "platform.initReport", {**phase, "status": "success", "metrics": {"durationMs": INIT_MS}}),
    ]


def extension_event(text):
    return event(datetime.now(timezone.utc), "extension", text)


def event(at, kind, record):
    return {"time": stamp(at), "type": kind, "record": record}


def stamp(at):
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def unix_ms(at):
    return int(at.timestamp() * 1000)
