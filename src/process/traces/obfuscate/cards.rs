//! Values that look like the number of a payment card: 12 to 16 digits, blanks and `-` between them, beginning as an issuer's
//! numbers do; if wanted also with a right check digit.
//!
//! ```text
//! 1  4  34-39  300-305  309  51-55  6  50  56-58  222100-272099      after six digits nothing more precise is known
//! ```
//! Some tags are never looked at: those beginning with `_`, a list of names whose values are often long numbers, and the
//! user's. A value is given up at its first byte that no card number has, and not looked at if it is longer than 256 bytes, a
//! limit that the reference has not. Source: reference agent 7.80, pkg/obfuscate/credit_cards.go.

/// A card number has at least so many digits.
pub const DIGITS_MIN: usize = 12;
/// And at most so many.
const DIGITS_MAX: usize = 16;

/// Longer values would be blanks for the most part.
const VALUE_BYTES_MAX: usize = 256;

/// How values are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether at all.
    pub enabled: bool,
    /// The check digit must be right.
    pub luhn: bool,
    /// Tags that keep their values.
    pub keep_values: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { enabled: true, luhn: false, keep_values: Vec::new() }
    }
}

impl Settings {
    /// Whether the values of tag `key` are looked at.
    pub fn looks_at(&self, key: &str) -> bool {
        !key.starts_with('_') && !is_known(key) && !self.keep_values.iter().any(|kept| kept == key)
    }
}

fn is_known(key: &str) -> bool {
    #[rustfmt::skip]
    const KNOWN: [&str; 31] = [
        "account_id", "aws_account", "env", "runtime-id", "version", "service", "service.name",
        "error", "error.msg", "error.type", "error.stack", "span.type", "span.name", "sampling.priority",
        "graphql.field", "graphql.query", "graphql.type", "graphql.operation.name",
        "grpc.code", "grpc.method", "grpc.request", "http.status_code", "http.method", "out.host", "out.port", "sql.query",
        "databricks_job_id", "databricks_job_run_id", "databricks_task_run_id",
        "config.spark_app_startTime", "config.spark_databricks_job_parentRunId",
    ];
    KNOWN.contains(&key)
}

/// Whether `value` looks like a card's number.
pub fn is_card_number(value: &[u8], luhn: bool) -> bool {
    if value.len() < DIGITS_MIN || VALUE_BYTES_MAX < value.len() {
        return false;
    }
    let mut digits = [0; DIGITS_MAX];
    let mut count = 0;
    for byte in value {
        match byte {
            b' ' | b'-' => {}
            b'0'..=b'9' if count < DIGITS_MAX => {
                digits[count] = byte - b'0';
                count += 1;
            }
            _ => return false,
        }
    }
    DIGITS_MIN <= count && is_issuer(&digits) && (!luhn || has_check_digit(&digits[..count]))
}

fn is_issuer(digits: &[u8; DIGITS_MAX]) -> bool {
    let number = digits[..6].iter().fold(0, |number, digit| number * 10 + u32::from(*digit));
    match digits[..2] {
        [1 | 4 | 6, _] | [3, 4..=9] | [5, 0..=8] => true,
        [3, 0] => matches!(digits[2], 0..=5 | 9),
        _ => (222_100..=272_099).contains(&number),
    }
}

/// Luhn's sum: from the right every second digit counts twice, and of the two digits that it then may have the sum.
fn has_check_digit(digits: &[u8]) -> bool {
    let weigh = |(place, digit): (usize, &u8)| match u32::from(*digit) * (1 + place as u32 % 2) {
        twice @ 10.. => twice - 9,
        once => once,
    };
    digits.iter().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}
