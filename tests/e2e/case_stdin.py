"""Case `stdin_run`: a recording through a pipe, local files instead of an intake."""

import json
import re
import subprocess
from datetime import datetime, timedelta, timezone

from agent import Agent, Setup
from checks import check, equal
from log_lines import compare_logs
from recording import Invocation, init_events, unix_ms

# A time long past, as in any recording: deadlines in it must count as absent.
START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc)
JSON_LINE = {"level": "WARN", "message": "langsam 🐢", "timestamp": "2026-01-02T03:04:05.680Z"}
INVOCATIONS = [
    Invocation("11111111-aaaa-4bbb-8ccc-000000000001", lines=["plain line\n", "ümlaut ✓ \"quoted\" \\", JSON_LINE],
               start=START, cold=True),
    Invocation("11111111-aaaa-4bbb-8ccc-000000000002", "error", ["Traceback: ValueError"],
               START + timedelta(seconds=10), 40.5),
    Invocation("11111111-aaaa-4bbb-8ccc-000000000003", "timeout", ["still waiting"],
               START + timedelta(seconds=20), 3000.0),
]


def stdin_run(setup: Setup):
    folder = setup.folder("stdin_run")
    out = folder / "out"
    command = [setup.binary, "run", "--events", "-", "--out", out]
    with Agent(command, setup.agent_env(folder), stdin=subprocess.PIPE) as agent:
        for line in _recording():
            agent.process.stdin.write(line + "\n")
        agent.process.stdin.close()  # end of input: drain and exit
        ledger = agent.finish()
        check(any(re.search(r"(?i)warn.*\b3\b", line) for line in agent.all_lines()),
              "no warning that names line 3, which is not JSON")
    spans, logs = _records(out / "traces.ndjson", "traces"), _records(out / "logs.ndjson", "logs")
    for invocation in INVOCATIONS:
        _check_span(spans, invocation)
    equal(len(spans), len(INVOCATIONS), "spans")
    lines = compare_logs(logs, INVOCATIONS)
    ledger.require_delivered(traces=len(spans), logs=len(logs))
    return (f"{len(spans)} root spans (success, error, timeout) with ids, times, errors; {lines} log lines with "
            f"request ids, times, severities; bad line told; ledger traces={len(spans)} logs={len(logs)}")


def _recording():
    lines = [json.dumps(event) for event in init_events(START)[:2]]
    lines.append("{this is not JSON")
    for invocation in INVOCATIONS:
        events = [invocation.invoke(unix_ms(invocation.start) + 3000), *invocation.begin(), invocation.done(),
                  invocation.report()]
        lines += [json.dumps(event, ensure_ascii=False) for event in events]
    return lines


def _records(path, signal):
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    equal({record.pop("signal") for record in records}, {signal}, f"signal in {path.name}")
    return records


def _check_span(spans, invocation):
    where = f"span of {invocation.request_id}"
    own = [span for span in spans if invocation.request_id in span["meta"].values()]
    equal(len(own), 1, f"{where}: how often")
    span = own[0]
    equal(span["name"], "mote.invocation", f"{where}: name")
    equal(int(span["parent_id"]), 0, f"{where}: parent")
    check(0 < int(span["trace_id"]) and 0 < int(span["span_id"]), f"{where}: an id is 0")
    equal(int(span["duration"]), int(invocation.duration_ms * 1_000_000), f"{where}: duration")
    equal(int(span["start"]), unix_ms(invocation.start) * 1_000_000, f"{where}: start")
    equal(int(span["error"]), int(invocation.status != "success"), f"{where}: error")
    equal(bool(span["meta"].get("error.type")), invocation.status != "success", f"{where}: has an error.type")
    if invocation.status == "timeout":
        check(any("time" in value.lower() for key, value in span["meta"].items() if key.startswith("error.")),
              f"{where}: no word of a timeout in {span['meta']}")
