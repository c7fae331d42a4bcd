//! Route sources and their priorities (`vnet/fib/fib_source.h`): lower is better.

pub const SPECIAL: u8 = 1;
pub const INTERFACE: u8 = 4;
pub const SR: u8 = 5;
pub const API: u8 = 8;
pub const ADJACENCY: u8 = 15;
pub const RECURSIVE_RESOLUTION: u8 = 18;
pub const DEFAULT_ROUTE: u8 = 20;
/// cnat registers its source at start; the number is not stable in VPP either.
pub const CNAT: u8 = 25;
/// nat44-ed's, for the addresses VPP answers for.
pub const NAT_LOW: u8 = 26;

/// First number given to a source made by `fib_source_add`, as seen on real VPP.
const FIRST_DYNAMIC: u8 = 35;

/// (id, name, priority class) of the fixed sources.
const FIXED: [(u8, &str, u8); 24] = [
    (1, "special", 0x00),
    (2, "classify", 0x01),
    (3, "proxy", 0x02),
    (4, "interface", 0x03),
    (5, "SR", 0x10),
    (6, "BIER", 0x20),
    (7, "6RD", 0x30),
    (8, "API", 0x80),
    (9, "CLI", 0x81),
    (10, "LISP", 0x90),
    (11, "MAP", 0xa0),
    (12, "DHCP", 0xb0),
    (13, "IPv6-proxy-nd", 0xc0),
    (14, "IPv6-nd", 0xc1),
    (15, "adjacency", 0xd0),
    (16, "mpls", 0xe0),
    (17, "attached_export", 0xf0),
    (18, "recursive-resolution", 0xfb),
    (19, "urpf-exempt", 0xfc),
    (20, "default-route", 0xfd),
    (21, "interpose", 0xfe),
    // The class below "interface": a virtual address beats a connected one.
    (CNAT, "cnat", 0x02),
    (NAT_LOW, "nat-low", 0xd0),
    (27, "nat-hi", 0x10),
];

/// One registered source, as `fib_source_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDetails {
    pub id: u8,
    pub name: String,
    pub priority: u8,
}

/// The registry: the fixed sources and those added through the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    dynamic: Vec<SourceDetails>,
}

impl Sources {
    /// Sort key: class, then order of registration.
    pub fn priority(&self, id: u8) -> (u8, u8) {
        let class = FIXED
            .iter()
            .find(|(fixed, ..)| *fixed == id)
            .map(|(.., class)| *class)
            .or_else(|| {
                let found = self.dynamic.iter().find(|s| s.id == id)?;
                Some(found.priority)
            });
        // VPP takes unknown numbers without a check; their registration is all zero.
        (class.unwrap_or(0), id)
    }

    /// Makes a new source at each call, also for a name that exists.
    pub fn add(&mut self, name: &str, priority: u8) -> u8 {
        let id = FIRST_DYNAMIC.saturating_add(u8::try_from(self.dynamic.len()).unwrap_or(u8::MAX));
        self.dynamic.push(SourceDetails {
            id,
            name: name.to_owned(),
            priority,
        });
        id
    }

    pub fn list(&self) -> Vec<SourceDetails> {
        FIXED
            .iter()
            .map(|(id, name, priority)| SourceDetails {
                id: *id,
                name: (*name).to_owned(),
                priority: *priority,
            })
            .chain(self.dynamic.iter().cloned())
            .collect()
    }
}
