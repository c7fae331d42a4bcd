//! The CNI server: a unix socket, and what requests mean.
//!
//! [`serve`] turns connections into [`CniCall`]s for the agent; [`request`] checks what they ask
//! for; [`answer`] builds results and decides on repeated ADDs; [`replay`] carries out what was deleted
//! while no daemon answered. The agent alone acts on them.

pub mod answer;
mod missed;
pub mod request;
mod server;

pub use answer::{Admission, Made, admit, result};
pub use missed::replay;
pub use request::{Add, Call, Check, Del, PodName};
pub use server::{ServeError, bind, serve};

use tokio::sync::oneshot;

/// A request that waits for its answer.
#[derive(Debug)]
pub struct CniCall {
    /// What the runtime asks for.
    pub request: cni_shim::Request,
    /// Where the answer goes. Closed as soon as nobody waits for it any more: what was begun for an
    /// ADD must then be undone.
    pub reply: oneshot::Sender<cni_shim::Response>,
}
