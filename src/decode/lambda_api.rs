//! Answers of the Lambda Extensions API.

use serde::Deserialize;

/// What registration tells of the function.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Registered {
    /// Without qualifier.
    pub function_name: Option<String>,
    /// `$LATEST` if unpublished.
    pub function_version: Option<String>,
    /// Only where it was asked for and is known.
    pub account_id: Option<String>,
}

/// Reads the body of a registration; one that cannot be read tells nothing.
pub fn registered(body: &[u8]) -> Registered {
    serde_json::from_slice(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_without_account_is_fine() {
        let body = br#"{"functionName":"f","functionVersion":"7","handler":"app.handler","more":1}"#;
        let expected = Registered { function_name: Some("f".into()), function_version: Some("7".into()), account_id: None };
        assert_eq!(registered(body), expected);
        assert_eq!(registered(b"not json"), Registered::default());
    }
}
