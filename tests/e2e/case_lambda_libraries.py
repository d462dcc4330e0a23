"""Cases `lambda_python`, `lambda_node`: Datadog's own Lambda libraries with an agent where they look for it; and `lambda_announced`: what the
tracers of Java, .NET, Go and Ruby send, replayed."""

import base64
import json
import signal
import subprocess
import time
from pathlib import Path

from agent import API_KEY, GUARD_S, Agent, Setup
from case_lambda import NAME, SHUTDOWN_MS, lambda_env, install
from checks import check, equal
from fake_intake import SKETCHES, FakeIntake
from fake_lambda import FakeLambda, post
from fake_runtime import FakeRuntime
from recording import ARN, FUNCTION, INIT_MS, Invocation, init_events

CLIENTS = Path(__file__).parent / "clients"
EVENTS = Path(__file__).parent.parent.parent / "fixtures/lambda"
ROUNDS = 6

# Where the libraries see no trace and `fixtures/lambda` does: a bus in a topic, a type `String.json`, header names of MSK and of attributes
# in capitals, headers in `request`, a context without priority, and steps in a `Payload` or without the mark of a newer version.
OTHER_TRACE = {
    "python": {"eventbridge_in_sns", "msk", "sqs", "step_functions", "step_functions_nested", "unknown"},
    "node": {"eventbridge_in_sns", "msk", "sns_in_sqs", "step_functions_nested", "unknown"},
}


# At a `_datadog` in a `Payload` the library fails, and makes no span.
SILENT = {"python": {"step_functions_root"}, "node": set()}


def lambda_python(setup: Setup):
    python = setup.work / "venv/bin/python"
    path = f"{setup.work / 'python-lambda'}:{CLIENTS}"
    return _library(setup, "python", [python, "-m", "awslambdaric", "datadog_lambda.handler.handler"], InterfaceClient, PYTHONPATH=path,
                    DD_LAMBDA_HANDLER="lambda_shop.handler")


def lambda_node(setup: Setup):
    modules = str(setup.work / "node-lambda/node_modules")
    return _library(setup, "node", [setup.work / "node/node", CLIENTS / "lambda_shop.js"], Function, NODE_PATH=modules)


class Function:
    """The runtime process with the library."""

    def __init__(self, setup, command, folder, env):
        self.log = open(folder / "function.log", "w+", encoding="utf-8")
        env = setup.client_env(0, AWS_LAMBDA_FUNCTION_NAME=FUNCTION, AWS_REGION="us-east-1", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="256",
                               AWS_LAMBDA_FUNCTION_VERSION="$LATEST", DD_SERVICE="shop", DD_ENV="e2e", DD_TRACE_STARTUP_LOGS="false",
                               **env)
        self.process = subprocess.Popen(command, env=env, cwd=folder, stdin=subprocess.PIPE, stdout=self.answers(), stderr=self.log,
                                        text=True, encoding="utf-8")

    def answers(self):
        """Where the process prints: a pipe with answers."""
        return subprocess.PIPE

    def call(self, invocation, event):
        print(json.dumps({"request_id": invocation.request_id, "arn": ARN, "event": event}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            check(False, f"the function ended: {self.log.read()[-2000:]}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()


class InterfaceClient(Function):
    """The same under AWS's runtime interface client, which asks the runtime API for work."""

    def __init__(self, setup, command, folder, env):
        self.runtime = FakeRuntime()
        super().__init__(setup, command, folder, env | {"AWS_LAMBDA_RUNTIME_API": self.runtime.address, "LAMBDA_TASK_ROOT": str(CLIENTS)})

    def answers(self):
        return self.log

    def call(self, invocation, event):
        answer = self.runtime.call(invocation.request_id, ARN, int(time.time() * 1000) + 1000 * GUARD_S, event, GUARD_S)
        check("failure" not in answer, f"the runtime did not start: {answer}")
        return answer

    def __exit__(self, *_):
        super().__exit__()
        self.runtime.__exit__()


class Sandbox:
    """One invocation after the other, with a freeze in every `/next`."""

    def __init__(self, lambda_api, agent):
        self.api, self.agent, self.count, self.report = lambda_api, agent, 0, []

    def run(self, invocation, work):
        self.count += 1
        self.agent.signal(signal.SIGCONT)
        self.api.answer_next(invocation.invoke(int(time.time() * 1000) + 1000 * GUARD_S))
        init = init_events(invocation.at(-1)) if invocation.cold else []
        self.api.send_telemetry(self.report + init + invocation.begin())
        work()
        self.api.send_telemetry([invocation.done()])
        self.report = [invocation.report()]
        self.api.wait_next(self.count + 1)
        self.agent.signal(signal.SIGSTOP)

    def shut_down(self):
        self.agent.signal(signal.SIGCONT)
        self.api.send_telemetry(self.report)
        self.api.shutdown("spindown", SHUTDOWN_MS)
        return self.agent.finish(within=SHUTDOWN_MS / 1000)


def _events():
    """Every event of the corpus in turn, and one at which the handler fails."""
    files = sorted(EVENTS.glob("*.json"))
    cases = [(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return [*cases, ("failing", {"event": {"fail": True}, "context": None})]


def _library(setup, language, command, runtime, **env):
    if not setup.namespaced:
        return "not run: the library looks for the agent on its own ports and in /opt/extensions, which takes a namespace"
    folder = setup.folder(f"lambda_{language}")
    executable = install(setup, folder)
    calls = {}
    try:
        with FakeIntake(API_KEY) as intake, FakeLambda(NAME) as api:
            agent_env = lambda_env(setup, folder, intake, api) | {"DD_SERVICE": "shop"}
            with Agent([executable], agent_env) as agent, runtime(setup, command, folder, env) as function:
                api.wait_next(1)
                sandbox = Sandbox(api, agent)
                sandbox.agent.signal(signal.SIGSTOP)
                for number, (name, case) in enumerate(_events() * ROUNDS):
                    invocation = Invocation(f"33333333-aaaa-4bbb-8ccc-{number:012}", "error" if name == "failing" else "success", cold=number == 0)
                    calls[invocation.request_id] = (name, case)
                    answers = []
                    sandbox.run(invocation, lambda: answers.append(function.call(invocation, case["event"])))
                    equal("error" in answers[0], name == "failing", f"answer of the handler to {name}: {answers[0]}")
                ledger = sandbox.shut_down()
            intake.require_no_faults()
            equal(api.violations, [], "calls that the API refused")
            spans = intake.spans()
            row = ledger.signals["traces"]
            equal((row["accepted"], row["sent"]), (len(spans) + row["dropped"], len(spans)), f"ledger {ledger.text}")
            return _check_library(language, calls, spans, intake.metrics[SKETCHES])
    finally:
        executable.unlink()


def _check_library(language, calls, spans, sketches):
    roots = {span.meta["request_id"]: span for span in spans if span.name == "aws.lambda"}
    invocations = len(calls)
    silent = {calls[request_id][0] for request_id in calls if request_id not in roots}
    equal(silent, SILENT[language], "events that gave no aws.lambda span")
    calls = {request_id: call for request_id, call in calls.items() if call[0] not in silent}
    equal(len([span for span in spans if span.name == "aws.lambda"]), len(calls), "aws.lambda spans: the library's, and no other")
    equal(sorted(roots), sorted(calls), "requests with an aws.lambda span")
    work = {span.resource: span for span in spans if span.name == "work" and span.resource in roots}
    equal(sorted(work), sorted(calls), "spans of the handler")
    continued, other = 0, set()
    for request_id, (name, case) in calls.items():
        root = roots[request_id]
        equal(root.error, int(name == "failing"), f"error of {name}")
        equal(work[request_id].traceID, root.traceID, f"trace of the handler's span, {name}")
        if case["context"] and name not in OTHER_TRACE[language]:
            other |= {name} - ({name} if root.traceID == case["context"][1] else set())
            continued += 1
    equal(sorted(other), [], "events whose trace was not continued")
    [begun] = [span for span in spans if span.name == "aws.lambda.cold_start"]
    first = roots[next(iter(calls))]
    equal((begun.traceID, begun.duration, begun.service), (first.traceID, int(INIT_MS * 1e6), "shop"), "trace and length of the cold start")
    loads = [span for span in spans if span.name == "aws.lambda.load"]
    equal([span.parentID for span in loads], [begun.spanID] * len(loads), "parents of what was loaded")
    orders = [sketch for sketch in sketches if sketch.metric == "shop.orders"]
    equal(sum(part.cnt for sketch in orders for part in sketch.dogsketches), invocations, "values of shop.orders")
    check(all("kind:e2e" in sketch.tags for sketch in orders), "tags of shop.orders")
    kinds = len({span.name for span in spans})
    return f"{len(calls)} invocations of {len(calls) // ROUNDS} kinds of events; {len(spans)} spans of {kinds} names, {continued} traces continued, {len(loads)} loads in the cold start; metrics all there"


# What each tracer sends besides the event and the answer, as its source has it: (start, end).
STACK = base64.b64encode("Traceback: «kaputt»".encode()).decode()
TRACERS = {
    "java": (
        {"Datadog_Meta_Lang": "java", "lambda_runtime_aws_request_id": "{id}"},
        {"Datadog_Meta_Lang": "java", "lambda_runtime_aws_request_id": "{id}", "x_datadog_trace_id": "{trace}", "x_datadog_span_id": "{span}",
         "x_datadog_sampling_priority": "1", "x_datadog_invocation_error": "true", "x_datadog_invocation_error_msg": "kaputt",
         "x_datadog_invocation_error_type": "java.lang.Error", "x_datadog_invocation_error_stack": STACK},
    ),
    "dotnet": (
        {"x_datadog_tracing_enabled": "false"},
        {"x_datadog_tracing_enabled": "false", "x_datadog_trace_id": "{trace}", "x_datadog_span_id": "{span}", "x_datadog_sampling_priority": "1",
         "x_datadog_invocation_error": "true", "x_datadog_invocation_error_msg": "a2FwdXR0IQ==", "x_datadog_invocation_error_type": "System.Error",
         "x_datadog_invocation_error_stack": STACK},
    ),
    "go": (
        {},
        {"x_datadog_trace_id": "{trace}", "x_datadog_span_id": "{span}", "x_datadog_sampling_priority": "1", "x_datadog_invocation_error": "true",
         "x_datadog_invocation_error_msg": "kaputt", "x_datadog_invocation_error_type": "*errors.errorString",
         "x_datadog_invocation_error_stack": STACK},
    ),
    "ruby": (
        {"lambda_runtime_aws_request_id": "{id}"},
        {"lambda_runtime_aws_request_id": "{id}", "x_datadog_trace_id": "{trace}", "x_datadog_span_id": "{span}", "x_datadog_sampling_priority": "1",
         "x_datadog_invocation_error": "true", "x_datadog_invocation_error_msg": "kaputt", "x_datadog_invocation_error_type": "RuntimeError",
         "x_datadog_invocation_error_stack": STACK},
    ),
}
TYPES = {"java": "java.lang.Error", "dotnet": "System.Error", "go": "*errors.errorString", "ruby": "RuntimeError"}


def lambda_announced(setup: Setup):
    folder = setup.folder("lambda_announced")
    executable = install(setup, folder)
    calls = []
    try:
        with FakeIntake(API_KEY) as intake, FakeLambda(NAME) as api:
            with Agent([executable], lambda_env(setup, folder, intake, api)) as agent:
                api.wait_next(1)
                ports = agent.ready()
                sandbox = Sandbox(api, agent)
                cases = [(tracer, name, case) for tracer in TRACERS for name, case in _events()]
                for number, (tracer, name, case) in enumerate(cases):
                    invocation = Invocation(f"44444444-aaaa-4bbb-8ccc-{number:012}", "error", cold=number == 0)
                    calls.append((invocation, number, tracer, name, case))
                    sandbox.run(invocation, lambda: _announce(ports, tracer, invocation, number, case))
                ledger = sandbox.shut_down()
            intake.require_no_faults()
            equal(api.violations, [], "calls that the API refused")
            spans = intake.spans()
            begun = [(span.traceID, span.parentID) for span in spans if span.name == "aws.lambda.cold_start"]
            equal(begun, [_place(spans, calls[0][0])], "trace and parent of the cold start")
            row = ledger.signals["traces"]
            equal((row["sent"], row["dropped"]), (len(spans), len(calls)), f"spans sent, and stand-ins that went: {ledger.text}")
            for call in calls:
                _check_announced(spans, *call)
    finally:
        executable.unlink()
    return f"{len(calls)} invocations announced as {', '.join(TRACERS)} do, {len(spans)} spans: ids, parents, errors, tags of the stand-in"


def _place(spans, invocation):
    [root] = [span for span in spans if span.name == "aws.lambda" and span.meta.get("request_id") == invocation.request_id]
    return root.traceID, root.parentID


def _announce(ports, tracer, invocation, number, case):
    """As the tracer does: the event out, the stand-in to the trace agent, the answer out, and for Go a flush that must be 200."""
    start, end = TRACERS[tracer]
    fill = {"id": invocation.request_id, "span": str(9_000_000 + number)}
    status, answer = post(ports[0], "/lambda/start-invocation", json.dumps(case["event"]).encode(), **_filled(start, fill))
    equal(status, 200, "answer to start-invocation")
    context = case["context"]
    equal(answer.get("x-datadog-trace-id"), str(context[1]) if context else None, "trace id from start-invocation")
    if context and context[0]:
        equal(answer.get("x-datadog-tags"), f"_dd.p.tid={context[0]}", "upper half from start-invocation")
    trace = answer.get("x-datadog-trace-id") or str(8_000_000 + number)
    span = {"service": "shop", "name": "handle", "resource": "dd-tracer-serverless-span", "trace_id": int(trace), "span_id": 9_000_000 + number,
            "parent_id": 0, "start": int(invocation.start.timestamp()) * 10**9, "duration": 5_000_000, "error": 0,
            "meta": {"language.of": tracer}, "metrics": {"_sampling_priority_v1": 1}, "type": "serverless"}
    equal(post(ports[1], "/v0.4/traces", json.dumps([[span]]).encode())[0], 200, "answer to a tracer")
    status, _ = post(ports[0], "/lambda/end-invocation", b'{"statusCode":500}', **_filled(end, fill | {"trace": trace}))
    equal(status, 200, "answer to end-invocation")
    if tracer == "go":
        equal(post(ports[0], "/lambda/flush", b"")[0], 200, "answer to flush")


def _filled(headers, fill):
    return {name: value.format(**fill) for name, value in headers.items()}


def _check_announced(spans, invocation, number, tracer, name, case):
    what = f"{name} by {tracer}"
    [root] = [span for span in spans if span.name == "aws.lambda" and span.meta.get("request_id") == invocation.request_id]
    equal(root.spanID, 9_000_000 + number, f"span id of {what}")
    equal(root.error, 1, f"error of {what}")
    found = [root.meta.get(key) for key in ("error.type", "error.stack", "http.status_code", "language.of")]
    equal(found, [TYPES[tracer], "Traceback: «kaputt»", "500", tracer], f"tags of {what}")
    for key, value in (case.get("tags") or {}).items():
        if "region" not in case and not key.endswith("_arn"):  # the sandbox is in a region of its own
            equal(root.meta.get(key), value, f"{key} of {what}")
    parent = root.parentID
    for wanted in case.get("spans", []):
        [caller] = [span for span in spans if span.spanID == parent and span.traceID == root.traceID]
        equal((caller.name, caller.type, caller.start), (wanted["name"], wanted["type"], wanted["start"]), f"caller of {what}")
        parent = caller.parentID
    if case["context"]:
        equal((root.traceID, parent), tuple(case["context"][1:3]), f"trace and outermost parent of {what}")
