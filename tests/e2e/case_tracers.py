"""Cases `python_tracer` and `node_tracer`: the newest client libraries as a user gets them."""

from pathlib import Path

from agent import API_KEY, HOSTNAME, Agent, Setup, run_client
from case_proxies import check_telemetry
from checks import check, equal
from compare import compare
from fake_intake import FakeIntake

CLIENTS = Path(__file__).parent / "clients"

# The only settings: the three names that every documented set-up gives. Start-up logs, telemetry, runtime
# metrics, remote configuration and their requests stay on as they are by default; what the agent does not
# serve it answers with 404, which a tracer must survive.
NAMES = {"DD_SERVICE": "shop", "DD_ENV": "e2e", "DD_VERSION": "1.2.3"}


def python_tracer(setup: Setup):
    python, path = setup.newest_ddtrace()
    return _tracer(setup, "python_tracer", [python, CLIENTS / "shop.py"], "python", path)


def node_tracer(setup: Setup):
    # NODE_PATH replaces the node_modules folder that would stand beside a real program.
    command = [setup.work / "node/node", CLIENTS / "shop.js"]
    return _tracer(setup, "node_tracer", command, "nodejs", {"NODE_PATH": str(setup.work / "node-6/node_modules")})


def _tracer(setup, name, command, language, env):
    folder = setup.folder(name)
    with FakeIntake(API_KEY) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake)) as agent:
            _, port = agent.ready()
            truth = run_client(command, setup.client_env(port, **NAMES, **env), folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        summary = compare(truth, intake.chunks())
        _check_envelopes(intake, language)
        check_telemetry(intake, language)
        ledger.require_delivered(proxied=len(intake.passed_on), traces=len(intake.spans()), stats=len(intake.groups()))
        top_level = sum(1 for span in intake.spans() if span.metrics.get("_top_level") == 1)
        equal(sum(group["TopLevelHits"] for group in intake.groups()), top_level, "hits of top-level spans")
        counted = "by the tracer" if any(payload["ClientComputed"] for payload in intake.stats) else "by the agent"
    return f"{summary}; ledger sent={len(truth)}; {top_level} top-level hits in {len(intake.groups())} groups, counted {counted}"


def _check_envelopes(intake, language):
    check(intake.payloads(), "no payload arrived")
    for post in intake.accepted():
        equal(post.headers.get("x-datadog-reported-languages"), language, "reported languages")
        equal(post.payload.hostName, HOSTNAME, "host name of the payload")
        check(post.payload.agentVersion, "no agent version in the payload")
        for tracer_payload in post.payload.tracerPayloads:
            equal(tracer_payload.languageName, language, "language of the tracer payload")
            check(tracer_payload.tracerVersion and tracer_payload.languageVersion, "no tracer or language version")
