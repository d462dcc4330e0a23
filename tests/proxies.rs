//! What tracers send through the agent: it arrives as it was sent, with what the agent adds, and the client is told the truth.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Mutex;
use support::agent::{Agent, KEY, folder, settings};
use support::fake_http::{FakeServer, Reply, Seen, dead_url, send};
use support::fake_lambda::{FakeLambda, Manners};

const SUBDOMAIN: (&str, &str) = ("X-Datadog-EVP-Subdomain", "llmobs-intake");

/// Bytes that are no text, with everything in them that could be taken for the end of something.
fn binary() -> Vec<u8> {
    (0..=255).chain(*b"\r\n0\r\n\r\n--boundary--\r\n").collect()
}

/// Settings under which everything goes to `intake`, but for flares, whose host nothing can replace.
fn env(intake: &str, extra: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut env = settings();
    env.extend([("DD_API_KEY", KEY.to_owned()), ("DD_ENV", "prod".to_owned())]);
    let names = [
        "DD_APM_DD_URL",
        "DD_APM_PROFILING_DD_URL",
        "DD_APM_TELEMETRY_DD_URL",
        "DD_APM_DEBUGGER_DD_URL",
        "DD_APM_DEBUGGER_DIAGNOSTICS_DD_URL",
        "DD_APM_SYMDB_DD_URL",
        "DD_EVP_PROXY_CONFIG_DD_URL",
        "DD_OL_PROXY_CONFIG_DD_URL",
    ];
    env.extend(names.map(|name| (name, intake.to_owned())));
    for (name, value) in extra {
        env.retain(|(known, _)| known != name);
        env.push((name, (*value).to_owned()));
    }
    env
}

struct Stage {
    agent: Agent,
    intake: FakeServer,
    port: SocketAddr,
}

fn stage_with(intake: FakeServer, extra: &[(&'static str, &str)]) -> Stage {
    let mut agent = Agent::start(&[], &env(&intake.url(), extra));
    let port = agent.ready().traces.unwrap();
    Stage { agent, intake, port }
}

fn stage(extra: &[(&'static str, &str)]) -> Stage {
    stage_with(FakeServer::start(|_| Reply::status(202)), extra)
}

impl Stage {
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, String) {
        send(self.port, "POST", path, headers, body)
    }

    /// Sends a binary body and returns what arrives, whose target must be `target`.
    #[track_caller]
    fn passes(&self, path: &str, headers: &[(&str, &str)], target: &str) -> Seen {
        assert_eq!(self.post(path, headers, &binary()).0 / 100, 2, "{path}");
        let seen = self.intake.next();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", target));
        assert_eq!(seen.body, binary(), "the body is untouched");
        assert_eq!(seen.header("via"), Some(concat!("trace-agent ", env!("CARGO_PKG_VERSION"))));
        seen
    }
}

/// All values of a header.
fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    let named = seen.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

const TAGS: &str = concat!("host:test-host,default_env:prod,agent_version:", env!("CARGO_PKG_VERSION"));

#[test]
fn every_route_is_listed_and_arrives_with_key_and_tags() {
    let stage = stage(&[]);
    let info: Value = serde_json::from_str(&send(stage.port, "GET", "/info", &[], b"").2).unwrap();
    let listed: Vec<&str> = info["endpoints"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for path in [
        "/profiling/v1/input",
        "/telemetry/proxy/",
        "/v0.1/pipeline_stats",
        "/openlineage/api/v1/lineage",
        "/evp_proxy/v1/",
        "/evp_proxy/v2/",
        "/evp_proxy/v3/",
        "/evp_proxy/v4/",
        "/debugger/v1/input",
        "/debugger/v1/diagnostics",
        "/debugger/v2/input",
        "/symdb/v1/input",
        "/tracer_flare/v1",
    ] {
        assert!(listed.contains(&path), "{path} in {listed:?}");
    }
    assert_eq!(info["evp_proxy_allowed_headers"][4], "DD-CI-PROVIDER-NAME");

    let mine = [("DD-API-KEY", "mine"), ("Content-Type", "multipart/form-data; boundary=b"), ("X-Own", "kept")];
    let additional = "x-datadog-additional-tags";
    let seen = stage.passes("/profiling/v1/input", &mine, "/api/v2/profile");
    assert_eq!((values(&seen, "dd-api-key"), values(&seen, additional)), (vec![KEY], vec![TAGS]));
    assert_eq!((seen.header("content-type"), seen.header("x-own")), (Some(mine[1].1), Some("kept")));
    let seen = stage.passes("/v0.1/pipeline_stats", &mine, "/api/v0.1/pipeline_stats");
    assert_eq!((values(&seen, "dd-api-key"), values(&seen, additional)), (vec![KEY], vec![TAGS]));

    let seen = stage.passes("/telemetry/proxy/api/v2/apmtelemetry?a=b", &mine, "/api/v2/apmtelemetry?a=b");
    assert_eq!((seen.header("dd-agent-hostname"), seen.header("dd-agent-env")), (Some("test-host"), Some("prod")));
    assert_eq!((values(&seen, "dd-api-key"), seen.header("x-own")), (vec![KEY], Some("kept")));

    let ddtags = format!("?ddtags={}", TAGS.replace(':', "%3A").replace(',', "%2C"));
    let seen = stage.passes("/debugger/v1/input?ddtags=a:b", &mine, &format!("/api/v2/logs{ddtags}%2Ca%3Ab"));
    assert_eq!((seen.header("dd-evp-origin"), values(&seen, "dd-api-key")), (Some("agent-debugger"), vec![KEY]));
    stage.passes("/debugger/v1/diagnostics", &mine, &format!("/api/v2/debugger{ddtags}"));
    let first = stage.passes("/debugger/v2/input", &mine, &format!("/api/v2/debugger{ddtags}"));
    let second = stage.passes("/debugger/v2/input", &mine, &format!("/api/v2/debugger{ddtags}"));
    assert_eq!(first.header("dd-request-id").unwrap().len(), 36);
    assert_ne!(first.header("dd-request-id"), second.header("dd-request-id"));
    let seen = stage.passes("/symdb/v1/input", &mine, "/api/v2/debugger");
    assert_eq!((seen.header("dd-evp-origin"), seen.header(additional)), (Some("agent-symdb"), Some(TAGS)));

    let seen =
        stage.passes("/openlineage/api/v1/lineage", &[("Authorization", "Bearer mine")], "/api/v1/lineage?api-version=2");
    assert_eq!(values(&seen, "authorization"), [format!("Bearer {KEY}")]);
    assert_eq!((seen.header("dd-api-key"), seen.header(additional)), (None, Some(TAGS)));

    let headers = [SUBDOMAIN, mine[0], mine[1], mine[2], ("Content-Encoding", "gzip"), ("Datadog-Container-ID", "c-1")];
    for version in 1..=4 {
        let seen =
            stage.passes(&format!("/evp_proxy/v{version}/api/v2/llmobs?a=%22b%22"), &headers, "/api/v2/llmobs?a=%22b%22");
        assert_eq!((values(&seen, "dd-api-key"), seen.header("x-own")), (vec![KEY], None));
        assert_eq!((seen.header("content-type"), seen.header("content-encoding")), (Some(mine[1].1), Some("gzip")));
        assert_eq!(
            (seen.header("x-datadog-hostname"), seen.header("x-datadog-agentdefaultenv")),
            (Some("test-host"), Some("prod"))
        );
        assert_eq!(
            (seen.header("datadog-container-id"), seen.header("x-datadog-evp-subdomain")),
            (Some("c-1"), Some(SUBDOMAIN.1))
        );
    }

    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert!(!finished.says(KEY));
    assert_eq!((finished.ledger().of("proxied", "accepted"), finished.ledger().of("proxied", "sent")), (13, 13));
}

#[test]
fn the_intakes_answer_goes_back_and_decides_what_is_counted() {
    let reply = |seen: &Seen| match seen.path.as_str() {
        "/redirect" => Reply::Answer(302, vec![("Location", "/elsewhere".to_owned())], String::new()),
        "/refused" => {
            let headers = vec![("Retry-After", "7"), ("X-RateLimit-Reset", "9"), ("Content-Type", "text/x"), ("X-Secret", "s")];
            Reply::Answer(403, headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect(), "no".to_owned())
        }
        "/long" => Reply::Answer(200, vec![], "x".repeat(600_000)),
        "/cut" => Reply::CutShort(200),
        "/hangup" => Reply::Hangup,
        _ => Reply::Answer(202, vec![("Content-Type", "application/json".to_owned())], "{\"a\":1}".to_owned()),
    };
    let stage = stage_with(FakeServer::start(reply), &[]);
    let evp = |method: &str, path: &str| send(stage.port, method, &format!("/evp_proxy/v2{path}"), &[SUBDOMAIN], b"");
    let (status, head, body) = evp("GET", "/settings");
    assert_eq!((status, body.as_str()), (202, "{\"a\":1}"));
    assert!(head.contains("content-type: application/json") && head.contains("datadog-agent-state: "), "{head}");
    assert_eq!(stage.post("/profiling/v1/input", &[], b"x").0, 200, "clients of profiles know no 202");
    let (status, head, body) = evp("POST", "/refused");
    assert_eq!((status, body.as_str()), (403, "no"));
    assert!(head.contains("retry-after: 7") && head.contains("x-ratelimit-reset: 9") && head.contains("content-type: text/x"));
    assert!(!head.contains("x-secret"), "{head}");
    let (status, head, _) = evp("POST", "/redirect");
    assert!(status == 302 && !head.contains("location"), "{head}");
    for path in ["/long", "/cut", "/hangup"] {
        assert_eq!(evp("POST", path).0, 502, "{path}");
    }
    assert!(stage.intake.so_far().iter().all(|seen| seen.path != "/elsewhere"), "the key does not follow a redirect");
    // A product that is refused says nothing of the key: the next request goes out with it.
    assert_eq!(evp("PUT", "/fine").0, 202);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("proxied", "accepted"), finished.ledger().of("proxied", "sent")), (3, 3));
}

#[test]
fn what_cannot_be_passed_on_is_told_and_reaches_nobody() {
    let stage = stage(&[("DD_EVP_PROXY_CONFIG_MAX_PAYLOAD_SIZE", "1000"), ("DD_MAX_MEMORY", "8MiB")]);
    let evp = |subdomain: &str, path: &str| stage.post(path, &[("X-Datadog-EVP-Subdomain", subdomain)], b"x").0;
    assert_eq!(stage.post("/evp_proxy/v2/a", &[], b"x").0, 400);
    for subdomain in ["evil.com/", "evil.com:80", "a@b", "a..b", "."] {
        assert_eq!(evp(subdomain, "/evp_proxy/v2/a"), 400, "{subdomain}");
    }
    assert_eq!((evp("a", "/evp_proxy/v2/a/../b"), evp("a", "/evp_proxy/v2/a?b=%0a")), (400, 400));
    assert_eq!(stage.post("/evp_proxy/v2/a", &[SUBDOMAIN, ("X-Datadog-NeedsAppKey", "true")], b"x").0, 400);
    assert_eq!(stage.post("/evp_proxy/v2/a", &[SUBDOMAIN], &[0; 1001]).0, 413);
    assert_eq!(stage.post("/profiling/v1/input", &[], &vec![0; 3 << 20]).0, 413, "more than the memory allows");
    assert_eq!(stage.post("/telemetry/proxy/a", &[], &vec![0; 1 << 20]).0, 413, "more than may wait");
    for (method, path) in [("GET", "/profiling/v1/input"), ("DELETE", "/telemetry/proxy/a"), ("TRACE", "/evp_proxy/v2/a")] {
        assert_eq!(send(stage.port, method, path, &[SUBDOMAIN], b"").0, 405, "{method} {path}");
    }
    assert_eq!(stage.post("/evp_proxy/v9/a", &[SUBDOMAIN], b"x").0, 404);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert!(stage.intake.so_far().is_empty());
    assert_eq!(finished.ledger().of("proxied", "accepted"), 0);
}

#[test]
fn what_is_switched_off_is_neither_listed_nor_served() {
    let off = [
        ("DD_EVP_PROXY_CONFIG_ENABLED", "false"),
        ("DD_APM_TELEMETRY_ENABLED", "false"),
        ("DD_OL_PROXY_CONFIG_ENABLED", "false"),
        ("DD_LOGS_ENABLED", "false"),
    ];
    let stage = stage(&off);
    let info = send(stage.port, "GET", "/info", &[], b"").2;
    assert!(!["evp_proxy/", "telemetry", "openlineage"].iter().any(|word| info.contains(word)), "{info}");
    assert_eq!(stage.post("/evp_proxy/v2/a", &[SUBDOMAIN], b"x").0, 405);
    assert_eq!(stage.post("/telemetry/proxy/a", &[], b"x").0, 404);
    assert_eq!(stage.post("/openlineage/api/v1/lineage", &[], b"x").0, 404);
    assert_eq!(stage.post("/debugger/v1/input", &[], b"x").0, 200, "taken and dropped, as logs are not wanted");
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert!(stage.intake.so_far().is_empty());
    assert_eq!(finished.ledger().of("proxied", "filtered"), 1);
}

#[test]
fn without_an_intake_the_client_is_told_and_telemetry_waits() {
    let mut agent =
        Agent::start(&[], &env(&dead_url(), &[("DD_FORWARDER_BACKOFF_BASE", "0.01"), ("DD_SHUTDOWN_TIMEOUT", "1")]));
    let port = agent.ready().traces.unwrap();
    assert_eq!(send(port, "POST", "/profiling/v1/input", &[], b"x").0, 502);
    assert_eq!(send(port, "POST", "/evp_proxy/v2/a", &[SUBDOMAIN], b"x").0, 502);
    // One is in the poster's hands at times, so the hundred and first or second is refused.
    let answers: Vec<u16> = (0..102).map(|_| send(port, "POST", "/telemetry/proxy/a", &[], b"x").0).collect();
    let taken = answers.iter().filter(|status| **status == 200).count();
    assert!((100..=101).contains(&taken) && answers.contains(&429), "{taken}");
    // Just so much may wait in all, so that it could be taken only alone.
    let (status, _, body) = send(port, "POST", "/telemetry/proxy/a", &[], &vec![0; 2 << 20]);
    assert_eq!((status, body.as_str()), (429, "{}"));
    let finished = agent.stop_and_finish();
    assert_eq!(finished.code, Some(75), "{finished:#?}");
    assert_eq!(finished.ledger().of("proxied", "accepted"), taken as u64);
    assert_eq!(finished.ledger().of("proxied", "shutdown"), taken as u64);
}

#[test]
fn telemetry_is_answered_at_once_and_tried_again() {
    let answers = Mutex::new(vec![Reply::status(202), Reply::Hangup, Reply::status(503)]);
    let intake = FakeServer::start(move |_| answers.lock().unwrap().pop().unwrap_or_else(|| Reply::status(202)));
    let stage = stage_with(intake, &[("DD_FORWARDER_BACKOFF_BASE", "0.01")]);
    let (status, head, body) = stage.post("/telemetry/proxy/api/v2/apmtelemetry", &[], b"{}");
    assert_eq!((status, body.as_str()), (200, "{}"));
    assert!(head.contains("content-type: application/json"), "{head}");
    for _ in 0..3 {
        assert_eq!(stage.intake.next().path, "/api/v2/apmtelemetry");
    }
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("proxied", "sent"), 1);
}

#[test]
fn a_request_that_cannot_be_sent_on_is_refused_and_holds_up_no_other() {
    let stage = stage(&[]);
    let long = "x".repeat(16_000);
    let telemetry = "/telemetry/proxy/api/v2/apmtelemetry";
    for (path, headers) in [
        (telemetry.to_owned(), vec![("X-Long", long.as_str())]),
        (format!("{telemetry}?{long}"), vec![]),
        ("/profiling/v1/input".to_owned(), vec![("X-Long", long.as_str())]),
    ] {
        let (status, _, body) = stage.post(&path, &headers, b"{}");
        assert_eq!((status, body.as_str()), (400, "path and query, or a header, are too long\n"), "{path:.40}");
    }
    let longest = "x".repeat(15_000);
    let seen = stage.passes(telemetry, &[("X-Long", &longest)], "/api/v2/apmtelemetry");
    assert_eq!(seen.header("x-long"), Some(longest.as_str()));
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("proxied", "sent"), 1);
}

#[test]
fn a_refused_key_for_one_product_does_not_hold_the_others() {
    let intake = FakeServer::start(|seen| Reply::status(if seen.path.contains("telemetry") { 403 } else { 202 }));
    let mut stage = stage_with(intake, &[]);
    assert_eq!(stage.post("/telemetry/proxy/apmtelemetry", &[], b"{}").0, 200);
    stage.agent.wait_for("proxied", "refused", 1);
    let spans = support::msgpack::v04_trace(1, 1);
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &spans).0, 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("traces", "sent"), 1);
}

#[test]
fn an_intake_that_hangs_holds_few_requests_and_no_shutdown() {
    let reply = |seen: &Seen| if seen.path == "/hang" { Reply::Silence } else { Reply::status(202) };
    // A quarter of the shutdown's time is for requests in progress; then they are cut off.
    let stage = stage_with(FakeServer::start(reply), &[("DD_SHUTDOWN_TIMEOUT", "12")]);
    // So many hang at a time; the next is refused at once, and traces still pass.
    let clients: Vec<_> = (0..8).map(|_| begin(stage.port)).collect();
    for _ in &clients {
        stage.intake.next();
    }
    let (status, _, body) = stage.post("/evp_proxy/v2/a", &[SUBDOMAIN], b"x");
    assert_eq!((status, body.as_str()), (429, "{}"));
    let spans = support::msgpack::v04_trace(1, 1);
    assert_eq!(send(stage.port, "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &spans).0, 200);
    let finished = stage.agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("traces", "sent"), finished.ledger().of("proxied", "accepted")), (1, 0));
}

/// Sends a request to an intake that hangs, and does not wait for the answer.
fn begin(port: SocketAddr) -> TcpStream {
    use std::io::Write;
    let mut stream = TcpStream::connect(port).unwrap();
    let head = "POST /evp_proxy/v2/hang HTTP/1.1\r\nX-Datadog-EVP-Subdomain: a\r\nContent-Length: 1\r\n\r\nx";
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn a_clients_own_time_limit_ends_its_request() {
    let stage = stage_with(FakeServer::start(|_| Reply::Silence), &[]);
    let (status, _, body) = stage.post("/evp_proxy/v2/a", &[SUBDOMAIN, ("X-Datadog-Timeout", "1")], b"x");
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("timed out"), "{body}");
    stage.agent.stop_and_finish().assert_clean();
}

#[test]
fn inside_lambda_everything_is_answered_at_once_and_leaves_with_the_invocation() {
    let lambda = FakeLambda::start(Manners::default());
    let intake = FakeServer::start(|_| Reply::status(202));
    let extra = [("AWS_LAMBDA_RUNTIME_API", lambda.host()), ("AWS_LAMBDA_FUNCTION_NAME", "Shop".to_owned())];
    let extra: Vec<(&'static str, &str)> = extra.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut agent = Agent::start(&[], &env(&intake.url(), &extra));
    let port = agent.ready().traces.unwrap();
    lambda.wait_asked();
    for path in ["/profiling/v1/input", "/evp_proxy/v2/api/v2/llmobs", "/debugger/v2/input", "/openlineage/api/v1/lineage"] {
        let (status, _, body) = send(port, "POST", path, &[SUBDOMAIN], &binary());
        assert_eq!((status, body.as_str()), (200, "{}"), "{path}");
    }
    assert_eq!(send(port, "POST", "/telemetry/proxy/a", &[], b"{}").0, 200);
    assert_eq!(send(port, "GET", "/evp_proxy/v2/a", &[SUBDOMAIN], b"").0, 405, "its answer cannot be waited for");
    assert_eq!(send(port, "POST", "/evp_proxy/v2/a", &[], b"").0, 400);
    let seen: Vec<Seen> = (0..5).map(|_| intake.next()).collect();
    let profile = seen.iter().find(|seen| seen.path == "/api/v2/profile").unwrap();
    assert_eq!(profile.header("x-datadog-additional-tags"), Some("_dd.origin:lambda;functionname:Shop"));
    assert_eq!((profile.header("dd-api-key"), &profile.body), (Some(KEY), &binary()));
    let lineage = seen.iter().find(|seen| seen.path == "/api/v1/lineage?api-version=2").unwrap();
    assert_eq!((lineage.header("authorization"), lineage.header("dd-api-key")), (Some(&*format!("Bearer {KEY}")), None));
    let telemetry = seen.iter().find(|seen| seen.path == "/a").unwrap();
    assert_eq!(telemetry.header("dd-cloud-resource-type"), Some("AWSLambda"));
    lambda.shutdown(60_000);
    let finished = agent.finish();
    finished.assert_clean();
    assert_eq!((finished.ledger().of("proxied", "accepted"), finished.ledger().of("proxied", "sent")), (5, 5));
}

#[test]
fn local_output_shows_requests_instead_of_sending_them() {
    let out = folder("proxies_out");
    let mut env = env("http://hub.example:1", &[]);
    env.retain(|(name, _)| *name != "DD_API_KEY");
    let mut agent = Agent::start(&["run", "--out", out.to_str().unwrap()], &env);
    let port = agent.ready().traces.unwrap();
    let mine = [SUBDOMAIN, ("DD-API-KEY", "mine")];
    for (path, body) in [("/evp_proxy/v2/a?b=c", &b"{}"[..]), ("/profiling/v1/input", b"\xff"), ("/tracer_flare/v1", b"x")] {
        assert_eq!(send(port, "POST", path, &mine, body).0, 200, "{path}");
    }
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert_eq!(finished.ledger().of("proxied", "sent"), 3);
    let text = std::fs::read_to_string(out.join("proxied.ndjson")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!text.contains("mine") && records.iter().all(|record| record["signal"] == "proxied"), "{text}");
    assert_eq!((&records[0]["address"], &records[0]["body"]), (&"http://hub.example:1/a?b=c".into(), &"{}".into()));
    assert_eq!(
        (&records[1]["body_base64"], &records[1]["headers"]["X-Datadog-Additional-Tags"]),
        (&"/w==".into(), &TAGS.into())
    );
    assert!(records[2]["address"].as_str().unwrap().contains("-flare.datadoghq.com/"), "{}", records[2]);
}

#[test]
fn what_is_passed_on_takes_the_users_proxy_directly_and_by_the_queue() {
    let proxy = FakeServer::start(|_| Reply::status(202));
    let intake = "http://intake.test";
    let mut agent = Agent::start(&[], &env(intake, &[("DD_PROXY_HTTP", &proxy.url())]));
    let port = agent.ready().traces.unwrap();
    for (path, target) in [
        ("/profiling/v1/input", "http://intake.test/api/v2/profile"),
        ("/telemetry/proxy/api/v2/apmtelemetry", "http://intake.test/api/v2/apmtelemetry"),
    ] {
        assert_eq!(send(port, "POST", path, &[], b"{}").0 / 100, 2, "{path}");
        let seen = proxy.next();
        assert_eq!((seen.path.as_str(), seen.header("host")), (target, Some("intake.test")));
    }
    agent.stop_and_finish().assert_clean();
}
