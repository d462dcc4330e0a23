//! Start-up: what each step does when it fails, and that none of them holds up the others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::TcpListener;
use support::agent::{Agent, Finished, KEY, folder, settings};
use support::fake_http::{FakeServer, Reply, dead_url, send};
use support::msgpack::v04_trace;

fn with(extra: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut env = settings();
    env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
    env
}

/// Runs to its end, which it finds by itself.
fn run(args: &[&str], env: &[(&'static str, &str)]) -> Finished {
    Agent::start(args, &with(env)).finish()
}

/// The lines of an error, without those of other levels.
fn errors(finished: &Finished) -> Vec<&String> {
    finished.stderr.iter().filter(|line| line.contains("| ERROR |") || line.starts_with("mote: ")).collect()
}

#[test]
fn ready_names_ports_that_answer() {
    let mut agent = Agent::start(&["--out", "-"], &settings());
    let ports = agent.ready();
    assert_eq!(send(ports.communication.unwrap(), "GET", "/lambda/hello", &[], b"").0, 200);
    let (status, _, body) = send(ports.traces.unwrap(), "GET", "/info", &[], b"");
    assert_eq!(status, 200);
    assert!(body.contains(&format!("\"receiver_port\":{}", ports.traces.unwrap().port())));
    agent.stop_and_finish().assert_clean();
}

#[test]
fn bad_command_lines_name_the_word_and_the_nearest_one() {
    for (args, expected) in [
        (&["--evnts", "-"][..], "mote: unknown flag `--evnts`; did you mean --events?"),
        (&["rnu"], "mote: unknown command `rnu`; did you mean run?"),
        (&["--log-level", "inof"], "mote: unknown log level `inof`; did you mean info?"),
    ] {
        let finished = run(args, &[]);
        assert_eq!((finished.code, finished.stderr.as_slice()), (Some(64), &[expected.to_owned()][..]));
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [&["--help"][..], &["run", "--help"], &["check", "--help"], &["version", "--help"], &["version"]] {
        let finished = run(args, &[]);
        assert_eq!(finished.code, Some(0));
        assert!(finished.stdout.contains("mote") && finished.stderr.is_empty(), "{finished:?}");
    }
}

#[test]
fn a_taken_communication_port_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let finished = run(&["--out", "-"], &[("DD_COMMUNICATION_PORT", &port)]);
    assert_eq!(finished.code, Some(69));
    assert!(
        errors(&finished)[0].contains(&format!("the communication server cannot listen on 127.0.0.1:{port}")),
        "{finished:?}"
    );
}

#[test]
fn a_taken_trace_port_is_an_error_line_and_the_rest_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut agent = Agent::start(&["--out", "-"], &with(&[("DD_APM_RECEIVER_PORT", &port)]));
    let ports = agent.ready();
    assert!(ports.traces.is_none());
    assert_eq!(send(ports.communication.unwrap(), "GET", "/lambda/hello", &[], b"").0, 200);
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(errors(&finished)[0].contains(&format!("the trace agent cannot listen on port {port}")));
}

#[test]
fn a_broken_file_is_a_warning_with_its_place_and_variables_still_count() {
    let file = folder("broken-yaml").join("datadog.yaml");
    std::fs::write(&file, "site: a\n  b: c\n").unwrap();
    let path = file.to_str().unwrap();
    let finished = run(&["check", "--config", path], &[("DD_API_KEY", KEY), ("DD_ENV", "prod")]);
    assert_eq!(finished.code, Some(0));
    assert!(finished.says(&format!("warning: {path}: line 2, column 4: ")), "{finished:?}");
    assert!(finished.says("= prod (DD_ENV)"));
    assert!(!finished.says(KEY), "a key is never shown");
}

#[test]
fn flags_beat_variables_beat_the_file() {
    let file = folder("layers").join("datadog.yaml");
    std::fs::write(&file, "log_level: error\nenv: from-file\nservice: from-file\napm_config: {receiver_port: 1}\n").unwrap();
    let args = ["check", "--config", file.to_str().unwrap(), "--log-level", "debug"];
    let finished = run(&args, &[("DD_API_KEY", KEY), ("DD_LOG_LEVEL", "warn"), ("DD_SERVICE", "from-env")]);
    let shown = |words: &[&str]| finished.stdout.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == words);
    assert!(shown(&["log_level", "=", "debug", "(--log-level)"]), "{}", finished.stdout);
    assert!(shown(&["service", "=", "from-env", "(DD_SERVICE)"]), "{}", finished.stdout);
    assert!(shown(&["env", "=", "from-file", &format!("({})", file.display())]), "{}", finished.stdout);
    assert!(shown(&["apm_config.receiver_port", "=", "0", "(DD_APM_RECEIVER_PORT)"]), "{}", finished.stdout);
}

#[test]
fn without_a_key_the_agent_says_so_once_and_ends() {
    for env in [&[][..], &[("DD_API_KEY", "\"\"")], &[("DD_API_KEY_FILE", "/nowhere/key")]] {
        let finished = run(&[], env);
        assert_eq!(finished.code, Some(78), "{finished:?}");
        assert_eq!(errors(&finished).len(), 1, "{finished:?}");
    }
    for env in [&[][..], &[("DD_API_KEY", "\"\"")], &[("DD_API_KEY_FILE", "/nowhere/key")], &[("DD_KMS_API_KEY", "AQICAHh=")]] {
        assert_eq!(run(&["check"], env).code, Some(78), "check says what run would do");
    }
    assert_eq!(run(&["check", "--out", "-"], &[("DD_BIND_HOST", "example.com")]).code, Some(78));
}

#[test]
fn a_source_of_the_key_that_fails_gives_way_to_the_next() {
    let intake = FakeServer::start(|_| Reply::status(202));
    let env = [("DD_API_KEY_FILE", "/nowhere/key"), ("DD_API_KEY", KEY), ("DD_APM_DD_URL", &intake.url())];
    let mut agent = Agent::start(&[], &with(&env));
    send(agent.ready().traces.unwrap(), "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 1));
    agent.stop_and_finish().assert_clean();
    assert_eq!(intake.next().header("dd-api-key"), Some(KEY));
}

/// Credentials of no account.
fn aws(endpoint: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "my-fn"),
        ("AWS_ENDPOINT_URL_KMS", endpoint),
        ("DD_KMS_API_KEY", "AQICAHh="),
    ]
}

#[test]
fn a_key_in_kms_does_not_hold_up_the_start_and_is_found_with_its_context() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let kms = FakeServer::start(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert_eq!(request.header("x-amz-target"), Some("TrentService.Decrypt"));
        let authorization = request.header("authorization").unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        if !body.contains(r#""EncryptionContext":{"LambdaFunctionName":"my-fn"}"#) {
            let _ = wait.lock().unwrap().recv(); // until the agent is known to be ready
            return Reply::Answer(400, vec![], r#"{"__type":"InvalidCiphertextException"}"#.into());
        }
        Reply::Answer(200, vec![], r#"{"KeyId":"k","Plaintext":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}"#.into())
    });
    let intake = FakeServer::start(|_| Reply::status(202));
    let (kms_url, intake_url) = (kms.url(), intake.url());
    let mut env = aws(&kms_url);
    env.push(("DD_APM_DD_URL", &intake_url));
    let mut agent = Agent::start(&[], &with(&env));
    let ports = agent.ready();
    send(ports.traces.unwrap(), "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 1));
    release.send(()).unwrap();
    let _both_calls = (kms.next(), kms.next());
    agent.stop_and_finish().assert_clean();
    assert_eq!(intake.next().header("dd-api-key"), Some(KEY));
}

#[test]
fn a_setting_that_aws_keeps_is_asked_for_at_the_service_that_its_arn_names() {
    let aws_at = FakeServer::start(|_| Reply::Answer(200, vec![], r#"{"Parameter":{"Value":"of-the-parameter"}}"#.into()));
    let url = aws_at.url();
    let mut env = vec![("AWS_ENDPOINT_URL", url.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for name in ["DD_ENV_SECRET_ARN", "DD_ENV_KMS_ENCRYPTED"] {
        env.push((name, "arn:aws:ssm:eu-west-1:1:parameter/env"));
        let finished = run(&["check", "--key"], &env);
        assert!(
            finished.stdout.lines().any(|line| line.starts_with("env ") && line.contains("= *** (DD_ENV)")),
            "{finished:?}"
        );
        assert_eq!(aws_at.next().header("x-amz-target"), Some("AmazonSSM.GetParameter"));
        env.pop();
    }
}

#[test]
fn a_binary_secret_is_decoded_once() {
    let keeper = FakeServer::start(|_| {
        Reply::Answer(200, vec![], r#"{"SecretBinary":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}"#.into())
    });
    let intake = FakeServer::start(|_| Reply::status(202));
    let (keeper_url, intake_url) = (keeper.url(), intake.url());
    let mut env = aws("http://unused");
    env.retain(|(name, _)| *name != "DD_KMS_API_KEY");
    env.extend([
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", keeper_url.as_str()),
        ("DD_API_KEY_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:1:secret:x"),
        ("DD_APM_DD_URL", &intake_url),
    ]);
    let mut agent = Agent::start(&[], &with(&env));
    let port = agent.ready().traces.unwrap();
    send(port, "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 1));
    agent.stop_and_finish().assert_clean();
    assert_eq!(intake.next().header("dd-api-key"), Some(KEY));
}

#[test]
fn a_key_that_kms_will_not_decrypt_ends_the_agent_with_its_reason() {
    let kms =
        FakeServer::start(|_| Reply::Answer(400, vec![], r#"{"__type":"AccessDeniedException","message":"not yours"}"#.into()));
    let finished = run(&[], &aws(&kms.url()));
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.says("no API key from kms_api_key: AccessDeniedException: not yours"), "{finished:?}");
    assert_eq!(errors(&finished).len(), 1, "{finished:?}");
}

#[test]
fn a_key_service_that_is_down_keeps_the_agent_waiting_with_its_data() {
    let (intake, dead) = (FakeServer::start(|_| Reply::status(202)), dead_url());
    let intake_url = intake.url();
    let mut env = aws(&dead);
    env.extend([("DD_APM_DD_URL", intake_url.as_str()), ("DD_SHUTDOWN_TIMEOUT", "0.2")]);
    let mut agent = Agent::start(&[], &with(&env));
    send(agent.ready().traces.unwrap(), "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 2));
    agent.line_with("no API key from kms_api_key");
    let finished = agent.stop_and_finish();
    assert_eq!((finished.code, finished.ledger().of("traces", "shutdown")), (Some(75), 2), "{finished:?}");
    assert!(intake.so_far().is_empty(), "nothing is sent without a key");
}

#[test]
fn the_agents_own_lines_are_json_on_request() {
    let mut agent = Agent::start(&["--out", "-"], &with(&[("DD_LOG_FORMAT_JSON", "true"), ("DD_LOG_LEVEL", "WARNING")]));
    agent.ready();
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    for line in &finished.stderr {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["status"], "INFO");
        let message = line["message"].as_str().unwrap();
        assert!(message.starts_with("ready: ") || message.starts_with("ledger: "), "whatever the level: {message}");
    }
    assert_eq!(finished.stderr.len(), 2);
}

#[test]
fn a_recording_that_is_not_there_is_an_error() {
    let finished = run(&["--events", "/nowhere/run.ndjson", "--out", "-"], &[]);
    assert_eq!(finished.code, Some(78));
    assert!(errors(&finished)[0].starts_with("mote: cannot read events from /nowhere/run.ndjson: "), "{finished:?}");
}

#[test]
fn an_unreachable_intake_does_not_keep_the_agent_from_starting() {
    let dead = dead_url();
    let env = with(&[("DD_API_KEY", KEY), ("DD_APM_DD_URL", &dead), ("DD_LOGS_CONFIG_LOGS_DD_URL", &dead)]);
    let mut agent = Agent::start(&[], &env);
    agent.ready();
    agent.stop_and_finish().assert_clean();
}

#[test]
fn a_key_in_the_wrong_setting_is_told_and_shown_nowhere() {
    for (name, wanted) in [
        ("DD_API_KEY_FILE", "a path"),
        ("DD_API_KEY_SECRET_ARN", "the ARN or name of a secret"),
        ("DD_API_KEY_SSM_ARN", "the ARN or name of a secret"),
        ("DD_KMS_API_KEY", "a text encrypted by AWS KMS"),
        ("DD_SITE", "a site"),
        ("DD_PROXY_HTTPS", "the address of a proxy"),
        ("DD_BIND_HOST", ""),
    ] {
        for args in [&["run"][..], &["check"], &["check", "--key"]] {
            let finished = run(args, &[(name, KEY), ("DD_LOG_LEVEL", "trace")]);
            assert_eq!(finished.code, Some(78), "{name} {finished:?}");
            assert!(!finished.says(&KEY[..20]), "{name} {args:?} {finished:?}");
            assert!(wanted.is_empty() || finished.says(&format!("{name}: a key was given where {wanted} is wanted")));
        }
    }
}

#[test]
fn no_output_at_any_level_holds_the_key() {
    let intake = FakeServer::start(|_| Reply::status(403));
    let url = intake.url();
    let endpoints = format!(r#"{{"{url}": ["{KEY}"]}}"#);
    let also = ("DD_ADDITIONAL_ENDPOINTS", endpoints.as_str());
    let mistaken = ("DD_PROXY_HTTPS", "http://user:pa55word%40proxy:3128");
    let env = with(&[("DD_API_KEY", KEY), ("DD_APM_DD_URL", &url), ("DD_SHUTDOWN_TIMEOUT", "5"), also, mistaken]);
    let mut agent = Agent::start(&["--log-level", "trace"], &env);
    send(agent.ready().traces.unwrap(), "PUT", "/v0.4/traces", &[("Content-Type", "application/msgpack")], &v04_trace(1, 1));
    let finished = agent.stop_and_finish();
    assert_eq!(intake.next().header("dd-api-key"), Some(KEY));
    assert!(finished.says("DD_API_KEY=***") && finished.says("refused"), "{finished:?}");
    assert!(!finished.says(KEY) && !finished.says(&KEY[20..]) && !finished.says("pa55word"));
}
