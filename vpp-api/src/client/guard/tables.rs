//! Which IP tables VPP is known to have.

use crate::messages::ip::{IpTableAddDel, IpTableAddDelV2, IpTableAllocateReply, IpTableDetails};
use crate::types::{IpTable, NO_INDEX};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

/// Family and id of a table.
type Key = (bool, u32);

/// Tables by what VPP accepted or listed. Table 0 of both families is always there.
#[derive(Debug, Default)]
pub(super) struct Tables {
    known: BTreeSet<Key>,
    /// Requests in flight that make one.
    in_flight: BTreeMap<Key, usize>,
}

/// A table that comes to be when its request is answered well.
#[derive(Debug)]
pub(in crate::client) struct NewTable(Key);

fn key(table: &IpTable) -> Key {
    (table.is_ip6, table.table_id)
}

impl Tables {
    /// Takes note of a request that makes or removes a table.
    pub fn sent(&mut self, message: &dyn Any) -> Option<NewTable> {
        let (is_add, table) = if let Some(request) = message.downcast_ref::<IpTableAddDel>() {
            (request.is_add, &request.table)
        } else if let Some(request) = message.downcast_ref::<IpTableAddDelV2>() {
            (request.is_add, &request.table)
        } else {
            return None;
        };
        let key = key(table);
        if is_add {
            *self.in_flight.entry(key).or_default() += 1;
            return Some(NewTable(key));
        }
        self.known.remove(&key);
        None
    }

    /// The request that makes a table is answered.
    pub fn settle(&mut self, NewTable(key): NewTable, done: bool) {
        if let Some(count) = self.in_flight.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&key);
            }
        }
        if done {
            self.known.insert(key);
        }
    }

    /// VPP told of a table.
    pub fn observe(&mut self, answer: &dyn Any) {
        let table = if let Some(reply) = answer.downcast_ref::<IpTableAllocateReply>() {
            &reply.table
        } else if let Some(details) = answer.downcast_ref::<IpTableDetails>() {
            &details.table
        } else {
            return;
        };
        if table.table_id != NO_INDEX {
            self.known.insert(key(table));
        }
    }

    /// # Errors
    /// VPP is not known to have the table.
    pub fn require(&self, is_ip6: bool, table_id: u32) -> Result<(), String> {
        let key = (is_ip6, table_id);
        if table_id == 0 || self.known.contains(&key) || self.in_flight.contains_key(&key) {
            return Ok(());
        }
        let family = if is_ip6 { "IPv6" } else { "IPv4" };
        Err(format!(
            "VPP crashes on an unknown {family} table; create table {table_id} first, or dump its tables"
        ))
    }
}
