//! Token buckets: from configured rates to tokens, and the colour of a packet (`policer/xlate.c`, `policer/policer.h`).

use super::PolicerConfig;

/// Clocks per second. VPP's is the CPU's time stamp counter; here it is the engine's clock of nanoseconds.
const HZ: f64 = 1e9;

/// A period has 2^17 clocks.
const PERIOD_SHIFT: u32 = 17;

/// Bytes of a packet where rates are in packets.
const PACKET: u64 = 256;

/// What VPP computes from a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// One rate, or two.
    pub single_rate: bool,
    /// Lengths and tokens are shifted left by so much.
    pub scale: u32,
    pub cir_tokens_per_period: u32,
    pub pir_tokens_per_period: u32,
    pub current_limit: u32,
    pub current_bucket: u32,
    pub extended_limit: u32,
    pub extended_bucket: u32,
    /// In periods.
    pub last_update_time: u64,
}

/// What a packet was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Conform,
    Exceed,
    Violate,
}

impl Colour {
    /// Index into what there are three of.
    pub fn index(self) -> usize {
        match self {
            Self::Conform => 0,
            Self::Exceed => 1,
            Self::Violate => 2,
        }
    }
}

/// Rates in kbit/s, bursts in bytes.
struct Kbps {
    cir: u32,
    eir: u32,
    cb: u64,
    eb: u64,
}

fn closest(numerator: u64, denominator: u64) -> u64 {
    numerator.saturating_add(denominator >> 1) / denominator
}

fn kbps(config: &PolicerConfig) -> Option<Kbps> {
    match config.rate_type {
        0 => Some(Kbps {
            cir: config.cir,
            eir: config.eir,
            cb: config.cb,
            eb: config.eb,
        }),
        1 => {
            let rate = |pps: u32| closest(u64::from(pps) * PACKET * 8, 1000) as u32;
            let burst = |ms: u64, kbps: u32| {
                // VPP takes 32 bits of the milliseconds.
                u64::from(closest(u64::from(ms as u32) * u64::from(kbps), 8) as u32)
            };
            let (cir, eir) = (rate(config.cir), rate(config.eir));
            Some(Kbps {
                cir,
                eir,
                cb: burst(config.cb, cir),
                eb: burst(config.eb, eir),
            })
        }
        _ => None,
    }
}

const ONE_RATE_TWO_COLOURS: u8 = 0;
const ONE_RATE_THREE_COLOURS: u8 = 1;
const TWO_RATES: [u8; 2] = [2, 3];

impl Bucket {
    /// Full buckets; `None` where VPP refuses the configuration.
    pub fn of(config: &PolicerConfig) -> Option<Self> {
        let kbps = kbps(config)?;
        let cap = |burst: u64| u32::try_from(burst).unwrap_or(u32::MAX);
        let mut bucket = Self {
            current_limit: cap(kbps.cb),
            extended_limit: cap(kbps.eb),
            ..Self::default()
        };
        if kbps.cir == 0 && kbps.cb == 0 && kbps.eb == 0 {
            // Everything violates.
            bucket.single_rate = true;
            return Some(bucket);
        }
        let bytes = |kbps: u32| f64::from(kbps) * 125.0;
        match config.kind {
            ONE_RATE_TWO_COLOURS | ONE_RATE_THREE_COLOURS => {
                let excess = config.kind == ONE_RATE_TWO_COLOURS && kbps.eb != 0;
                if excess || kbps.cir == 0 || kbps.eir != 0 || (kbps.cb == 0 && kbps.eb == 0) {
                    return None;
                }
                bucket.single_rate = true;
                bucket.fill(bytes(kbps.cir), 0.0);
            }
            kind if TWO_RATES.contains(&kind) => {
                if kbps.cir == 0 || kbps.eir < kbps.cir || kbps.cb == 0 || kbps.eb == 0 {
                    return None;
                }
                bucket.fill(bytes(kbps.cir), bytes(kbps.eir));
            }
            _ => return None,
        }
        bucket.current_bucket = bucket.current_limit;
        bucket.extended_bucket = bucket.extended_limit;
        Some(bucket)
    }

    /// Scales limits and rates as far up as 32 bits allow.
    fn fill(&mut self, cir: f64, pir: f64) {
        let periods = HZ / f64::from(1 << PERIOD_SHIFT);
        let (cir, pir) = (cir / periods, pir / periods);
        let shifted = |rate: f64| (rate as u32).wrapping_shl(10);
        let largest = self
            .current_limit
            .max(self.extended_limit)
            .max(shifted(cir))
            .max(shifted(pir));
        self.scale = largest.max(1).leading_zeros();
        self.current_limit <<= self.scale;
        self.extended_limit <<= self.scale;
        let tokens = |rate: f64| (rate * f64::from(1_u32 << self.scale)).max(1.0) as u32;
        self.cir_tokens_per_period = tokens(cir);
        self.pir_tokens_per_period = tokens(pir);
    }

    /// Takes the tokens for a packet. `now` is in nanoseconds.
    pub fn police(&mut self, length: u32, now: u64) -> Colour {
        let length = length.wrapping_shl(self.scale);
        let time = now >> PERIOD_SHIFT;
        let periods = time.wrapping_sub(self.last_update_time);
        self.last_update_time = time;
        let earned = |bucket: u32, per_period: u32, limit: u32| {
            let tokens = u64::from(bucket).wrapping_add(periods.wrapping_mul(u64::from(per_period)));
            // Fits: at most the limit.
            tokens.min(u64::from(limit)) as u32
        };
        let excess_rate = if self.single_rate {
            self.cir_tokens_per_period
        } else {
            self.pir_tokens_per_period
        };
        let current = earned(
            self.current_bucket,
            self.cir_tokens_per_period,
            self.current_limit,
        );
        let extended = earned(self.extended_bucket, excess_rate, self.extended_limit);
        let colour = match (self.single_rate, current >= length, extended >= length) {
            (true, true, _) | (false, true, true) => Colour::Conform,
            (true, false, true) | (false, false, true) => Colour::Exceed,
            (true, false, false) | (false, _, false) => Colour::Violate,
        };
        let (take_current, take_extended) = match colour {
            Colour::Conform => (length, length),
            Colour::Exceed => (0, length),
            Colour::Violate => (0, 0),
        };
        // Below nothing the extended bucket wraps, and is cut to its limit the next time.
        self.current_bucket = current.wrapping_sub(take_current);
        self.extended_bucket = extended.wrapping_sub(take_extended);
        colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn config(kind: u8, cir: u32, eir: u32, cb: u64, eb: u64) -> PolicerConfig {
        PolicerConfig {
            kind,
            cir,
            eir,
            cb,
            eb,
            ..PolicerConfig::default()
        }
    }

    /// Bytes that conform, exceed and violate when packets of 1000 bytes come at a multiple of the rate for ten seconds.
    fn shares(config: &PolicerConfig, packets_per_second: u64) -> [u64; 3] {
        let mut bucket = Bucket::of(config).unwrap();
        let mut bytes = [0; 3];
        for n in 0..10 * packets_per_second {
            let colour = bucket.police(1000, SECOND + n * SECOND / packets_per_second);
            bytes[colour.index()] += 1000;
        }
        bytes
    }

    #[test]
    fn one_rate_lets_its_rate_and_its_burst_pass() {
        // 1 Mbit/s are 125,000 bytes/s; 250 packets of 1000 bytes come each second.
        let [conform, exceed, violate] = shares(&config(0, 1000, 0, 50_000, 0), 250);
        let expected = 10 * 125_000 + 50_000;
        assert!(conform.abs_diff(expected) < expected / 100, "{conform}");
        assert_eq!(exceed, 0);
        assert_eq!(conform + violate, 2_500_000);
    }

    #[test]
    fn two_rates_colour_what_is_between_them() {
        // RFC 2698: below 1 Mbit/s green, below 2 Mbit/s yellow, the rest red.
        let [conform, exceed, violate] = shares(&config(2, 1000, 2000, 5000, 5000), 500);
        let near = |bytes: u64, expected: u64| bytes.abs_diff(expected) < expected / 50;
        assert!(near(conform, 1_250_000), "{conform}");
        assert!(near(exceed, 1_250_000), "{exceed}");
        assert!(near(violate, 2_500_000), "{violate}");
    }

    #[test]
    fn a_burst_is_spent_and_earned_again() {
        let mut bucket = Bucket::of(&config(0, 8000, 0, 10_000, 0)).unwrap();
        let mut conforming = |now| {
            (0..20)
                .filter(|_| bucket.police(1000, now) == Colour::Conform)
                .count()
        };
        assert_eq!(conforming(SECOND), 10);
        assert_eq!(conforming(SECOND), 0);
        // 8 Mbit/s are a byte a microsecond. Of 5 milliseconds, two may fall to periods that are not over.
        let earned = conforming(SECOND + 5_000_000);
        assert!((4..=5).contains(&earned), "{earned}");
    }

    #[test]
    fn packets_are_256_bytes_and_milliseconds_at_the_rate() {
        // 1000 packets/s: 2048 kbit/s; 100 ms of it: 25,600 bytes.
        let packets = PolicerConfig {
            rate_type: 1,
            ..config(0, 1000, 0, 100, 0)
        };
        let bytes = config(0, 2048, 0, 25_600, 0);
        assert_eq!(Bucket::of(&packets), Bucket::of(&bytes));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for bad in [
            config(0, 1000, 0, 1000, 1),
            config(0, 0, 0, 1000, 0),
            config(0, 1000, 1, 1000, 0),
            config(0, 1000, 0, 0, 0),
            config(2, 1000, 500, 1000, 1000),
            config(3, 1000, 2000, 0, 1000),
            config(4, 1000, 2000, 1000, 1000),
            config(9, 1000, 0, 1000, 0),
            PolicerConfig {
                rate_type: 2,
                ..config(0, 1000, 0, 1000, 0)
            },
        ] {
            assert_eq!(Bucket::of(&bad), None, "{bad:?}");
        }
        // Nothing at all is a policer that everything violates.
        let mut none = Bucket::of(&config(4, 0, 0, 0, 0)).unwrap();
        assert_eq!(none.police(1, SECOND), Colour::Violate);
    }
}
