//! Which release of VPP a server plays: the messages on offer, and what stands behind them.

use std::fmt;
use std::str::FromStr;

use vpp_api::message::{Message, MessageInfo};
use vpp_api::messages::cnat::{
    self, CnatSessionDetails, CnatSetSnatAddressesV2, CnatSetSnatPolicy, CnatSnatAddressesDetails,
    CnatSnatAddressesDump, FeatureCnatEnableDisable,
};
use vpp_api::messages::interface::{
    SwInterfaceGetDefaultRxMode, SwInterfaceGetDefaultRxModeReply, SwInterfaceSetDefaultRxMode,
};
use vpp_api::messages::sr::SrLocalsidAddDelV2;
use vpp_api::messages::wireguard::{
    WireguardPeerAddV2, WireguardPeerAddV2Reply, WireguardPeersV2Details, WireguardPeersV2Dump,
};

/// A release of VPP. Clients tell one from another by the message table, never by the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    V25_10,
    V26_02,
    #[default]
    V26_06,
}

/// Messages that came, or changed, with 26.06; their answers come with them.
const SINCE_26_06: [&str; 14] = [
    CnatSessionDetails::NAME_CRC,
    CnatSetSnatAddressesV2::NAME_CRC,
    CnatSetSnatPolicy::NAME_CRC,
    CnatSnatAddressesDump::NAME_CRC,
    CnatSnatAddressesDetails::NAME_CRC,
    FeatureCnatEnableDisable::NAME_CRC,
    SrLocalsidAddDelV2::NAME_CRC,
    WireguardPeerAddV2::NAME_CRC,
    WireguardPeerAddV2Reply::NAME_CRC,
    WireguardPeersV2Dump::NAME_CRC,
    WireguardPeersV2Details::NAME_CRC,
    SwInterfaceSetDefaultRxMode::NAME_CRC,
    SwInterfaceGetDefaultRxMode::NAME_CRC,
    SwInterfaceGetDefaultRxModeReply::NAME_CRC,
];

/// Acknowledgements of messages that came with 26.06.
const ACKS_SINCE_26_06: [&str; 4] = [
    "cnat_set_snat_addresses_v2_reply",
    "feature_cnat_enable_disable_reply",
    "sr_localsid_add_del_v2_reply",
    "sw_interface_set_default_rx_mode_reply",
];

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V25_10, Self::V26_02, Self::V26_06];

    /// Whether cnat has API 1.0.0: one switch for all its nodes, sessions of both directions, addresses per table.
    #[must_use]
    pub fn has_cnat_1(self) -> bool {
        self >= Self::V26_06
    }

    /// Whether the release has this message, out of those of [`vpp_api::messages::ALL`].
    #[must_use]
    pub fn has(self, message: &MessageInfo) -> bool {
        self >= Self::V26_06
            || !SINCE_26_06.contains(&message.name_crc) && !ACKS_SINCE_26_06.contains(&message.name)
    }

    /// Messages that only releases before 26.06 have, by API file.
    #[must_use]
    pub fn older(self) -> Vec<(&'static str, &'static [MessageInfo])> {
        if self.has_cnat_1() {
            Vec::new()
        } else {
            vec![("cnat", cnat::v0_3::MESSAGES)]
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V25_10 => "25.10",
            Self::V26_02 => "26.02",
            Self::V26_06 => "26.06",
        })
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|release| release.to_string() == text);
        found.ok_or_else(|| format!("no release {text:?}: 25.10, 26.02 or 26.06"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_its_number() {
        for release in Release::ALL {
            assert_eq!(release.to_string().parse(), Ok(release));
        }
        assert!("26.10".parse::<Release>().is_err());
        assert_eq!(
            cnat::v0_3::MESSAGES.len(),
            4,
            "what is older: a dump, a request, and their answers"
        );
    }
}
