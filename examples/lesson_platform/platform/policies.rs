//! How often each part is asked again, and at whose cost.

use std::time::Duration;

use callboard::supervision::{CallPolicy, CallSettings, PolicyStats, RetrySettings};

use crate::calls::Part;

// ANCHOR: policies
/// One policy for each part, so that one part that is away doesn't use up the others' budget.
#[derive(Debug)]
pub(crate) struct Policies {
    local: CallPolicy,
    thumbnails: CallPolicy,
    views: CallPolicy,
    metadata: CallPolicy,
}

impl Default for Policies {
    fn default() -> Self {
        // A part that is being restarted is back within a few hundred milliseconds.
        let patient = |part: Part| {
            let mut settings = CallSettings {
                retry: Some(RetrySettings {
                    attempts: 4,
                    base: Duration::from_millis(30),
                    cap: Duration::from_millis(120),
                    ..RetrySettings::default()
                }),
                ..CallSettings::default()
            };
            settings.attempt.limit = Some(Duration::from_millis(200));
            CallPolicy::new(part.to_string(), settings)
                .unwrap_or_else(|_| CallPolicy::with_defaults(part.to_string()))
        };
        Policies {
            local: CallPolicy::with_defaults("same process"),
            thumbnails: patient(Part::Thumbnails),
            views: patient(Part::Views),
            metadata: patient(Part::Metadata),
        }
    }
}
// ANCHOR_END: policies

impl Policies {
    pub(crate) fn of(&self, part: Part) -> &CallPolicy {
        match part {
            Part::Thumbnails => &self.thumbnails,
            Part::Views => &self.views,
            Part::Metadata => &self.metadata,
            Part::Renderer | Part::Search | Part::Enrolment => &self.local,
        }
    }

    pub(crate) fn stats(&self) -> [PolicyStats; 4] {
        [&self.local, &self.thumbnails, &self.views, &self.metadata].map(CallPolicy::stats)
    }
}
