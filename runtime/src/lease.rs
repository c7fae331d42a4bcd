//! Leader election over a `coordination.k8s.io` Lease.
//!
//! client-go's rule (k8s.io/client-go/tools/leaderelection): a claim is stale when *we* have seen
//! no change of it for the lease duration, by our own monotonic clock. The times written in the
//! Lease are for people and are never compared with ours, so clocks may differ between machines.
//!
//! ```text
//!            nobody holds it, or stale            renewed in time
//!  Follower ───────────────────────────► Leader ◄────────────────┐
//!     ▲ every retry period: read            │ every retry period ─┘
//!     └ someone else renews it              └ renew deadline passed, or another holder seen ─► Lost
//! ```
//!
//! *Guarantee:* with a renew deadline below the lease duration, a leader stops before anyone else
//! may start, as far as its process is scheduled at all. *Caveat:* writes already on the wire are
//! not recalled; they must be idempotent (server-side apply of a full object is).

mod election;
mod hold;

pub use election::{Claim, Election, Step, Timing};
pub use hold::{Error, Settings, hold};
