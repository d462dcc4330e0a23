//! What of an event or an answer is to be seen on a span, and the memory that it takes while it waits for that.

use crate::model::tags::Tags;
use std::any::Any;
use std::sync::Arc;

/// Tags that are large, with whatever their memory is counted by, which goes with the last copy.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The tags.
    pub tags: Tags,
    _held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Shown {
    /// These tags, whose memory is `held`.
    pub fn new(tags: Tags, held: impl Any + Send + Sync) -> Shown {
        Shown { tags, _held: Some(Arc::new(held)) }
    }

    /// What they take: their bytes, and three words and an allocation for each of their texts.
    pub fn bytes(tags: &Tags) -> usize {
        tags.pairs().iter().map(|(key, value)| key.len() + value.len() + 96).sum()
    }
}

impl From<Tags> for Shown {
    fn from(tags: Tags) -> Shown {
        Shown { tags, _held: None }
    }
}

impl PartialEq for Shown {
    fn eq(&self, other: &Shown) -> bool {
        self.tags == other.tags
    }
}

impl Eq for Shown {}
