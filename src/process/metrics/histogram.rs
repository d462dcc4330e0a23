//! What becomes of a histogram.

/// Which values are sent, by the Agent's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregates {
    /// `max`, `min`, `median`, `avg`, `sum`, `count`, in the order in which they are sent.
    pub names: Vec<Aggregate>,
    /// Whole percents, ascending.
    pub percentiles: Vec<u8>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The highest value.
    Max,
    /// The lowest.
    Min,
    /// The one in the middle.
    Median,
    /// The mean.
    Avg,
    /// All together.
    Sum,
    /// How many.
    Count,
}

/// Words and their meanings.
const NAMES: [(&str, Aggregate); 6] = [
    ("max", Aggregate::Max),
    ("min", Aggregate::Min),
    ("median", Aggregate::Median),
    ("avg", Aggregate::Avg),
    ("sum", Aggregate::Sum),
    ("count", Aggregate::Count),
];

impl Aggregate {
    /// Its word, which is the end of the metric's name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, aggregate)| *aggregate == self).map_or("", |(name, _)| name)
    }
}

impl Aggregates {
    /// From the words of `histogram_aggregates` and the numbers of `histogram_percentiles`; also those that are none.
    pub fn parse(names: &[String], percentiles: &[String]) -> (Aggregates, Vec<String>) {
        let mut refused = Vec::new();
        let mut aggregates = Aggregates::default();
        for word in names {
            match NAMES.iter().find(|(name, _)| name == word) {
                Some((_, aggregate)) => aggregates.names.push(*aggregate),
                None => refused.push(word.clone()),
            }
        }
        for word in percentiles {
            match word.parse::<f64>() {
                // Half a percent more, since 0.29 times 100 is less than 29.
                Ok(part) if (0.0..=1.0).contains(&part) => aggregates.percentiles.push((part * 100.0 + 0.5) as u8),
                _ => refused.push(word.clone()),
            }
        }
        aggregates.percentiles.sort_unstable();
        (aggregates, refused)
    }
}
