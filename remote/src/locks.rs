//! Locks in other processes, behind the handles of local ones (G31).
//!
//! A node [exposes](Node::expose_mutex) a lock by name; a peer [opens](Peer::mutex) it and has a
//! [`Mutex`], [`Semaphore`] or [`RwLock`] that is used as one of its own process is, fencing tokens included.
//!
//! # Leases across a boundary
//! - A lease runs by time alone: neither a broken connection nor the end of a session, nor that of the node that
//!   exposes the lock, gives it to the next before it is over. The fewer doubts there are the longer others wait for
//!   a holder that died: choose the lease, and [renew](callboard::locks::Guard::keep_alive).
//! - The holder counts from before its wish was sent, plus the wait that was measured over there. So it never takes
//!   itself to hold the lock for longer than the other side does, given that both clocks run at one rate.
//! - A renewal or a release that a resumed session delivers late is refused as stale, if the lease is over by then.
//! - Who gives up waiting gives up the place in line; what was granted meanwhile is released.
//! - Only who was granted a lease can renew or release it: the handle, and the principal that it asks as.
//! - A lock that was started again is another. When a handle is granted the new one, it tells the guards of the one
//!   before that they are [`Stopped`](callboard::locks::Lost::Stopped), and they can't touch what was granted since.
//!
//! [`stop`](Mutex::stop) of a handle ends it for this handle alone. The loss of a lease by the end of the lock is
//! noticed when it is renewed, or by time.

mod door;
mod route;
mod wire;

use std::sync::Arc;

use callboard::locks::{Leases, Mutex, RwLock, Semaphore};
use callboard::{Failure, FailureKind, Recipient, Verdict};

use crate::entrance::{Entrance, REACH};
use crate::error::NameError;
use crate::node::Node;
use crate::peer::Peer;

use door::Door;
use route::RemoteLeases;
pub(crate) use wire::WireState;
use wire::{Kind, LockAnswer, LockOp};

impl Node {
    /// Lets peers acquire a mutex under a name; see [`Peer::mutex`]. Locks share their names with actors.
    ///
    /// # Errors
    /// [`NameError`]: the name is malformed, or has a lock already.
    pub fn expose_mutex(&self, name: &str, mutex: &Mutex) -> Result<(), NameError> {
        self.expose_lock(name, Kind::Mutex, mutex.leases())
    }

    /// Lets peers acquire permits of a semaphore under a name; see [`Peer::semaphore`].
    ///
    /// # Errors
    /// As [`expose_mutex`](Node::expose_mutex).
    pub fn expose_semaphore(&self, name: &str, semaphore: &Semaphore) -> Result<(), NameError> {
        self.expose_lock(name, Kind::Semaphore, semaphore.leases())
    }

    /// Lets peers acquire a read-write lock under a name; see [`Peer::rw_lock`].
    ///
    /// # Errors
    /// As [`expose_mutex`](Node::expose_mutex).
    pub fn expose_rw_lock(&self, name: &str, lock: &RwLock) -> Result<(), NameError> {
        self.expose_lock(name, Kind::RwLock, lock.leases())
    }

    fn expose_lock(
        &self,
        name: &str,
        kind: Kind,
        leases: &Arc<dyn Leases>,
    ) -> Result<(), NameError> {
        let door = Arc::new(Door::new(kind, leases));
        let core = self.core();
        let _changing = core.exposed.changing();
        core.expose(name, &Recipient::<LockOp>::new(Entrance::new(&door)))?;
        core.exposed.things.add(name, door);
        Ok(())
    }
}

impl Peer {
    /// Opens the mutex that is exposed under that name, within 5 s. It stays valid over reconnects.
    ///
    /// # Errors
    /// [`OpenLockError`]: the name is malformed; nothing of that name is there (`UnknownName`), or it is no mutex
    /// (`UnknownType`); it can't be reached.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn mutex(&self, name: &str) -> Result<Mutex, OpenLockError> {
        Ok(Mutex::over(self.lock(name, Kind::Mutex).await?))
    }

    /// Opens a semaphore, as [`mutex`](Peer::mutex) does a mutex.
    ///
    /// # Errors
    /// As [`mutex`](Peer::mutex).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn semaphore(&self, name: &str) -> Result<Semaphore, OpenLockError> {
        Ok(Semaphore::over(self.lock(name, Kind::Semaphore).await?))
    }

    /// Opens a read-write lock, as [`mutex`](Peer::mutex) does a mutex.
    ///
    /// # Errors
    /// As [`mutex`](Peer::mutex).
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn rw_lock(&self, name: &str) -> Result<RwLock, OpenLockError> {
        Ok(RwLock::over(self.lock(name, Kind::RwLock).await?))
    }

    async fn lock(&self, name: &str, wanted: Kind) -> Result<Arc<dyn Leases>, OpenLockError> {
        let way = self.recipient::<LockOp>(name)?;
        let asked = way.ask(LockOp::Open).deadline(REACH).await;
        let refuse = |kind, verdict, detail: String| {
            OpenLockError::Failed(Failure::new(kind, verdict).with_detail(detail))
        };
        match asked.map_err(Failure::from)? {
            Ok(LockAnswer::Opened { kind, units }) if kind == wanted => {
                Ok(Arc::new(RemoteLeases::new(way, name.into(), units)))
            }
            Ok(LockAnswer::Opened { kind, .. }) => Err(refuse(
                FailureKind::UnknownType,
                Verdict::NotExecuted,
                format!("{name} is a {}, no {}", kind.text(), wanted.text()),
            )),
            Ok(_) => Err(refuse(
                FailureKind::BadPayload,
                Verdict::Executed,
                name.to_owned(),
            )),
            Err(failure) => Err(failure.about(name).into()),
        }
    }
}

/// Why a lock in another process can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLockError {
    /// Nothing can have that name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It can't be reached, isn't there, or is something else.
    #[error(transparent)]
    Failed(#[from] Failure),
}
