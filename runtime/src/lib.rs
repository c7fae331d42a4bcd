//! What both long-running binaries need and nothing about networking: [`telemetry`], [`admin`]
//! endpoints, [`shutdown`], the API server's [`client`], leader election by [`lease`].
//!
//! ```text
//! telemetry::init ─► Admin::bind ─► Tasks::spawn(..) ─► Tasks::run ─► exit
//!                       │ gates           │ one CancellationToken
//!                       └─ /readyz        └─ a task that ends early ends the process
//! ```

pub mod admin;
pub mod client;
pub mod heartbeat;
pub mod lease;
pub mod shutdown;
pub mod telemetry;

pub use admin::{Admin, Gate, Readiness};
pub use shutdown::Tasks;
