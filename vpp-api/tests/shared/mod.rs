//! Facts about real VPP, which are not part of the repository.

use std::path::PathBuf;

/// Where they are: `CONTIV_SHARED`, or `shared` beside the repository. `None`, said aloud, where they are not.
pub fn shared() -> Option<PathBuf> {
    let place = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    if place.join("vpp").is_dir() {
        return Some(place);
    }
    eprintln!(
        "skipped: no facts about VPP at {} (set CONTIV_SHARED)",
        place.display()
    );
    None
}
