"""Case `lambda_run`: the binary as `datadog-agent` in a Lambda-like sandbox, from register to shutdown."""

import base64
import json
import shutil
import signal
import statistics
import subprocess
import time

from agent import API_KEY, GUARD_S, Agent, Setup
from checks import check, equal
from fake_intake import FakeIntake
from fake_lambda import FakeLambda, post
from log_lines import check_lambda_fields, compare_logs, text_of
from namespace import EXTENSIONS
from recording import ARN, FUNCTION, Invocation, extension_event, init_events

NAME = "datadog-agent"
SHUTDOWN_MS = 2000
STARTS = 20
PARENT = {"x_datadog_trace_id": "7000000000000000001", "x_datadog_parent_id": "7000000000000000002",
          "x_datadog_sampling_priority": "1"}
SPAN_ID = 7000000000000000003

# Lambda sends types we do not know yet, and a batch is not always well-formed: the rest of it must survive.
BAD_EVENTS = [{"time": "2026-01-02T03:04:05.678Z", "type": "platform.somethingNew", "record": {"x": [1, {}]}},
              {"time": "not a time", "type": "platform.start", "record": 7}, {"type": "function"}, "text", None, 12]


def lambda_run(setup: Setup):
    folder = setup.folder("lambda_run")
    executable = install(setup, folder)
    try:
        summary = _conversation(setup, folder, executable)
        print("   " + _figures(setup, folder, executable), flush=True)
    finally:
        executable.unlink()
    return summary


def install(setup, folder):
    """Where Lambda puts an extension; client libraries test for this very file."""
    target = (EXTENSIONS if setup.namespaced else folder) / NAME
    shutil.copy(setup.binary, target)
    return target


def lambda_env(setup, folder, intake, sandbox):
    return setup.agent_env(
        folder, intake, AWS_LAMBDA_RUNTIME_API=sandbox.address, AWS_LAMBDA_FUNCTION_NAME=FUNCTION,
        AWS_REGION="us-east-1", AWS_LAMBDA_INITIALIZATION_TYPE="on-demand", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256",
        AWS_LAMBDA_FUNCTION_VERSION="$LATEST")


def _invocations():
    """Success, handler error, success amid bad telemetry, timeout."""
    plain = Invocation("22222222-aaaa-4bbb-8ccc-000000000001", cold=True, lines=[
        "plain line\n", "Größe ✓", {"level": "WARN", "message": "structured"}])
    return [
        plain,
        Invocation("22222222-aaaa-4bbb-8ccc-000000000002", "error",
                   ["[ERROR] ValueError: kaputt", '{"level":"ERROR","m":1}']),
        Invocation("22222222-aaaa-4bbb-8ccc-000000000003", lines=[f"line {i}" for i in range(40)]),
        Invocation("22222222-aaaa-4bbb-8ccc-000000000004", "timeout", ["before the timeout"], duration_ms=3000.0),
    ]


class Conversation:
    """The state between the events of one run."""

    def __init__(self, sandbox, intake, agent, trace_port):
        self.sandbox, self.intake, self.agent, self.trace_port = sandbox, intake, agent, trace_port
        self.report, self.lines_fed = [], 0

    def invoke(self, number, invocation):
        """From the thaw to the next `/next`. The report of the previous invocation comes with this one."""
        sandbox = self.sandbox
        self.agent.signal(signal.SIGCONT)
        sandbox.answer_next(invocation.invoke(int(time.time() * 1000) + 1000 * GUARD_S))
        init = init_events(invocation.at(-1)) if invocation.cold else []
        bad = BAD_EVENTS if number == 3 else []
        sandbox.send_telemetry(self.report + self._own_lines() + init + bad + invocation.begin())
        self._trace(number, invocation)
        equal(sandbox.next_calls, number, f"calls of /next before the function has ended ({number})")
        sandbox.send_telemetry([invocation.done()])
        self.report = [invocation.report()]
        sandbox.wait_next(number + 1)
        self.freeze()

    def freeze(self):
        """What the sandbox does to an extension that waits in `/next`: not one more instruction."""
        self.agent.signal(signal.SIGSTOP)

    def _own_lines(self):
        """In Lambda what an extension prints comes back to it as `extension` events."""
        lines = self.agent.all_lines()
        events = [extension_event(line) for line in lines[self.lines_fed:]]
        self.lines_fed = len(lines)
        return events

    def _trace(self, number, invocation):
        """The function's tracer: a span of its own each time; the second also has the agent make `aws.lambda`."""
        if number == 2:
            status, headers = post(self.agent.ready()[0], "/lambda/start-invocation", b'{"order":7}', **PARENT)
            equal(status, 200, "answer to start-invocation")
            equal(headers.get("x-datadog-trace-id"), PARENT["x_datadog_trace_id"], "trace id from start-invocation")
        span = {"service": "checkout", "name": "work", "resource": invocation.request_id, "trace_id": 500 + number,
                "span_id": 600 + number, "parent_id": 0, "start": int(invocation.start.timestamp()) * 10**9,
                "duration": 5_000_000, "error": 0, "meta": {}, "metrics": {"_sampling_priority_v1": 1}, "type": "serverless"}
        status, _ = post(self.trace_port, "/v0.4/traces", json.dumps([[span]]).encode())
        equal(status, 200, "answer to a tracer")
        if number == 2:
            stack = base64.b64encode("Traceback: «kaputt»".encode()).decode()
            status, _ = post(self.agent.ready()[0], "/lambda/end-invocation", b'{"statusCode":200}', **PARENT,
                             x_datadog_span_id=str(SPAN_ID), x_datadog_invocation_error="true",
                             x_datadog_invocation_error_msg="kaputt", x_datadog_invocation_error_type="ValueError",
                             x_datadog_invocation_error_stack=stack)
            equal(status, 200, "answer to end-invocation")


def _conversation(setup, folder, executable):
    invocations = _invocations()
    held_back = []
    with FakeIntake(API_KEY) as intake, FakeLambda(NAME) as sandbox:
        sandbox.on_call = lambda name: held_back.extend(_not_flushed(sandbox, intake, invocations) if name == "next" else [])
        with Agent([executable], lambda_env(setup, folder, intake, sandbox)) as agent:
            sandbox.wait_next(1)
            ports = agent.ready()
            equal(sandbox.telemetry_port, ports[0], "port of the telemetry destination")
            talk = Conversation(sandbox, intake, agent, ports[1])
            talk.freeze()
            for number, invocation in enumerate(invocations, 1):
                talk.invoke(number, invocation)
            agent.signal(signal.SIGCONT)
            sandbox.send_telemetry(talk.report)
            asked = time.monotonic()
            sandbox.shutdown("timeout", SHUTDOWN_MS)
            ledger = agent.finish(within=SHUTDOWN_MS / 1000)
            took_ms = (time.monotonic() - asked) * 1000
        intake.require_no_faults()
        equal(sandbox.violations, [], "calls that the API refused")
        equal(held_back, [], "not at the intake when /next was called")
        lines = compare_logs(intake.logs(), invocations)
        check_lambda_fields(intake.logs(), ARN)
        _check_own_lines(intake.logs(), agent, talk.lines_fed)
        _check_spans(intake.spans(), invocations)
        # Of the bad events the first is a platform event of a new kind, which is fine; the others cannot be read.
        ledger.require_delivered(malformed=len(BAD_EVENTS) - 1, traces=len(intake.spans()), logs=len(intake.logs()))
    return (f"4 invocations (success, error, bad telemetry, timeout), each flushed before its /next; {lines} lines with "
            f"START/END/REPORT, request ids, lower-case arn; aws.lambda where asked for; register, subscription, order; "
            f"exit 0 in {took_ms:.0f} of {SHUTDOWN_MS} ms; ledger traces={len(intake.spans())} logs={len(intake.logs())}")


def _not_flushed(sandbox, intake, invocations):
    """Asked when `/next` arrives, before it is answered: the sandbox may freeze at this very moment."""
    number = sandbox.next_calls  # the invocation that this call declares done; 0 is the init phase
    if not 0 < number <= len(invocations):
        return []
    invocation = invocations[number - 1]
    texts = [str(text_of(entry)) for entry in intake.logs()]
    missing = [f"{invocation.request_id}: {line!r}" for line in invocation.lines
               if isinstance(line, str) and line.strip() not in texts]
    missing += [f"{invocation.request_id}: {word}" for word in ("START", "END")
                if not any(text.startswith(f"{word} RequestId: {invocation.request_id}") for text in texts)]
    if invocation.request_id not in [span.resource for span in intake.spans()]:
        missing.append(f"{invocation.request_id}: the tracer's span")
    return missing


def _check_own_lines(entries, agent, count):
    """The agent's own lines are shipped like any other, but telling about lines must not make lines."""
    texts = [text_of(entry) for entry in entries]
    for line in agent.all_lines()[:count]:
        check(any(line == text or line == json.dumps(text) or _same_json(line, text) for text in texts),
              f"own line not shipped: {line!r}")
    check(count <= 50, f"{count} own lines in 4 invocations: do they breed?")


def _same_json(line, text):
    try:
        return json.loads(line) == (text if isinstance(text, dict) else json.loads(text))
    except (TypeError, ValueError):
        return False


def _check_spans(spans, invocations):
    own = sorted(span.resource for span in spans if span.name == "work")
    equal(own, [invocation.request_id for invocation in invocations], "spans of the function's tracer")
    made = [span for span in spans if span.name == "aws.lambda"]
    equal(len(made), 1, "aws.lambda spans (only the second invocation announced itself)")
    span, wanted = made[0], invocations[1]
    equal((span.traceID, span.spanID, span.parentID),
          (int(PARENT["x_datadog_trace_id"]), SPAN_ID, int(PARENT["x_datadog_parent_id"])), "ids of aws.lambda")
    equal((span.resource, span.type, span.error), (FUNCTION, "serverless", 1), "resource, type, error of aws.lambda")
    equal(span.meta.get("request_id"), wanted.request_id, "request_id of aws.lambda")
    equal(span.meta.get("error.msg", span.meta.get("error.message")), "kaputt", "error message of aws.lambda")


def _figures(setup, folder, executable):
    """CPU and wall time from exec, medians of 20 starts. Reported, never asserted."""
    rows = [_one_start(setup, folder, executable) for _ in range(STARTS)]
    medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    baseline = statistics.median(_spawn_ms() for _ in range(STARTS))
    text = ", ".join(f"{key} {value:.2f}" for key, value in medians.items())
    return (f"start (median of {STARTS}): {text}; for scale: spawn and wait of an empty program {baseline:.2f} ms; "
            f"the API's own answers are inside the times to /next; binary {executable.stat().st_size} bytes")


def _one_start(setup, folder, executable):
    row, seen = {}, {}
    with FakeIntake(API_KEY) as intake:
        with FakeLambda(NAME, lambda name: seen.setdefault(name, time.monotonic_ns())) as sandbox:
            env = lambda_env(setup, folder, intake, sandbox)
            with Agent([executable], env) as agent:
                sandbox.wait_next(1)
                row["CPU ms to /next"] = agent.cpu_ms()
                row["PSS KiB at /next"] = agent.pss_kib()
                sandbox.shutdown("spindown", SHUTDOWN_MS)
                agent.finish()
    for name in ("register", "next"):
        row[f"wall ms to {name}"] = (seen[name] - agent.started_ns) / 1e6
    return row


def _spawn_ms():
    start = time.monotonic_ns()
    subprocess.run(["/bin/true"], check=True)
    return (time.monotonic_ns() - start) / 1e6
