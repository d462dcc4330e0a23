"""Cases of every tracer major: default settings, what not every span has, tracer-computed statistics, one huge trace, web load."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from agent import API_KEY, Agent, Setup, run_client
from case_tracers import CLIENTS, NAMES
from checks import check, equal, wait_until
from compare import by_service, by_service_in_chunk, compare, only_roots
from fake_http import Answer, FakeServer
from fake_intake import FakeIntake

STATISTICS = {"DD_TRACE_STATS_COMPUTATION_ENABLED": "true", "DD_TRACE_COMPUTE_STATS": "true"}
WIDE_IDS = {"DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED": "true"}  # the default from ddtrace 2 and dd-trace 4 on
ONE_CHUNK = {"DD_TRACE_PARTIAL_FLUSH_ENABLED": "false", "DD_TRACE_PARTIAL_FLUSH_MIN_SPANS": "1000000"}
NATIVE = {"DD_TRACE_API_VERSION": "v0.4", "DD_TRACE_NATIVE_SPAN_EVENTS": "true"}
REQUESTS, AT_ONCE = 420, 8
WARM_UP = "warm.up"  # spans of clients/traced.py until the tracer counts its spans itself


def python_1(setup: Setup):
    return _python_major(setup, 1)


def python_2(setup: Setup):
    return _python_major(setup, 2)


def python_3(setup: Setup):
    return _python_major(setup, 3)


def python_4(setup: Setup):
    return _python_major(setup, 4)


def node_5(setup: Setup):
    return _node_major(setup, 5)


def node_6(setup: Setup):
    return _node_major(setup, 6)


def v10_exporter(setup: Setup):
    """Datadog's own exporter with v1.0 switched on, through a relay that sees which path it takes."""
    folder = setup.folder("v10")
    with FakeIntake(API_KEY) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake)) as agent:
            _, port = agent.ready()
            with Relay(port) as relay:
                env = setup.client_env(port) | {"DD_TRACE_AGENT_URL": f"http://{relay.address}"}
                truth = run_client([setup.work / "v10"], env, folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        equal({path for path, _ in relay.traces}, {"/v1.0/traces"}, "where the exporter sent to")
        equal({status for _, status in relay.traces}, {200}, "what it was answered")
        compare(truth, intake.chunks())
        for tracer_payload, chunk in intake.chunks():
            equal((tracer_payload.languageName, tracer_payload.runtimeID), ("rust", "8f1c8b5e-0000-4000-8000-000000000001"), "payload")
            found = (chunk.origin, dict(chunk.tags), chunk.spans[0].meta["_dd.p.dm"])
            equal(found, ("synthetics", {"team": "web", "_dd.p.dm": "-4"}, "-4"), "chunk")
        ledger.require_delivered(traces=len(truth), stats=len(intake.groups()))
        _check_statistics(intake, None)
    return f"{len(truth)} spans in {len(relay.traces)} requests to /v1.0/traces, which /info lists, every field equal"


class Relay(FakeServer):
    """Hands requests on to the agent and remembers where traces went and how they were answered. Writes the file `counted` when spans
    come of which the tracer says that it has counted them."""

    def __init__(self, port, counted=None):
        self.port, self.traces, self.counted = port, [], counted
        super().__init__()

    def handle(self, method, path, headers, body):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {k: v for k, v in headers.items() if k.lower() != "transfer-encoding"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if path.endswith("/traces"):
            self.traces.append((path, answer.status))
            if self.counted and headers.get("Datadog-Client-Computed-Stats"):
                self.counted.touch()
        kept = {k: v for k, v in answer.getheaders() if k.lower().startswith(("datadog-", "content-type"))}
        return Answer(answer.status, body, kept)


def python_huge_trace(setup: Setup):
    return _huge(setup, *_python(setup, 4, "big.py"), by_service)


def node_huge_trace(setup: Setup):
    return _huge(setup, *_node(setup, 6, "big.js"), by_service_in_chunk)


def flask_load(setup: Setup):
    command, env = _python(setup, 4, "web.py")
    return _load(setup, "flask.request", [setup.work / "python-4/bin/ddtrace-run", *command], env)


def express_load(setup: Setup):
    command, env = _node(setup, 6, "web.js")
    return _load(setup, "express.request", command, env)


def _python_major(setup, major):
    version = _version_of(setup, *_python(setup, major, "-c"), "import ddtrace; print(ddtrace.__version__)")
    equal(version.split(".")[0], str(major), "major version of ddtrace")
    done = [_run(setup, *_python(setup, major, "shop.py"), {})] if major < 4 else []  # the newest one's is case python_tracer
    done.append(_run(setup, *_python(setup, major, "rich.py"), STATISTICS | WIDE_IDS, ids="wide", counted="client"))
    done.append(_run(setup, *_python(setup, major, "rich.py"), NATIVE | WIDE_IDS, ids="wide"))
    return f"ddtrace {version}: " + "; ".join(done)


def _node_major(setup, major):
    version = _version_of(setup, *_node(setup, major, "-p"), "require('dd-trace/package.json').version")
    equal(version.split(".")[0], str(major), "major version of dd-trace")
    done = [_run(setup, *_node(setup, major, "shop.js"), {})] if major < 6 else []
    done.append(_run(setup, *_node(setup, major, "rich.js"), STATISTICS, ids="wide", counted="client", is_top_level=only_roots))
    done.append(_run(setup, *_node(setup, major, "rich.js"), NATIVE, ids="wide"))
    return f"dd-trace {version}: " + "; ".join(done)


def _python(setup, major, program):
    """The command that runs a program with one major of ddtrace, and what its environment needs."""
    folder = setup.work / f"python-{major}"
    python = (folder / "interpreter").read_text().strip()
    return [python, _client(program)], {"PYTHONPATH": str(folder)}


def _node(setup, major, program):
    return [setup.work / "node/node", _client(program)], {"NODE_PATH": str(setup.work / f"node-{major}/node_modules")}


def _client(program):
    return program if program.startswith("-") else CLIENTS / program


def _version_of(setup, command, env, code):
    env = setup.client_env(1, **env) | {"DD_TRACE_ENABLED": "false"}
    return subprocess.run([*command, code], env=env, capture_output=True, text=True, timeout=60).stdout.strip()


def _run(setup, command, env, more, ids=None, counted=None, is_top_level=by_service):
    """One program under one tracer, everything compared."""
    folder = setup.folder("major")
    with FakeIntake(API_KEY) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake)) as agent:
            _, port = agent.ready()
            env = setup.client_env(port, **NAMES, **env, **more)
            with Relay(port, folder / "counted") as relay:
                if counted:
                    env |= {"DD_TRACE_AGENT_URL": f"http://{relay.address}", "RELAY_COUNTED": str(relay.counted)}
                truth = run_client(command, env, folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        compare(truth, intake.chunks(), is_top_level)
        ledger.require_delivered(traces=len(truth), stats=len(intake.groups()))
        _check_statistics(intake, counted)
    if ids == "wide":
        equal([t["trace_id"] for t in truth if t["trace_id"].startswith("0" * 16)], [], "ids of 64 bits")
    links, events = sum(len(t["links"]) for t in truth), sum(len(t["events"]) for t in truth)
    errors = sum(t["error"] for t in truth)
    by = "the tracer" if counted else "the agent"
    return f"{len(truth)} spans, {errors} errors, {links} links, {events} events, counted by {by}"


def _check_statistics(intake, counted):
    spans, groups = intake.spans(), intake.groups()
    if counted:
        by_agent = [payload for payload in intake.stats if not payload["ClientComputed"]]
        equal({group["Resource"] for group in intake.groups(by_agent)} - {WARM_UP}, set(), "what the agent counted")
        check(by_agent != intake.stats, "the tracer counted nothing")
    top_level = [span for span in spans if span.metrics.get("_top_level") == 1]
    equal(sum(group["TopLevelHits"] for group in groups), len(top_level), "hits of top-level spans")
    errors = sum(1 for span in top_level if span.error)
    found = sum(group["Errors"] for group in groups if group["TopLevelHits"])
    equal(found, errors, "errors of top-level spans")


def _huge(setup, command, env, is_top_level):
    """As the tracer sends it by itself, in parts, and all in one request and chunk, which must fit into nine parts of 32 of the agent's
    memory; dd-trace gathers 8 MiB for one."""
    done = []
    for more, memory in (({}, "32MiB"), (ONE_CHUNK, "128MiB")):
        folder = setup.folder("huge")
        with FakeIntake(API_KEY) as intake:
            with Agent([setup.binary, "run"], setup.agent_env(folder, intake, DD_MAX_MEMORY=memory)) as agent:
                _, port = agent.ready()
                truth = run_client(command, setup.client_env(port, **NAMES, **env, **more), folder)
                ledger = agent.terminate()
            intake.require_no_faults()
            equal(len(truth), 30_000, "spans of the client")
            check(ledger.signals["traces"]["accepted"] == 30_000, f"not all were taken: {agent.tail()}")
            compare(truth, intake.chunks(), is_top_level)
            ledger.require_delivered(traces=30_000, stats=len(intake.groups()))
            done.append(len(intake.chunks()))
    equal(done[1], 1, "chunks of the one trace")
    return f"30,000 spans of one trace in {done[0]} chunks, and in one, every field equal"


def _load(setup, name, command, env):
    """Every request is one root span with its child, once, whatever happened at the same time."""
    folder = setup.folder("load")
    with FakeIntake(API_KEY) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake)) as agent:
            _, port = agent.ready()
            _serve_requests(command, setup.client_env(port, **NAMES, **env), folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        spans = intake.spans()
        ledger.require_delivered(traces=len(spans), stats=len(intake.groups()))
        equal(len({(span.traceID, span.spanID) for span in spans}), len(spans), "distinct spans")
        _check_requests(spans, name)
        _check_statistics(intake, None)
    return f"{REQUESTS} requests over {AT_ONCE} connections, {len(spans)} spans: each request's root and child once, with its status"


def _serve_requests(command, env, folder):
    address = folder / "port"
    with open(folder / "stderr", "w+") as stderr:
        server = subprocess.Popen([*command, str(address)], env=env, cwd=folder, stdin=subprocess.PIPE, stderr=stderr)
        try:
            wait_until(lambda: address.exists() or server.poll() is not None, 60, "the web program's port")
            check(address.exists(), f"the web program ended: {(folder / 'stderr').read_text()[-1500:]}")
            with ThreadPoolExecutor(AT_ONCE) as pool:
                statuses = list(pool.map(lambda first: _ask(int(address.read_text()), first), range(AT_ONCE)))
            server.stdin.close()
            equal(server.wait(60), 0, "exit code of the web program")
        finally:
            server.kill()
            server.wait()
    wanted = {number: 500 if number % 7 == 0 else 200 for number in range(REQUESTS)}
    equal({number: status for part in statuses for number, status in part.items()}, wanted, "answers of the web program")


def _ask(port, first):
    """Every eighth request, over one connection that is opened again when the server has closed it."""
    statuses = {}
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(first, REQUESTS, AT_ONCE):
        connection.request("GET", f"/order/{number}?token=none")
        answer = connection.getresponse()
        answer.read()
        statuses[number] = answer.status
    connection.close()
    return statuses


def _check_requests(spans, name):
    roots = {}
    for span in spans:
        if span.name == name:
            number = int(span.meta["http.url"].split("/order/")[1].split("?")[0])
            check(number not in roots, f"request {number} has two root spans")
            equal(span.parentID, 0, f"parent of the root span of request {number}")
            roots[number] = span
    equal(sorted(roots), list(range(REQUESTS)), "requests with a root span")
    children = {(span.traceID, span.metrics["number"]) for span in spans if span.name == "order.price"}
    equal(len([span for span in spans if span.name == "order.price"]), REQUESTS, "child spans")
    for number, root in roots.items():
        failed = number % 7 == 0
        found = (root.meta["http.status_code"], root.error, (root.traceID, float(number)) in children)
        equal(found, ("500" if failed else "200", int(failed), True), f"root span of request {number}")


CASES = [python_1, python_2, python_3, python_4, node_5, node_6, v10_exporter, python_huge_trace, node_huge_trace, flask_load, express_load]
