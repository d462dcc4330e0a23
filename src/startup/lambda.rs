//! The agent as a Lambda extension: registration, subscription, and the thread that asks for events.

use crate::config;
use crate::config::AwsEnv;
use crate::config::Config;
use crate::encode::lambda_api as lambda_requests;
use crate::errors::StartError;
use crate::main_loop::Ends;
use crate::main_loop::MainEvent;
use crate::process::lambda;
use crate::sources::lambda_api::Extension;
use crate::sources::lambda_api::LambdaApi;
use crate::sources::lambda_http::CallSettings;
use crate::sources::lambda_http::Styles;
use crate::startup::log_plan;
use crate::startup::memory::Memory;
use crate::startup::plan::Place;
use crate::sys::digest;
use crate::sys::inbox::Sender;
use crate::sys::inbox::channel;
use crate::sys::net::Client;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

/// The Lambda APIs before registration.
#[derive(Debug)]
pub struct LambdaSide {
    api: LambdaApi,
    name: String,
}

/// A registered agent, waiting to be told to ask for events.
#[derive(Debug)]
pub struct Registered {
    /// One message for each event that is to be asked for.
    pub go: Sender<()>,
    /// Who will tell of the end of invocations.
    pub ends: Ends,
    /// The sandbox belongs to managed instances.
    pub managed: bool,
    /// The function's ARN, if it is known already.
    pub arn: Option<String>,
}

impl LambdaSide {
    /// For the APIs at `host`. The platform knows an extension by the base name of its file.
    pub fn new(host: &str, program: &OsString) -> LambdaSide {
        let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
        LambdaSide { api: LambdaApi::new(Client::small(), host), name: name.unwrap_or_else(|| "datadog-agent".to_owned()) }
    }

    /// Registers and only answers `/next`.
    pub fn idle(self) -> Result<(), StartError> {
        let extension = self.api.register(&self.name, &lambda_requests::register(false)).map_err(StartError::Register)?;
        extension.idle();
        Ok(())
    }

    /// Registers, subscribes to telemetry and starts the thread that waits for events.
    pub fn register(
        self,
        config: &Config,
        aws: &AwsEnv,
        communication: Option<SocketAddr>,
        events: &Sender<MainEvent>,
        exits: &Sender<&'static str>,
    ) -> Result<Registered, StartError> {
        let managed = aws.initialization_type.as_deref() == Some("lambda-managed-instances");
        let extension = self.api.register(&self.name, &lambda_requests::register(managed)).map_err(StartError::Register)?;
        let types = log_plan::subscribed(config);
        let subscribe = |address: SocketAddr| extension.subscribe(&lambda_requests::subscribe(managed, &types, address.port()));
        let ends = match config.local_test {
            true => Ends::Library,
            false if communication.is_some_and(subscribe) => Ends::Platform,
            false => Ends::Nobody,
        };
        let (go, asked) = channel(1);
        let arn = function_arn(&extension, aws);
        extension.start(asked, events.clone(), exits).map_err(StartError::System)?;
        Ok(Registered { go, ends, managed, arn })
    }
}

/// How calls of client libraries are read.
pub fn calls(config: &Config, aws: &AwsEnv, memory: Memory) -> CallSettings {
    let config::Styles(styles) = config.propagation_style_extract.as_ref().unwrap_or(&config.propagation_style);
    CallSettings {
        infer_spans: config.trace_enabled && config.trace_managed_services,
        capture_depth: config.capture_payload.then_some(config.capture_payload_depth),
        captured_bytes_max: memory.captured,
        styles: Styles::new(styles, config.propagation_baggage, config.propagation_extract_first),
        region: aws.region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
        function: aws.function_name.clone().unwrap_or_default(),
        digest: digest::sha256_hex,
    }
}

/// What is done to spans inside Lambda.
pub fn spans(config: &Config, place: Place, aws: &AwsEnv) -> Option<lambda::Settings> {
    let runtime_api = aws.runtime_api.clone().filter(|_| place == Place::Lambda)?;
    let own = |port: u16| format!("127.0.0.1:{port}");
    let own_addresses = vec![runtime_api, own(config.communication_port), own(config.dogstatsd_port.0.unwrap_or(0))];
    Some(lambda::Settings { own_addresses, service: config.service.clone() })
}

/// The function's ARN, in lower case, from what registration and environment tell; `None` without an account.
fn function_arn(extension: &Extension, aws: &AwsEnv) -> Option<String> {
    let account = extension.function.account_id.as_deref()?;
    let name = extension.function.function_name.as_deref().or(aws.function_name.as_deref())?;
    let region = aws.region.as_deref().unwrap_or("us-east-1");
    let partition = match region {
        region if region.starts_with("us-gov-") => "aws-us-gov",
        region if region.starts_with("cn-") => "aws-cn",
        _ => "aws",
    };
    Some(format!("arn:{partition}:lambda:{region}:{account}:function:{name}").to_ascii_lowercase())
}
