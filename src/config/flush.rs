//! `serverless_flush_strategy`, as Datadog's extension writes it.

use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use crate::model::flush_strategy::FlushStrategy;
use std::time::Duration;

/// What `periodically` means without a number, which is in milliseconds.
const PERIOD_MS: u32 = 10_000;

/// Words are taken as they are written, in small letters; blanks around word and number do not count.
impl Value for FlushStrategy {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("end, end,N, periodically,N, continuously,N (N in milliseconds) or default");
        let text = raw.text()?;
        let (word, number) = text.split_once(',').map_or((text, None), |(word, number)| (word.trim_end(), Some(number.trim())));
        let every = number.map(|number| number.parse().map_err(|_| EXPECTED)).transpose()?;
        let every =
            |default_ms: Option<u32>| every.or(default_ms).map(|ms| Duration::from_millis(u64::from(ms))).ok_or(EXPECTED);
        match word {
            "default" if number.is_none() => Ok(FlushStrategy::Default),
            "end" if number.is_none() => Ok(FlushStrategy::End),
            "end" => every(None).map(FlushStrategy::EndAndEvery),
            "periodically" => every(Some(PERIOD_MS)).map(FlushStrategy::Periodically),
            "continuously" => every(None).map(FlushStrategy::Continuously),
            _ => Err(EXPECTED),
        }
    }

    fn show(&self) -> String {
        match self {
            FlushStrategy::Default => "default".to_owned(),
            FlushStrategy::End => "end".to_owned(),
            FlushStrategy::EndAndEvery(every) => format!("end,{}", every.as_millis()),
            FlushStrategy::Periodically(every) => format!("periodically,{}", every.as_millis()),
            FlushStrategy::Continuously(every) => format!("continuously,{}", every.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_those_of_datadogs_extension() {
        for (text, expected) in [
            ("default", Some("default")),
            (" end ", Some("end")),
            ("end,500", Some("end,500")),
            ("periodically, 1000", Some("periodically,1000")),
            ("periodically", Some("periodically,10000")),
            ("continuously ,0", Some("continuously,0")),
            ("continuously", None),
            ("End", None),
            ("end,", None),
            ("end,-1", None),
            ("end,1,2", None),
            ("default,5", None),
            ("periodically,1.5", None),
            ("periodically,99999999999", None),
            ("", None),
        ] {
            let shown = FlushStrategy::parse(&Raw::Text(text.to_owned())).ok().map(|strategy| strategy.show());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
