//! Host devices through AF_PACKET (VPP: `plugins/af_packet/af_packet.api`).

use crate::types::{InterfaceIndex, MacAddress};

crate::wire_enum! {
    /// What the packets start with.
    pub enum AfPacketMode("af_packet_mode"): u32 {
        AF_PACKET_API_MODE_ETHERNET = 1,
        AF_PACKET_API_MODE_IP = 2,
    }
}

crate::wire_enum! {
    /// Options of the device.
    pub flags AfPacketFlags("af_packet_flags"): u32 {
        AF_PACKET_API_FLAG_QDISC_BYPASS = 1,
        AF_PACKET_API_FLAG_CKSUM_GSO = 2,
    } added {
        AF_PACKET_API_FLAG_VERSION_2 = 8,
    }
}

crate::messages! {
    /// Attaches to a device of VPP's own network namespace as `host-<device>`.
    request AfPacketCreateV3("af_packet_create_v3", "b3a809d4") {
        /// 0 is refused.
        mode: AfPacketMode,
        hw_addr: MacAddress,
        use_random_hw_addr: bool,
        host_if_name: string[64],
        /// 0 is the default, here and below.
        rx_frame_size: u32,
        tx_frame_size: u32,
        rx_frames_per_block: u32,
        tx_frames_per_block: u32,
        flags: AfPacketFlags,
        num_rx_queues: u16,
        num_tx_queues: u16,
    } reply AfPacketCreateV3Reply("af_packet_create_v3_reply", "5383d31f") {
        retval: i32,
        /// With IF_ALREADY_EXISTS the existing interface, with other failures 0.
        sw_if_index: InterfaceIndex,
    };

    /// Attaches in ethernet mode; deprecated.
    request AfPacketCreateV2("af_packet_create_v2", "4aff0436") {
        hw_addr: MacAddress,
        use_random_hw_addr: bool,
        host_if_name: string[64],
        rx_frame_size: u32,
        tx_frame_size: u32,
        rx_frames_per_block: u32,
        tx_frames_per_block: u32,
        flags: u32,
        num_rx_queues: u16,
    } reply AfPacketCreateV2Reply("af_packet_create_v2_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Detaches, by the device's name.
    request AfPacketDelete("af_packet_delete", "863fa648") {
        host_if_name: string[64],
    } ack AfPacketDeleteReply;

    /// Whether the device computes TCP and UDP checksums.
    request AfPacketSetL4CksumOffload("af_packet_set_l4_cksum_offload", "319cd5c8") {
        sw_if_index: InterfaceIndex,
        set: bool,
    } ack AfPacketSetL4CksumOffloadReply;

    /// Lists attached devices.
    dump AfPacketDump("af_packet_dump", "51077d14") {} details AfPacketDetails("af_packet_details", "58c7c042") {
        sw_if_index: InterfaceIndex,
        host_if_name: string[64],
    };
}
