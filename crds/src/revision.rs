//! Content hashes: revisions of specs and names of shared objects.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

/// Hash of the canonical JSON of a value: 32 lower-case hex digits.
///
/// Struct fields serialise in declaration order and our maps are `BTreeMap`s, so equal values give
/// equal hashes in every process and release that has the same type.
///
/// # Panics
/// Never for the types of this crate: all of them serialise to JSON.
pub fn hash<T: Serialize>(value: &T) -> String {
    #[expect(
        clippy::unwrap_used,
        reason = "types of this crate have string keys and no failing serialisers"
    )]
    let bytes = serde_json::to_vec(value).unwrap();
    format!("{:032x}", xxh3_128(&bytes))
}

/// First 16 hex digits of [`hash`], for `spec.revision` and object names.
pub fn short_hash<T: Serialize>(value: &T) -> String {
    let mut text = hash(value);
    text.truncate(16);
    text
}
