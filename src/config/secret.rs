//! Settings that are secret, or that lead to what is.

use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use std::fmt;
use zeroize::Zeroizing;

/// A value that is never shown, and whose memory is wiped when it is let go.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The value, for the one who uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A secret with this text.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "***")
    }
}

impl Value for Secret {
    const SECRET: bool = true;
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text().map(|text| Secret::new(text.to_owned()))
    }

    fn show(&self) -> String {
        "***".to_owned()
    }
}

/// A secret that only someone else can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext(pub Secret);

impl Value for Ciphertext {
    const SECRET: bool = true;
    const NOT_A_KEY: Option<&'static str> = Some("a text encrypted by AWS KMS");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        Secret::parse(raw).map(Ciphertext)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// The name of a secret that someone else keeps. Shown only where it is surely none itself: people mistake one variable for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName(pub String);

impl Value for SecretName {
    const QUOTABLE: bool = false;
    const NOT_A_KEY: Option<&'static str> = Some("the ARN or name of a secret");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text().map(|text| SecretName(text.to_owned()))
    }

    fn show(&self) -> String {
        if self.0.starts_with("arn:") { self.0.clone() } else { "***".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Option::<Secret>::parse(&Raw::Text("0123".to_owned())).unwrap();
        assert_eq!([secret.show(), format!("{secret:?}")], ["***", "Some(***)"]);
        let name = |text: &str| SecretName(text.to_owned()).show();
        assert_eq!([name("arn:aws:ssm:x"), name("dd/key")], ["arn:aws:ssm:x", "***"]);
    }
}
