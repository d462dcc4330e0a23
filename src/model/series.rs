//! Metrics as they leave: series of numbers, and sketches.

/// Separates tags that are held in one text: it cannot be part of one.
pub const TAG_SEPARATOR: char = '\n';

/// How the backend joins points of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesKind {
    /// Increments within the interval.
    Count,
    /// Increments a second.
    Rate,
    /// A state.
    Gauge,
}

/// Whose points they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    /// Name of the metric.
    pub name: &'a str,
    /// The end of its name: empty, or a point and what of a histogram it is.
    pub suffix: &'a str,
    /// May be empty.
    pub host: &'a str,
    /// Tags with [`TAG_SEPARATOR`] between them.
    pub tags: &'a str,
}

impl<'a> Labels<'a> {
    /// Each tag.
    pub fn each_tag(&self) -> impl Iterator<Item = &'a str> {
        self.tags.split(TAG_SEPARATOR).filter(|tag| !tag.is_empty())
    }
}

/// Points of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Whose.
    pub labels: Labels<'a>,
    /// How they are joined.
    pub kind: SeriesKind,
    /// Seconds that a point stands for; 0 for gauges.
    pub interval: i64,
    /// Unix seconds and values.
    pub points: &'a [(i64, f64)],
}

/// A distribution of values in the form of the metrics intake; what its bins are is told in `process/metrics/sketch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    /// How many values.
    pub count: u64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// All together.
    pub sum: f64,
    /// Their mean.
    pub avg: f64,
    /// By ascending key, each key once.
    pub bins: Vec<SketchBin>,
}

/// Values that are close to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SketchBin {
    /// Where.
    pub key: i16,
    /// How many.
    pub count: u32,
}
