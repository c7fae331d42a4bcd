//! Container images made without a container engine: files in, one archive out that `ctr images import`, `docker load`
//! and `podman load` take.
//!
//! ```text
//! Layer (files) ─► tar ┐
//! Config (command, labels) ├─► manifest ─► Image::archive ─► OCI image layout in a tar
//! ```
//!
//! Equal input gives equal bytes: entries are sorted, times are zero, owners are root. [`libraries`] finds what a
//! dynamically linked program needs beside itself.

mod archive;
mod layer;
pub mod libraries;

pub use archive::{Config, Image, ReferenceError};
pub use layer::{Layer, LayerError};
