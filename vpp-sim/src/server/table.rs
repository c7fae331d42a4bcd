//! Which id a message has on this server.
//!
//! Ids 1…28 are constant. All others depend, in VPP, on the order in which plugins were loaded; here on the seed, so
//! that a client that remembers ids across connections fails its tests.

use std::collections::BTreeMap;

use vpp_api::messages::memclnt::MessageTableEntry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The messages of `vlibmemory/memclnt.api` in file order: the id is the position, counted from 1.
const FIXED: [&str; 28] = [
    "memclnt_create_9c5e1c2f",
    "memclnt_create_reply_42ec4560",
    "memclnt_delete_7e1c04e3",
    "memclnt_delete_reply_3d3b6312",
    "rx_thread_exit_c3a3a452",
    "memclnt_rx_thread_suspend_c3a3a452",
    "memclnt_read_timeout_c3a3a452",
    "rpc_call_7e8a2c95",
    "rpc_call_reply_e8d4e804",
    "get_first_msg_id_ebf79a66",
    "get_first_msg_id_reply_7d337472",
    "api_versions_51077d14",
    "api_versions_reply_5f0d99d6",
    "trace_plugin_msg_ids_f476d3ce",
    "sockclnt_create_455fb9c4",
    "sockclnt_create_reply_35166268",
    "sockclnt_delete_8ac76db6",
    "sockclnt_delete_reply_8f38b1ee",
    "sock_init_shm_51646d92",
    "sock_init_shm_reply_e8d4e804",
    "memclnt_keepalive_51077d14",
    "memclnt_keepalive_reply_e8d4e804",
    "control_ping_51077d14",
    "control_ping_reply_f6b0b8ca",
    "memclnt_create_v2_c4bd4882",
    "memclnt_create_v2_reply_42ec4560",
    "get_api_json_51077d14",
    "get_api_json_reply_ea715b59",
];

/// First id that is not constant.
const FIRST: u16 = 29;

/// Ids by `<name>_<crc>`.
#[derive(Debug)]
pub struct Ids {
    by_name: BTreeMap<&'static str, u16>,
    seed: u64,
}

impl Ids {
    /// Gives ids to the messages of each module: modules in an order that depends on the seed, messages in file order.
    pub fn new(modules: &[(&'static str, Vec<&'static str>)], seed: u64) -> Self {
        let mut by_name: BTreeMap<_, _> = FIXED.into_iter().zip(1..).collect();
        let mut order: Vec<_> = modules.iter().collect();
        order.sort_by_key(|(module, _)| xxh3_64_with_seed(module.as_bytes(), seed));
        let names = order.into_iter().flat_map(|(_, names)| names.iter().copied());
        let mut next = FIRST;
        for name in names {
            if !by_name.contains_key(name) {
                by_name.insert(name, next);
                next += 1;
            }
        }
        Self { by_name, seed }
    }

    /// The id of a message; 0, which no message has, when it is not offered.
    pub fn id(&self, name_crc: &str) -> u16 {
        self.by_name.get(name_crc).copied().unwrap_or(0)
    }

    /// The table of the handshake, in hash order as VPP's.
    pub fn entries(&self) -> Vec<MessageTableEntry> {
        let mut entries: Vec<_> = self.by_name.iter().collect();
        entries.sort_by_key(|(name, _)| xxh3_64_with_seed(name.as_bytes(), self.seed ^ u64::MAX));
        entries
            .into_iter()
            .map(|(name, id)| MessageTableEntry {
                index: *id,
                name: (*name).to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_ids_are_vpps() {
        let ids = Ids::new(&[("m", vec!["a_1", "b_2"]), ("n", vec!["c_3"])], 7);
        assert_eq!(ids.id("sockclnt_create_455fb9c4"), 15);
        assert_eq!(ids.id("control_ping_reply_f6b0b8ca"), 24);
        assert_eq!(ids.id("get_api_json_reply_ea715b59"), 28);
        let mut rest = [ids.id("a_1"), ids.id("b_2"), ids.id("c_3")];
        assert_eq!(rest[1], rest[0] + 1, "a module's messages are neighbours");
        rest.sort_unstable();
        assert_eq!(rest, [29, 30, 31]);
        assert_eq!(ids.id("d_4"), 0);
    }

    #[test]
    fn the_table_is_not_sorted() {
        let entries = Ids::new(&[], 1).entries();
        assert_eq!(entries.len(), 28);
        assert!(!entries.is_sorted_by_key(|entry| entry.index));
        assert!(!entries.is_sorted_by_key(|entry| entry.name.clone()));
    }
}
