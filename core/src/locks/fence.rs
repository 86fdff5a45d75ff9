//! Fencing tokens, and who refuses the old ones.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::boundary::Verdict;

/// The number of a grant: it grows with each grant of its lock, the first is 1.
///
/// Whoever holds a lock sends its token along with what it writes, and the store [checks](Fence) it. Chubby's
/// name for that is a sequencer (Burrows, "The Chubby lock service", OSDI 2006); the zxid of a `ZooKeeper` node
/// serves as one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A token came too late: its lease has ended, or somebody with a newer one was there before. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("token {token} is stale, the newest is {current}")]
pub struct Stale {
    /// The token that was refused.
    pub token: Token,
    /// The newest that the refuser knows of: the last one that a lock granted, the highest that a fence saw.
    /// A lock whose lease ended and was granted to nobody since has no newer one; then both are the same.
    pub current: Token,
}

impl Stale {
    /// What is known about what was refused: it did not run.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::NotExecuted
    }
}

/// Keeps stalled holders away from one resource: it remembers the highest token that it saw, and refuses lower
/// ones (G31).
///
/// A lease alone doesn't protect a resource. Its holder can be stopped for longer than the lease lasts, between
/// looking at the clock and writing: by a page fault, a debugger, a suspended machine, a packet that is late.
/// When it goes on somebody else holds the lock, and only the resource can tell the two apart (Kleppmann, "How
/// to do distributed locking", 2016).
///
/// It is a number, so keep it where the resource is and change it with the resource: a field of the actor that
/// owns it, a column of the row in the same transaction, a value behind the same lock. A fence that forgets (by
/// a restart) lets the next token in, whichever that is.
///
/// It is for what one holder has to itself: a [`Mutex`](super::Mutex), the writer of a
/// [`RwLock`](super::RwLock). Among the holders of a semaphore it would refuse all but the youngest.
///
/// ```
/// use callboard_core::locks::{Fence, Stale, Token};
///
/// struct Shelf { fence: Fence, books: Vec<&'static str> }
/// impl Shelf {
///     fn put(&mut self, token: Token, book: &'static str) -> Result<(), Stale> {
///         self.fence.check(token)?;
///         self.books.push(book);
///         Ok(())
///     }
/// }
///
/// let mut shelf = Shelf { fence: Fence::default(), books: Vec::new() };
/// shelf.put(Token(33), "botany")?;
/// shelf.put(Token(34), "geometry")?;
/// // The holder of 33 wakes up.
/// let late = shelf.put(Token(33), "alchemy").unwrap_err();
/// assert_eq!(late.to_string(), "token 33 is stale, the newest is 34");
/// shelf.put(Token(34), "music")?; // a holder may come as often as it likes
/// # Ok::<(), Stale>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fence {
    highest: Token,
}

impl Fence {
    /// A fence that has seen that token: for a resource that remembers it.
    #[must_use]
    pub fn after(token: Token) -> Self {
        Fence { highest: token }
    }

    /// Lets a token pass unless a higher one was here before.
    ///
    /// # Errors
    /// [`Stale`], and nothing is remembered.
    pub fn check(&mut self, token: Token) -> Result<(), Stale> {
        if token < self.highest {
            return Err(Stale {
                token,
                current: self.highest,
            });
        }
        self.highest = token;
        Ok(())
    }

    /// The highest token that passed; 0 before the first.
    #[must_use]
    pub fn highest(&self) -> Token {
        self.highest
    }
}
