//! Tags that say which function data come from: what the environment, the ARN and the user tell. Pure.
//!
//! Keys are in lower case, as are the ARN and the service; other values stay as they are. The user's tags beat `env`, `service` and
//! `version`, and what is of the function itself beats the user's. Source: behaviour of Datadog's extensions.

use crate::model::tags::Tags;

/// What there is to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// `env`, `service`, `version` and the user's tags, in this order.
    pub user: Tags,
    /// Without version, in lower case; empty if unknown.
    pub arn: String,
    /// `$LATEST` or nothing if unpublished.
    pub version: Option<String>,
    /// MB.
    pub memory: Option<String>,
    /// How the sandbox came to be.
    pub init_type: Option<String>,
    /// Such as `python3.12`, once it is known.
    pub runtime: Option<String>,
}

impl Function {
    /// All tags.
    pub fn tags(&self) -> Tags {
        let mut tags = Tags::default();
        for (key, value) in self.user.pairs() {
            let key = key.to_ascii_lowercase();
            let is_service = key == "service";
            tags.push(&key, &if is_service { value.to_ascii_lowercase() } else { value.clone() });
        }
        let version = self.version.as_deref().filter(|version| *version != "$LATEST");
        let mut add = |key: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                tags.push(key, value);
            }
        };
        let part = |number: usize| self.arn.split(':').nth(number);
        add("function_arn", Some(&self.arn));
        add("region", part(3));
        add("account_id", part(4));
        add("aws_account", part(4));
        add("functionname", part(6));
        let resource = part(6).map(|name| match version {
            Some(version) => format!("{name}:{version}"),
            None => name.to_owned(),
        });
        add("resource", resource.as_deref());
        add("executedversion", version);
        add("memorysize", self.memory.as_deref());
        add("architecture", Some(if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }));
        add("init_type", self.init_type.as_deref());
        add("runtime", self.runtime.as_deref());
        add("dd_extension_version", Some(env!("CARGO_PKG_VERSION")));
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(pairs: &[(&str, &str)]) -> Tags {
        let mut tags = Tags::default();
        pairs.iter().for_each(|(key, value)| tags.push(key, value));
        tags
    }

    #[test]
    fn what_is_of_the_function_beats_the_user_who_beats_the_rest() {
        let function = Function {
            user: user(&[("env", "dev"), ("service", "Shop"), ("ENV", "Prod"), ("Region", "mars"), ("url", "http://X")]),
            arn: "arn:aws:lambda:eu-west-1:123456789012:function:shop".into(),
            version: Some("7".into()),
            memory: Some("256".into()),
            init_type: Some("on-demand".into()),
            runtime: Some("python3.12".into()),
        };
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "env:Prod,service:shop,region:eu-west-1,url:http://X,function_arn:arn:aws:lambda:eu-west-1:123456789012:function:shop,\
             account_id:123456789012,aws_account:123456789012,functionname:shop,resource:shop:7,executedversion:7,memorysize:256,\
             architecture:{architecture},init_type:on-demand,runtime:python3.12,dd_extension_version:{version}"
        );
        assert_eq!(function.tags().joined(), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let function = Function { version: Some("$LATEST".into()), ..Function::default() };
        let keys: Vec<String> = function.tags().pairs().iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, ["architecture", "dd_extension_version"]);
        let arn = "arn:aws:lambda:eu-west-1:1:function:f".to_owned();
        let tags = Function { arn, version: Some("$LATEST".into()), ..Function::default() }.tags();
        assert!(tags.pairs().contains(&("resource".to_owned(), "f".to_owned())), "{tags:?}");
    }
}
