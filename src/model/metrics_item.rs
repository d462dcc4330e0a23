//! What the metrics pipeline takes: datagrams as they came, many in one parcel, so that a point's share of the way between threads is
//! small and parsing is not done by the thread that has to empty the socket.

use crate::model::host::Gauge;
use crate::model::invocation::Point;
use std::fmt;

/// Datagrams one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Datagrams {
    /// None, with room for `bytes` of them.
    pub fn with_capacity(bytes: usize) -> Datagrams {
        Datagrams { bytes: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    /// Adds a copy of one; an empty one is none.
    pub fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.end_one();
    }

    /// For a source that receives in place: the buffer, to whose end it appends the bytes of one datagram before [`Self::end_one`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended since the last call is one datagram.
    pub fn end_one(&mut self) {
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        if self.ends.last().copied().unwrap_or(0) < end {
            self.ends.push(end);
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start as usize..*end as usize])
    }

    /// Takes them out; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Memory that it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<u32>() * self.ends.capacity()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

/// A context as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSeen {
    /// Name of the metric as it is sent on.
    pub name: String,
    /// All tags, sorted, with commas between them.
    pub tags: String,
    /// Points since the context is known.
    pub count: u64,
    /// Unix seconds of the ten seconds in which the last one came.
    pub last_seen: i64,
}

/// Takes the contexts that are known, in the pipeline's thread: it should hand them on and return.
pub type TakeContexts = Box<dyn FnOnce(Vec<ContextSeen>) + Send>;

/// One parcel's content.
pub enum MetricsItem {
    /// Datagrams of DogStatsD. The parcel's claim, of signal metrics, stands for one record a datagram; the pipeline puts what is really
    /// in them in its place.
    Datagrams(Datagrams),
    /// Points that the agent made of invocations. The parcel's claim is for them.
    Points(Vec<Point>),
    /// Points of the machine, and their time in Unix seconds. The parcel's claim is for them.
    Gauges(Vec<Gauge>, i64),
    /// Tags of the function have become known: those for all that comes by DogStatsD, and those for points of the agent's. The parcel's
    /// claim is for no record.
    Tags(Vec<String>, Vec<String>),
    /// Somebody asks which contexts there are. The parcel's claim is for no record.
    Contexts(TakeContexts),
}

impl fmt::Debug for MetricsItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsItem::Datagrams(datagrams) => write!(f, "Datagrams({} of {} bytes)", datagrams.len(), datagrams.bytes_len()),
            MetricsItem::Points(points) => write!(f, "Points({points:?})"),
            MetricsItem::Gauges(gauges, _) => write!(f, "Gauges({})", gauges.len()),
            MetricsItem::Tags(..) => write!(f, "Tags"),
            MetricsItem::Contexts(_) => write!(f, "Contexts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_but_for_empty_ones() {
        let mut datagrams = Datagrams::with_capacity(8);
        assert!(datagrams.is_empty());
        datagrams.push(b"a:1|c");
        datagrams.push(b"");
        datagrams.buffer().extend_from_slice(b"b:2|g\n");
        datagrams.end_one();
        assert_eq!(datagrams.iter().collect::<Vec<_>>(), [&b"a:1|c"[..], b"b:2|g\n"]);
        assert_eq!((datagrams.len(), datagrams.bytes_len()), (2, 11));
    }
}
