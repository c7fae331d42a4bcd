//! IPsec (VPP: `vnet/ipsec/ipsec_types.api`, `vnet/ipsec/ipsec.api`).

use super::{Address, InterfaceIndex, Tunnel, TunnelMode};

crate::wire_enum! {
    /// ESP or AH.
    pub enum IpsecProto("ipsec_proto"): u32 {
        IPSEC_API_PROTO_ESP = 50,
        IPSEC_API_PROTO_AH = 51,
    }
}

crate::wire_enum! {
    /// Cipher.
    pub enum IpsecCryptoAlg("ipsec_crypto_alg"): u32 {
        IPSEC_API_CRYPTO_ALG_NONE = 0,
        IPSEC_API_CRYPTO_ALG_AES_CBC_128 = 1,
        IPSEC_API_CRYPTO_ALG_AES_CBC_192 = 2,
        IPSEC_API_CRYPTO_ALG_AES_CBC_256 = 3,
        IPSEC_API_CRYPTO_ALG_AES_CTR_128 = 4,
        IPSEC_API_CRYPTO_ALG_AES_CTR_192 = 5,
        IPSEC_API_CRYPTO_ALG_AES_CTR_256 = 6,
        IPSEC_API_CRYPTO_ALG_AES_GCM_128 = 7,
        IPSEC_API_CRYPTO_ALG_AES_GCM_192 = 8,
        IPSEC_API_CRYPTO_ALG_AES_GCM_256 = 9,
        IPSEC_API_CRYPTO_ALG_DES_CBC = 10,
        IPSEC_API_CRYPTO_ALG_3DES_CBC = 11,
    }
    added {
        IPSEC_API_CRYPTO_ALG_CHACHA20_POLY1305 = 12,
        IPSEC_API_CRYPTO_ALG_AES_NULL_GMAC_128 = 13,
        IPSEC_API_CRYPTO_ALG_AES_NULL_GMAC_192 = 14,
        IPSEC_API_CRYPTO_ALG_AES_NULL_GMAC_256 = 15,
    }
}

crate::wire_enum! {
    /// Message authentication.
    pub enum IpsecIntegAlg("ipsec_integ_alg"): u32 {
        IPSEC_API_INTEG_ALG_NONE = 0,
        IPSEC_API_INTEG_ALG_MD5_96 = 1,
        IPSEC_API_INTEG_ALG_SHA1_96 = 2,
        IPSEC_API_INTEG_ALG_SHA_256_96 = 3,
        IPSEC_API_INTEG_ALG_SHA_256_128 = 4,
        IPSEC_API_INTEG_ALG_SHA_384_192 = 5,
        IPSEC_API_INTEG_ALG_SHA_512_256 = 6,
    }
}

crate::wire_enum! {
    /// What an association does.
    pub flags IpsecSadFlags("ipsec_sad_flags"): u32 {
        IPSEC_API_SAD_FLAG_NONE = 0,
        IPSEC_API_SAD_FLAG_USE_ESN = 1,
        IPSEC_API_SAD_FLAG_USE_ANTI_REPLAY = 2,
        IPSEC_API_SAD_FLAG_IS_TUNNEL = 4,
        IPSEC_API_SAD_FLAG_IS_TUNNEL_V6 = 8,
        IPSEC_API_SAD_FLAG_UDP_ENCAP = 16,
        IPSEC_API_SAD_FLAG_IS_INBOUND = 64,
    }
    added {
        IPSEC_API_SAD_FLAG_ASYNC = 128,
    }
}

crate::wire_struct! {
    /// A key; the first `length` bytes count.
    pub struct IpsecKey("key") {
        length: u8,
        data: u8[128],
    }
}

impl IpsecKey {
    /// A key of these bytes; `None` for more than 128.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut key = Self {
            length: u8::try_from(bytes.len()).ok()?,
            ..Self::default()
        };
        key.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(key)
    }

    /// The bytes that count.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data[..usize::from(self.length).min(128)]
    }
}

crate::wire_struct! {
    /// A security association.
    pub struct IpsecSadEntryV3("ipsec_sad_entry_v3") {
        /// Ours to choose.
        sad_id: u32,
        spi: u32,
        protocol: IpsecProto,
        crypto_algorithm: IpsecCryptoAlg,
        crypto_key: IpsecKey,
        integrity_algorithm: IpsecIntegAlg,
        integrity_key: IpsecKey,
        flags: IpsecSadFlags,
        tunnel: Tunnel,
        /// Comes back with its bytes reversed in dumps.
        salt: u32,
        udp_src_port: u16,
        udp_dst_port: u16,
    }
}

crate::wire_struct! {
    /// A security association with the size of its replay window.
    pub struct IpsecSadEntryV4("ipsec_sad_entry_v4") {
        sad_id: u32,
        spi: u32,
        protocol: IpsecProto,
        crypto_algorithm: IpsecCryptoAlg,
        crypto_key: IpsecKey,
        integrity_algorithm: IpsecIntegAlg,
        integrity_key: IpsecKey,
        flags: IpsecSadFlags,
        tunnel: Tunnel,
        salt: u32,
        udp_src_port: u16,
        udp_dst_port: u16,
        /// Rounded up to a power of two, at least 64.
        anti_replay_window_size: u32,
    }
}

crate::wire_struct! {
    /// The associations that protect a tunnel.
    pub struct IpsecTunnelProtect("ipsec_tunnel_protect") {
        sw_if_index: InterfaceIndex,
        /// Zero for a tunnel with one peer.
        nh: Address,
        sa_out: u32,
        n_sa_in: u8 = count(sa_in),
        /// At most four.
        sa_in: u32[n_sa_in],
    }
}

crate::wire_struct! {
    /// An IPsec interface, whose tunnel is that of its associations.
    pub struct IpsecItf("ipsec_itf") {
        /// [`NO_INDEX`](super::NO_INDEX) is the lowest free.
        user_instance: u32,
        mode: TunnelMode,
        /// Only in dumps.
        sw_if_index: InterfaceIndex,
    }
}
