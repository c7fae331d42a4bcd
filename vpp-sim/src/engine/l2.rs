//! Cross-connects: `sw_interface_set_l2_xconnect` (frames, one way) and l3xc (packets, by family).
use std::collections::BTreeMap;

use super::Vpp;
use super::types::{Family, OpError, OpResult, RoutePath, retval};

/// An l3 cross-connect as `l3xc_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L3xcDetails {
    pub sw_if_index: u32,
    pub family: Family,
    pub paths: Vec<RoutePath>,
}

#[derive(Clone, Debug)]
struct L3xc {
    paths: Vec<RoutePath>,
    list: u32,
    live: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct L2 {
    xconnects: BTreeMap<u32, u32>,
    l3xc: BTreeMap<(u32, Family), L3xc>,
}

impl L2 {
    /// Where frames of an interface in cross-connect mode go.
    pub fn xconnect(&self, rx: u32) -> Option<u32> {
        self.xconnects.get(&rx).copied()
    }

    pub fn l3xc(&self, rx: u32, family: Family) -> Option<u32> {
        self.l3xc.get(&(rx, family)).filter(|x| x.live).map(|x| x.list)
    }

    /// The interface's own direction ends.
    pub fn leave_xconnect(&mut self, rx: u32) {
        self.xconnects.remove(&rx);
    }

    /// Both directions end; the record of an l3xc stays though the feature is off.
    pub fn interface_gone(&mut self, sw_if_index: u32) {
        self.xconnects
            .retain(|rx, tx| *rx != sw_if_index && *tx != sw_if_index);
        for ((index, _), xc) in &mut self.l3xc {
            if *index == sw_if_index {
                xc.live = false;
            }
        }
    }
}

impl Vpp {
    /// `sw_interface_set_l2_xconnect`: frames received on `rx` leave on `tx`, which has to be in L2 mode itself: it is
    /// called twice, once for each way. `enable` false puts `rx` back into L3 mode.
    ///
    /// # Errors
    /// −2 unknown `rx`, −10 unknown `tx`, −151 not Ethernet.
    pub fn set_l2_xconnect(&mut self, rx: u32, tx: u32, enable: bool) -> OpResult {
        let interface = self.interface_mut(rx)?;
        let (rx_is_ethernet, mac) = (interface.is_ethernet(), interface.mac);
        if !enable {
            self.bridges.leave(rx, mac);
            self.l2.leave_xconnect(rx);
            return Ok(());
        }
        let tx_is_ethernet = self
            .interfaces
            .get(tx)
            .ok_or(OpError::Retval(retval::INVALID_SW_IF_INDEX_2))?
            .is_ethernet();
        if !rx_is_ethernet || !tx_is_ethernet {
            return Err(retval::NON_ETHERNET.into());
        }
        self.bridges.leave(rx, mac);
        self.l2.xconnects.insert(rx, tx);
        Ok(())
    }

    /// `l2_xconnect_dump`: (rx, tx).
    pub fn l2_xconnects(&self) -> Vec<(u32, u32)> {
        let all = self.l2.xconnects.iter();
        all.map(|(rx, tx)| (*rx, *tx)).collect()
    }

    /// `l3xc_update`: all packets of a family received on the interface go to the paths.
    ///
    /// # Errors
    /// −2 unknown interface, −7 no paths, −54 no such interface in a path.
    pub fn l3xc_update(&mut self, sw_if_index: u32, family: Family, paths: Vec<RoutePath>) -> OpResult {
        self.interface_mut(sw_if_index)?;
        if paths.is_empty() {
            return Err(retval::INVALID_VALUE.into());
        }
        self.check_paths(&paths)?;
        let list = self.lock_policy_paths(paths.clone());
        let live = true;
        let old = self
            .l2
            .l3xc
            .insert((sw_if_index, family), L3xc { paths, list, live });
        if let Some(old) = old {
            self.fibs.path_lists.unlock(old.list);
        }
        Ok(())
    }

    /// `l3xc_del`. # Errors −7 none there.
    pub fn l3xc_del(&mut self, sw_if_index: u32, family: Family) -> OpResult {
        let gone = self.l2.l3xc.remove(&(sw_if_index, family));
        let gone = gone.ok_or(OpError::Retval(retval::INVALID_VALUE))?;
        self.fibs.path_lists.unlock(gone.list);
        Ok(())
    }

    pub fn l3xcs(&self) -> Vec<L3xcDetails> {
        self.l2
            .l3xc
            .iter()
            .map(|((sw_if_index, family), xc)| L3xcDetails {
                sw_if_index: *sw_if_index,
                family: *family,
                paths: xc.paths.clone(),
            })
            .collect()
    }
}
