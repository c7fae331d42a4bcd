//! Two nodes with a tunnel between them, whatever kind it is.
use std::fmt::Debug;
use std::net::IpAddr;

use vpp_sim::engine::{Family, Mac, OpError, OpResult};

use super::packets::{TCP, UDP};
use super::world::{World, addr};

/// The uplink's address of a node on the link between them.
pub fn mac(n: usize) -> Mac {
    Mac([2, 1, 0, 0, 0, n as u8 + 1])
}

/// An address in the underlay, of a family.
pub fn end(n: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => addr(&format!("192.0.2.{}", n + 1)),
        Family::V6 => addr(&format!("fd00:ff::{}", n + 1)),
    }
}

/// The code that VPP answers a refused request with.
pub fn code<T: Debug>(result: OpResult<T>) -> i32 {
    match result {
        Err(OpError::Retval(code)) => code,
        other => panic!("{other:?}"),
    }
}

/// Why VPP would have died.
pub fn fatal<T: Debug>(result: OpResult<T>) -> String {
    match result {
        Err(OpError::Fatal(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

impl World {
    /// pod0 and pod1 reach each other through the tunnel, in both families and either way.
    pub fn pods_talk(&mut self, case: &str) {
        assert_eq!(self.ping("pod0", "10.1.1.2", 2), (2, Some(62)), "{case}");
        assert_eq!(self.ping("pod0", "fd00:1::2", 2), (2, Some(62)), "{case}");
        let asked = self.ask("pod1", addr("10.1.0.2"), 80, TCP);
        assert_eq!(asked.unwrap(), "pod0 10.1.1.2", "{case}");
        let asked = self.ask("pod1", addr("fd00:0::2"), 80, UDP);
        assert_eq!(asked.unwrap(), "pod0 fd00:1::2", "{case}");
    }
}
