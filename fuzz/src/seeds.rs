//! What fuzzing starts from: inputs of every length in which every choice is made somewhere.

/// What is done with one input.
pub type Target = fn(&[u8]);

/// The targets by name.
pub const TARGETS: [(&str, Target); 4] = [
    ("decoder", crate::decoder::run),
    ("server", crate::server::run),
    ("engine", crate::engine::run),
    ("stats", crate::stats::run),
];

/// Seeds of one target; always the same.
pub fn seeds(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // xorshift64* (Vigna).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..count).map(move |n| {
        let length = 16 << (n % 8);
        let bytes = (0..length).map(|_| (next() >> 56) as u8).collect::<Vec<u8>>();
        // Runs of one value choose the ends of ranges.
        if n % 4 == 3 {
            bytes
                .iter()
                .map(|byte| if byte & 0x80 == 0 { 0 } else { *byte })
                .collect()
        } else {
            bytes
        }
    })
}
