//! Cross-connects of layer 2 and 3.

use vpp_api::messages::l2::{L2XconnectDetails, L2XconnectDump, SwInterfaceSetL2Xconnect};
use vpp_api::messages::l3xc::{L3xc, L3xcDel, L3xcDetails, L3xcDump, L3xcUpdate};

use crate::engine::Family;
use crate::server::convert::{family, index, paths, wire_paths};
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.ack(|core, m: SwInterfaceSetL2Xconnect| {
        core.vpp
            .set_l2_xconnect(m.rx_sw_if_index, m.tx_sw_if_index, m.enable)
    });
    registry.dump(|core, _: L2XconnectDump| {
        let pairs = core.vpp.l2_xconnects().into_iter();
        pairs
            .map(|(rx_sw_if_index, tx_sw_if_index)| L2XconnectDetails {
                rx_sw_if_index,
                tx_sw_if_index,
            })
            .collect()
    });
    registry.ack(|core, m: L3xcUpdate| {
        core.vpp
            .l3xc_update(m.l3xc.sw_if_index, family(m.l3xc.is_ip6), paths(&m.l3xc.paths)?)
    });
    registry.ack(|core, m: L3xcDel| core.vpp.l3xc_del(m.sw_if_index, family(m.is_ip6)));
    registry.dump(|core, m: L3xcDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.l3xcs().into_iter();
        all.filter(|xc| wanted.is_none_or(|wanted| wanted == xc.sw_if_index))
            .map(|xc| L3xcDetails {
                l3xc: L3xc {
                    sw_if_index: xc.sw_if_index,
                    is_ip6: xc.family == Family::V6,
                    paths: wire_paths(&xc.paths),
                },
            })
            .collect()
    });
}
