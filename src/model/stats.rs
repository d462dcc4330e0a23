//! Statistics of spans: how often, how long and with how many errors, by what they are. Computed by the agent or sent by a tracer.
//!
//! A body for the intake holds the statistics of several clients, a client's those of several buckets of time, and a bucket one
//! [`GroupedStats`] for each set of attributes that its spans had. That is the record which the ledger counts.

/// The statistics of one client: of one tracer, or of all spans that came from one environment, version and language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Host, if the tracer said so.
    pub hostname: String,
    /// Deployment environment.
    pub env: String,
    /// Version of the application.
    pub version: String,
    /// `python`, `go`, ...
    pub language: String,
    /// Of the tracing library.
    pub tracer_version: String,
    /// Of the process.
    pub runtime_id: String,
    /// Number of the tracer's message.
    pub sequence: u64,
    /// How an agent on the way has put it together.
    pub agent_aggregation: String,
    /// The client's main service.
    pub service: String,
    /// Where it runs.
    pub container_id: String,
    /// Tags of the container.
    pub tags: Vec<String>,
    /// Commit that the application was built from.
    pub git_commit_sha: String,
    /// Tag of the container's image.
    pub image_tag: String,
    /// Hash of `process_tags`; 0 for none.
    pub process_tags_hash: u64,
    /// Tags of the process, `key:value` joined by commas.
    pub process_tags: String,
    /// The statistics.
    pub buckets: Vec<StatsBucket>,
    /// The tracer has hidden in resources what must not leave.
    pub is_obfuscated: bool,
}

impl ClientStats {
    /// How many records it holds.
    pub fn groups(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.groups.len() as u64).sum()
    }

    /// The memory it takes, for the budget that bounds what waits; a few short texts aside.
    pub fn memory_bytes(&self) -> usize {
        let buckets = self.buckets.capacity() * size_of::<StatsBucket>();
        let groups = self.buckets.iter().map(|bucket| {
            let texts = bucket.groups.iter().map(GroupedStats::text_bytes).sum::<usize>();
            bucket.groups.capacity() * size_of::<GroupedStats>() + texts
        });
        size_of::<ClientStats>() + list_bytes(&self.tags) + buckets + groups.sum::<usize>()
    }
}

fn list_bytes(texts: &Vec<String>) -> usize {
    texts.capacity() * size_of::<String>() + texts.iter().map(String::capacity).sum::<usize>()
}

/// The statistics of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsBucket {
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    /// By how much an agent has moved it, in nanoseconds.
    pub agent_time_shift: i64,
    /// One a set of attributes.
    pub groups: Vec<GroupedStats>,
}

/// The statistics of spans that have their attributes in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupedStats {
    /// Who did it.
    pub service: String,
    /// What kind of operation.
    pub name: String,
    /// On what.
    pub resource: String,
    /// 0 for none.
    pub http_status: u32,
    /// `web`, `sql`, ...
    pub kind: String,
    /// Tracers of old sent it.
    pub db_kind: String,
    /// How many spans.
    pub hits: u64,
    /// How many of them failed.
    pub errors: u64,
    /// The sum of their durations in nanoseconds.
    pub duration: u64,
    /// Durations of those that did not fail.
    pub ok: Summary,
    /// Durations of those that failed.
    pub error: Summary,
    /// A test of the outside has caused them.
    pub is_synthetics: bool,
    /// How many of them were top-level.
    pub top_level_hits: u64,
    /// `server`, `client`, ...
    pub span_kind: String,
    /// What they talked to, `key:value`.
    pub peer_tags: Vec<String>,
    /// Whether they began their traces: 0 unknown, 1 yes, 2 no.
    pub is_trace_root: u32,
    /// A number, or "".
    pub grpc_status: String,
    /// `GET`, ...
    pub http_method: String,
    /// The route.
    pub http_endpoint: String,
    /// What has set the service.
    pub service_source: String,
    /// Tags of spans that a tracer has been told to group by.
    pub primary_tags: Vec<String>,
    /// The same for metrics.
    pub metric_tags: Vec<String>,
}

impl GroupedStats {
    fn text_bytes(&self) -> usize {
        let GroupedStats { service, name, resource, kind, db_kind, span_kind, grpc_status, .. } = self;
        let GroupedStats { http_method, http_endpoint, service_source, .. } = self;
        let texts =
            [service, name, resource, kind, db_kind, span_kind, grpc_status, http_method, http_endpoint, service_source];
        let lists = [&self.peer_tags, &self.primary_tags, &self.metric_tags];
        let summary_bytes = |summary: &Summary| match summary {
            Summary::Sketch(sketch) => sketch.bins.capacity() * size_of::<Bin>(),
            Summary::Encoded(bytes) => bytes.capacity(),
        };
        texts.iter().map(|text| text.capacity()).sum::<usize>()
            + lists.iter().map(|list| list_bytes(list)).sum::<usize>()
            + summary_bytes(&self.ok)
            + summary_bytes(&self.error)
    }
}

/// The distribution of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Summary {
    /// Counted here.
    Sketch(Sketch),
    /// A protobuf message, passed on as a tracer made it.
    Encoded(Vec<u8>),
}

impl Default for Summary {
    fn default() -> Self {
        Summary::Sketch(Sketch::default())
    }
}

/// Counts of values, by the logarithm of the value. `process/sketch` has the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// In the order of their keys, each key once.
    pub bins: Vec<Bin>,
    /// How many values were 0.
    pub zeros: u32,
}

impl Sketch {
    /// The base of the logarithm.
    pub const GAMMA: f64 = 1.015_625;

    /// Added to the logarithm.
    pub const INDEX_OFFSET: f64 = 1338.5;
}

/// How many values had logarithms that round to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// The key.
    pub key: i16,
    /// How many.
    pub count: u32,
}
