//! Contexts: whose points belong together, that is name, host and tags, in whatever order a client sends the tags.
//!
//! A client sends the tags of a context mostly in one order. So a context is first looked for by the bytes of the line, as they are; only
//! bytes not seen before are made into tags, sorted, and looked for again. Distributions have contexts of their own, as in the Agent,
//! where they are another thing than all else.
//!
//! Memory is bounded: when the number of contexts or their bytes are at the limit, the oldest stay and no new one is made. Bytes of lines
//! may take as much as contexts do; beyond that all of them are forgotten, which costs no point.

use crate::model::metric::Metric;
use crate::model::metric::MetricKind;
use crate::model::metrics_item::ContextSeen;
use crate::model::series::Sketch;
use crate::model::series::TAG_SEPARATOR;
use crate::process::metrics::Settings;
use crate::process::metrics::index::Hasher;
use crate::process::metrics::index::Index;
use crate::process::metrics::slot::Slot;
use crate::process::metrics::tags;

/// One of them, and what has come for it in the open bucket.
#[derive(Debug)]
pub struct Context {
    /// As it is sent.
    pub name: Box<str>,
    /// None for the agent's own.
    pub host: Option<Box<str>>,
    /// Sorted, with [`TAG_SEPARATOR`] between them.
    pub tags: Box<str>,
    /// Of points in the open bucket.
    pub slot: Slot,
    /// How many they are.
    pub points: u64,
    /// Points of earlier buckets.
    pub count: u64,
    /// Unix seconds of the last bucket that had points.
    pub last_seen: i64,
    /// Seconds of uptime at which it left, since wall clocks may be set.
    pub last_uptime: u64,
    is_distribution: bool,
    hash: u32,
}

impl Context {
    fn bytes(&self) -> usize {
        CONTEXT_BYTES + self.name.len() + self.host.as_ref().map_or(0, |host| host.len()) + self.tags.len()
    }
}

/// Of a context without its texts: itself and as much again for the half of a vector that is empty on average, its place in a table, an
/// empty sketch, and what the allocator takes for each of these.
const CONTEXT_BYTES: usize = size_of::<Context>() * 3 / 2 + 16 + size_of::<Sketch>() + 4 * 16;

/// The beginning and tags of a line, as they were.
#[derive(Debug)]
struct RawLine {
    /// Name and tags, one behind the other.
    key: Box<[u8]>,
    name_len: u32,
    is_distribution: bool,
    hash: u32,
    target: Target,
}

/// The same for a line.
const RAW_BYTES: usize = size_of::<RawLine>() * 3 / 2 + 16 + 16;

/// Where points of a line go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this context.
    Context(u32),
    /// Nowhere: the user does not want them.
    Filtered,
    /// Nowhere: there are too many contexts.
    Limited,
}

/// All contexts.
#[derive(Debug)]
pub struct Contexts {
    entries: Vec<Context>,
    by_key: Index,
    lines: Vec<RawLine>,
    by_line: Index,
    hasher: Hasher,
    entry_bytes: usize,
    line_bytes: usize,
}

impl Contexts {
    /// None yet; `seed` is any number that nobody outside knows.
    pub fn new(seed: u64) -> Contexts {
        Contexts {
            entries: Vec::new(),
            by_key: Index::default(),
            lines: Vec::new(),
            by_line: Index::default(),
            hasher: Hasher::new(seed),
            entry_bytes: 0,
            line_bytes: 0,
        }
    }

    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        self.entry_bytes + self.line_bytes
    }

    /// The context of a position.
    #[inline(always)]
    pub fn get(&mut self, at: u32) -> &mut Context {
        &mut self.entries[at as usize]
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Context> {
        self.entries.iter_mut()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where points of `metric` go. `bytes_left` is what new contexts may take.
    #[inline(always)]
    pub fn target(&mut self, metric: &Metric<'_>, settings: &Settings, bytes_left: usize) -> Target {
        let is_distribution = metric.kind == MetricKind::Distribution;
        let hash = self.hasher.hash(u64::from(is_distribution), metric.name);
        let hash = self.hasher.hash(hash, metric.tags) as u32;
        let lines = &self.lines;
        let found = self.by_line.find(hash, |at| {
            let line = &lines[at];
            line.name_len as usize == metric.name.len()
                && line.is_distribution == is_distribution
                && line.key.split_at_checked(metric.name.len()).is_some_and(|key| key == (metric.name, metric.tags))
        });
        match found {
            Some(at) => self.lines[at].target,
            None => self.new_line(metric, hash, settings, bytes_left),
        }
    }

    #[inline(never)]
    fn new_line(&mut self, metric: &Metric<'_>, hash: u32, settings: &Settings, bytes_left: usize) -> Target {
        let target = self.resolve(metric, settings, bytes_left);
        let bytes = RAW_BYTES + metric.name.len() + metric.tags.len();
        // A line that is dropped for want of room is not remembered: there are many of these, and each hardly comes twice.
        if target == Target::Limited || bytes_left < bytes {
            return target;
        }
        if settings.bytes_max / 4 < self.line_bytes + bytes {
            self.forget_lines();
        }
        self.line_bytes += bytes;
        self.by_line.insert(hash, self.lines.len());
        self.lines.push(RawLine {
            key: [metric.name, metric.tags].concat().into(),
            name_len: metric.name.len() as u32,
            is_distribution: metric.kind == MetricKind::Distribution,
            hash,
            target,
        });
        target
    }

    fn forget_lines(&mut self) {
        (self.lines, self.line_bytes) = (Vec::new(), 0);
        self.by_line.clear();
    }

    fn resolve(&mut self, metric: &Metric<'_>, settings: &Settings, bytes_left: usize) -> Target {
        let name = String::from_utf8_lossy(metric.name);
        let mapped = settings.mapper.map(&name);
        let (name, more) = match &mapped {
            Some(mapped) => (mapped.name.as_str(), &mapped.tags[..]),
            None => (&*name, &[][..]),
        };
        let is_exempt = settings.namespace_blocklist.iter().any(|prefix| name.starts_with(prefix));
        let name = if is_exempt { name.to_owned() } else { format!("{}{name}", settings.namespace) };
        let is_listed = |listed: &String| match settings.blocklist_match_prefix {
            true => name.starts_with(listed),
            false => name == *listed,
        };
        if settings.blocklist.iter().any(is_listed) {
            return Target::Filtered;
        }
        let cleaned = tags::clean(metric.tags, more, &settings.global_tags);
        let host = cleaned.host.filter(|host| settings.host_tag && *host != settings.hostname);
        let is_distribution = metric.kind == MetricKind::Distribution;
        let hash = [name.as_bytes(), host.as_deref().unwrap_or("\n").as_bytes(), cleaned.joined.as_bytes()]
            .iter()
            .fold(u64::from(is_distribution), |hash, text| self.hasher.hash(hash, text)) as u32;
        let found = self.by_key.find(hash, |at| {
            let known = &self.entries[at];
            (&*known.name, known.host.as_deref(), &*known.tags, known.is_distribution)
                == (&name, host.as_deref(), &cleaned.joined, is_distribution)
        });
        if let Some(at) = found {
            return Target::Context(at as u32);
        }
        let context = Context {
            name: name.into(),
            host: host.map(String::into_boxed_str),
            tags: cleaned.joined.into(),
            slot: Slot::Empty,
            points: 0,
            count: 0,
            last_seen: 0,
            last_uptime: 0,
            is_distribution,
            hash,
        };
        let is_too_many = settings.contexts_max != 0 && settings.contexts_max <= self.entries.len();
        if is_too_many || bytes_left < context.bytes() {
            return Target::Limited;
        }
        let at = self.entries.len();
        self.entry_bytes += context.bytes();
        self.by_key.insert(hash, at);
        self.entries.push(context);
        Target::Context(at as u32)
    }

    /// Forgets contexts of which no points have left since `since`, seconds of uptime. Positions change.
    pub fn expire(&mut self, since: u64) {
        let is_live = |context: &Context| since <= context.last_uptime;
        if self.entries.iter().all(is_live) {
            return;
        }
        let mut live = 0;
        let moved: Vec<Option<u32>> = self
            .entries
            .iter()
            .map(|context| {
                let at = is_live(context).then_some(live);
                live += u32::from(at.is_some());
                at
            })
            .collect();
        self.entries.retain(is_live);
        self.entries.shrink_to_fit();
        self.by_key.clear();
        self.entry_bytes = 0;
        for (at, context) in self.entries.iter().enumerate() {
            self.by_key.insert(context.hash, at);
            self.entry_bytes += context.bytes();
        }
        self.lines.retain_mut(|line| match line.target {
            Target::Context(at) => match moved.get(at as usize).copied().flatten() {
                Some(at) => {
                    line.target = Target::Context(at);
                    true
                }
                None => false,
            },
            // Nobody counts these, so they go now and then and are made again.
            Target::Filtered | Target::Limited => false,
        });
        self.lines.shrink_to_fit();
        self.by_line.clear();
        self.line_bytes = 0;
        for (at, line) in self.lines.iter().enumerate() {
            self.by_line.insert(line.hash, at);
            self.line_bytes += RAW_BYTES + line.key.len();
        }
    }

    /// All contexts as people are shown them. `now` is the start of the open bucket.
    pub fn seen(&self, now: i64) -> Vec<ContextSeen> {
        let shown = |context: &Context| ContextSeen {
            name: context.name.clone().into(),
            tags: context.tags.replace(TAG_SEPARATOR, ","),
            count: context.count + context.points,
            last_seen: if 0 < context.points { now } else { context.last_seen },
        };
        self.entries.iter().map(shown).collect()
    }
}
