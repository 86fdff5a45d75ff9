//! What was found when a log was looked at.

use std::fmt;
use std::path::PathBuf;

/// What was found in a log when it was opened, checked or repaired. `Display` writes it for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments there are.
    pub segments: u64,
    /// How many of them are in an older format. They go with time, as all segments do.
    pub older_segments: u64,
    /// Live records.
    pub records: u64,
    /// The end that was written but not whole, as a loss of power leaves it.
    pub torn: Option<Torn>,
    /// What was damaged inside, in the order of its place.
    pub damaged: Vec<Damage>,
    /// Numbers of segments that should be there and are not.
    pub missing: Vec<u64>,
}

impl Report {
    /// Whether nothing is damaged and nothing is missing. A torn end is what a loss of power leaves, of what was
    /// never answered as synced: that is fine.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// The end of a log that was written and never known to be synced, and isn't whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: u64,
    /// Where in its file the log ends now.
    pub offset: u64,
    /// How many bytes behind that were cut.
    pub bytes: u64,
    /// Whole records among them: they followed one that is not, so order would not hold with them. If there are
    /// any, the bytes were set aside.
    pub records: u64,
}

/// Bytes inside a log that aren't what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The number of the record it was, where that can still be read.
    pub id: Option<u64>,
    /// How many records of any kind it was, where that is known.
    pub records: Option<u64>,
    /// The file that has the bytes now.
    pub set_aside: Option<PathBuf>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            segment,
            offset,
            bytes,
            ..
        } = self;
        write!(f, "segment {segment}: {bytes} bytes at {offset}")?;
        if let Some(id) = self.id {
            write!(f, ", record {id}")?;
        }
        match self.records {
            Some(0) => f.write_str(", no change lost")?,
            Some(1) => f.write_str(", 1 change lost")?,
            Some(records) => write!(f, ", {records} changes lost")?,
            None => {}
        }
        match &self.set_aside {
            Some(path) => write!(f, ", set aside in {}", path.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records in {} segments", self.records, self.segments)?;
        if self.older_segments > 0 {
            write!(f, ", {} in an older format", self.older_segments)?;
        }
        if let Some(torn) = &self.torn {
            write!(
                f,
                "\ntorn: segment {} ends at {}; {} bytes behind that were never synced",
                torn.segment, torn.offset, torn.bytes
            )?;
            if torn.records > 0 {
                write!(f, ", {} records of them whole", torn.records)?;
            }
        }
        for damage in &self.damaged {
            write!(f, "\ndamaged: {damage}")?;
        }
        for missing in &self.missing {
            write!(f, "\nmissing: segment {missing}")?;
        }
        if self.is_sound() {
            f.write_str("\nsound")?;
        }
        Ok(())
    }
}
