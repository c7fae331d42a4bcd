//! Maglev tables (Eisenbud et al., NSDI 2016) with VPP's size and hash.
use std::net::IpAddr;

use super::CnatEndpoint;
use crate::engine::packet::hash::mix_finalize;

/// `CNAT_DEFAULT_MAGLEV_LEN`, a prime.
pub(super) const LENGTH: u32 = 1009;

struct Permutation {
    offset: u32,
    skip: u32,
    backend: u32,
}

fn permutation(index: u32, backend: &CnatEndpoint) -> Permutation {
    let (h1, h2) = match backend.address {
        IpAddr::V4(a) => {
            // VPP hashes the address as it lies in memory.
            let (_, b, c) = mix_finalize(u32::from_le_bytes(a.octets()), u32::from(backend.port), 0);
            (c, b)
        }
        IpAddr::V6(a) => {
            let mut bytes = a.octets().to_vec();
            bytes.extend(backend.port.to_le_bytes());
            let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
            (hash as u32, (hash >> 32) as u32)
        }
    };
    Permutation {
        offset: h1 % LENGTH,
        skip: h2 % (LENGTH - 1) + 1,
        backend: index,
    }
}

/// Which backend each of the [`LENGTH`] buckets belongs to; empty without backends.
pub(super) fn table(backends: &[CnatEndpoint]) -> Vec<u32> {
    if backends.is_empty() {
        return Vec::new();
    }
    let mut permutations: Vec<Permutation> = (0..)
        .zip(backends)
        .map(|(index, backend)| permutation(index, backend))
        .collect();
    // The order in which backends claim buckets must not depend on the order they were given in.
    permutations.sort_by_key(|p| std::cmp::Reverse((p.offset, p.skip)));
    let mut buckets: Vec<Option<u32>> = vec![None; LENGTH as usize];
    let mut next = vec![0u32; permutations.len()];
    let mut left = LENGTH;
    'fill: loop {
        for (p, next) in permutations.iter().zip(&mut next) {
            let bucket = loop {
                let at = (u64::from(p.offset) + u64::from(*next) * u64::from(p.skip)) % u64::from(LENGTH);
                *next += 1;
                if buckets[at as usize].is_none() {
                    break at as usize;
                }
            };
            buckets[bucket] = Some(p.backend);
            left -= 1;
            if left == 0 {
                break 'fill;
            }
        }
    }
    buckets.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(n: u8) -> Vec<CnatEndpoint> {
        (0..n)
            .map(|i| CnatEndpoint::new([10, 1, 1, i + 2], 8080))
            .collect()
    }

    #[test]
    fn buckets_are_shared_almost_equally() {
        let table = table(&backends(5));
        assert_eq!(table.len(), LENGTH as usize);
        for backend in 0..5 {
            let share = table.iter().filter(|b| **b == backend).count();
            assert!((201..=202).contains(&share), "{share}");
        }
    }

    #[test]
    fn removing_one_backend_moves_few_other_buckets() {
        let all = backends(10);
        let before = table(&all);
        let after = table(&all[..9]);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| **b != 9 && b != a)
            .count();
        // Maglev's disruption beside the removed backend's own share is a few percent.
        assert!(moved < 1009 / 5, "{moved}");
    }
}
