//! Where the answer to an item is wanted.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The queue that an answer is wanted in: its name, and while the item is in the process that offered it, the
/// queue itself. Only the name is stored and crosses to other processes.
#[derive(Clone)]
pub struct ReplyTo {
    name: Arc<str>,
    queue: Option<Arc<dyn Any + Send + Sync>>,
}

impl ReplyTo {
    /// A queue that is found by its name alone.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        ReplyTo {
            name: name.into(),
            queue: None,
        }
    }

    pub(super) fn to<Q: Send + Sync + 'static>(name: Arc<str>, queue: Q) -> Self {
        ReplyTo {
            name,
            queue: Some(Arc::new(queue)),
        }
    }

    /// The name of the queue.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue itself, if it is one of this process, and of that type.
    pub(super) fn queue<Q: Clone + 'static>(&self) -> Option<Q> {
        self.queue.as_ref()?.downcast_ref::<Q>().cloned()
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyTo({})", self.name)
    }
}
