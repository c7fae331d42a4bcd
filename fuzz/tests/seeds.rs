//! Every target over its seeds: what `make fuzz` starts from passes, and the targets compile and run without libFuzzer.

use fuzz::seeds::{TARGETS, seeds};

#[test]
fn every_target_passes_its_seeds() {
    for (_, run) in TARGETS {
        for seed in seeds(200) {
            run(&seed);
        }
    }
}

#[test]
fn seeds_are_always_the_same() {
    assert!(seeds(20).eq(seeds(20)));
}
