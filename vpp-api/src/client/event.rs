//! What VPP sends by itself.

use crate::message::{Message, decode_message};
use crate::messages::interface::SwInterfaceEvent;
use crate::messages::ip_neighbor::IpNeighborEventV2;
use crate::messages::wireguard::WireguardPeerEvent;
use crate::table::MessageTable;

/// Something VPP reported to its subscribers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum VppEvent {
    /// An interface came, went or changed its state.
    SwInterface(SwInterfaceEvent),
    /// A neighbour came, changed or went.
    Neighbor(IpNeighborEventV2),
    /// A WireGuard peer was reached or lost.
    WireguardPeer(WireguardPeerEvent),
}

type Decoder = fn(&[u8]) -> Option<VppEvent>;

fn read<M: Message>(bytes: &[u8]) -> Option<M> {
    decode_message(bytes).ok().map(|(_, _, event)| event)
}

/// Ids of the events we know, as this VPP numbers them.
#[derive(Debug)]
pub(super) struct EventIds(Vec<(u16, Decoder)>);

impl EventIds {
    pub(super) fn new(table: &MessageTable) -> Self {
        let known: [(&str, Decoder); 3] = [
            (SwInterfaceEvent::NAME_CRC, |bytes| {
                read(bytes).map(VppEvent::SwInterface)
            }),
            (IpNeighborEventV2::NAME_CRC, |bytes| {
                read(bytes).map(VppEvent::Neighbor)
            }),
            (WireguardPeerEvent::NAME_CRC, |bytes| {
                read(bytes).map(VppEvent::WireguardPeer)
            }),
        ];
        Self(
            known
                .into_iter()
                .filter_map(|(name, decoder)| Some((table.id(name)?, decoder)))
                .collect(),
        )
    }

    /// How to read a message with this id, if it is an event.
    pub(super) fn decoder(&self, id: u16) -> Option<Decoder> {
        self.0
            .iter()
            .find(|(event, _)| *event == id)
            .map(|(_, decoder)| *decoder)
    }
}
