//! A stand-in of a policy until the engine is there.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::policy::settings::{BadSetting, CallSettings};

/// A stand-in.
#[derive(Clone)]
pub struct CallPolicy {
    name: Arc<str>,
    settings: Arc<Mutex<CallSettings>>,
}

impl CallPolicy {
    /// A stand-in.
    ///
    /// # Errors
    /// As later.
    pub fn new(name: impl Into<Arc<str>>, settings: CallSettings) -> Result<Self, BadSetting> {
        settings.check()?;
        Ok(CallPolicy {
            name: name.into(),
            settings: Arc::new(Mutex::new(settings)),
        })
    }

    /// A stand-in.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A stand-in.
    #[must_use]
    pub fn settings(&self) -> CallSettings {
        self.settings.lock().clone()
    }

    /// A stand-in.
    ///
    /// # Errors
    /// As later.
    pub fn change(&self, settings: CallSettings) -> Result<(), BadSetting> {
        settings.check()?;
        *self.settings.lock() = settings;
        Ok(())
    }
}

impl fmt::Debug for CallPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPolicy").finish_non_exhaustive()
    }
}
