"""Case `python_products`: what a tracer sends besides traces passes through the agent."""

import gzip
import json
from pathlib import Path

from agent import API_KEY, HOSTNAME, Agent, Setup, run_client
from checks import check, equal
from fake_intake import FakeIntake

CLIENT = Path(__file__).parent / "clients" / "products.py"
EVALUATIONS = "/api/intake/llm-obs/v2/eval-metric"
VIA = "trace-agent "

# Profiler, data streams and LLM observability are switched on as their documentation says; telemetry is on by itself.
PRODUCTS = {
    "DD_SERVICE": "shop", "DD_ENV": "e2e", "DD_VERSION": "1.2.3", "DD_PROFILING_ENABLED": "true", "DD_DATA_STREAMS_ENABLED": "true",
    "DD_LLMOBS_ENABLED": "true", "DD_LLMOBS_ML_APP": "shop", "DD_LLMOBS_AGENTLESS_ENABLED": "false",
}


def python_products(setup: Setup):
    folder = setup.folder("python_products")
    with FakeIntake(API_KEY) as intake:
        hosts = ("DD_APM_PROFILING_DD_URL", "DD_EVP_PROXY_CONFIG_DD_URL")
        env = setup.agent_env(folder, intake, DD_ENV="agent-env", **dict.fromkeys(hosts, intake.url))
        with Agent([setup.binary, "run"], env) as agent:
            _, port = agent.ready()
            python, path = setup.newest_ddtrace()
            run_client([python, CLIENT], setup.client_env(port, **PRODUCTS, **path), folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        ledger.require_delivered(proxied=len(intake.passed_on))
        check_telemetry(intake, "python", env="agent-env")

        profiles = _of(intake, "/api/v2/profile")
        for profile in profiles:
            tags = profile.headers.get("x-datadog-additional-tags", "")
            check(tags.startswith(f"host:{HOSTNAME},default_env:agent-env,agent_version:"), f"tags of the profile: {tags}")
            check(profile.headers["content-type"].startswith("multipart/form-data"), "a profile is multipart")
            check(b'name="event"' in profile.body and b'"family":"python"' in profile.body, "no event in the profile")

        streams = _of(intake, "/api/v0.1/pipeline_stats")
        for stats in streams:
            check(stats.headers.get("x-datadog-additional-tags", "").startswith(f"host:{HOSTNAME},"), "no tags on data streams")
            check(b"shop-queue" in gzip.decompress(stats.body), "no topic in the data streams")

        # Spans of LLM observability travel with the others by now; what is thought of them goes through the event platform's proxy.
        evaluations = _of(intake, EVALUATIONS)
        for post in evaluations:
            equal(post.headers.get("x-datadog-evp-subdomain"), "api", "subdomain")
            equal(post.headers.get("x-datadog-hostname"), HOSTNAME, "host name")
            equal(post.headers.get("x-datadog-agentdefaultenv"), "agent-env", "environment")
            metrics = json.loads(post.body)["data"]["attributes"]["metrics"]
            equal([(metric["label"], metric["categorical_value"]) for metric in metrics], [("polite", "very")], "evaluation")
    counts = (len(_telemetry(intake)), len(profiles), len(streams), len(evaluations))
    return "requests for telemetry %d, profiles %d, data streams %d, LLM evaluations %d, all as sent" % counts


def check_telemetry(intake, language, env="none"):
    """Every request is whole, says whose it is and carries what the agent adds."""
    posts = _telemetry(intake)
    for post in posts:
        equal(json.loads(post.body)["application"]["language_name"], language, "language of the telemetry")
        equal(post.headers.get("dd-agent-hostname"), HOSTNAME, "host name of the telemetry")
        equal(post.headers.get("dd-agent-env"), env, "environment of the telemetry")
        check(post.headers.get("via", "").startswith(VIA), "no Via")
    kinds = {post.headers["dd-telemetry-request-type"] for post in posts}
    check(kinds & {"app-started", "message-batch"}, f"kinds of telemetry: {kinds}")


def _telemetry(intake):
    return _of(intake, "/api/v2/apmtelemetry")


def _of(intake, path):
    with intake.changed:
        found = [post for post in intake.passed_on if post.path.split("?")[0] == path]
    check(found, f"nothing arrived at {path}")
    return found
