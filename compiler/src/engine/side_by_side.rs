//! Computing many independent things on all processors, with results in the order of what was asked.

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Most things whose results are in memory at once: results are given out one by one, and may be larger than all facts.
const PORTION: usize = 512;
/// Fewer are done before other threads would be awake.
const FEW: usize = 32;

/// The next things, a [`PORTION`] at most; `None` when there is nothing left.
pub fn portion<T>(all: &mut impl Iterator<Item = T>) -> Option<Vec<T>> {
    let some: Vec<T> = all.take(PORTION).collect();
    (!some.is_empty()).then_some(some)
}

/// Computes each.
pub fn map<T: Send, R: Send>(of: Vec<T>, compute: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    match of.len() < FEW {
        true => of.into_iter().map(compute).collect(),
        false => of.into_par_iter().map(compute).collect(),
    }
}
