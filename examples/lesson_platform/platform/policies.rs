//! How often each part is asked again, and at whose cost.

use std::time::Duration;

use callboard::supervision::{RetryPolicy, RetryStats};

use crate::calls::Part;

// ANCHOR: policies
/// One policy for each part, so that one part that is away doesn't use up the others' budget.
#[derive(Debug)]
pub(crate) struct Policies {
    local: RetryPolicy,
    thumbnails: RetryPolicy,
    views: RetryPolicy,
    metadata: RetryPolicy,
}

impl Default for Policies {
    fn default() -> Self {
        // A part that is being restarted is back within a few hundred milliseconds.
        let patient = |part: Part| {
            RetryPolicy::new(part.to_string())
                .attempts(4)
                .base(Duration::from_millis(30))
                .cap(Duration::from_millis(120))
                .attempt_timeout(Duration::from_millis(200))
        };
        Policies {
            local: RetryPolicy::new("same process").attempts(2),
            thumbnails: patient(Part::Thumbnails),
            views: patient(Part::Views),
            metadata: patient(Part::Metadata),
        }
    }
}
// ANCHOR_END: policies

impl Policies {
    pub(crate) fn of(&self, part: Part) -> &RetryPolicy {
        match part {
            Part::Thumbnails => &self.thumbnails,
            Part::Views => &self.views,
            Part::Metadata => &self.metadata,
            Part::Renderer | Part::Search | Part::Enrolment => &self.local,
        }
    }

    pub(crate) fn stats(&self) -> [RetryStats; 4] {
        [&self.local, &self.thumbnails, &self.views, &self.metadata].map(RetryPolicy::stats)
    }
}
