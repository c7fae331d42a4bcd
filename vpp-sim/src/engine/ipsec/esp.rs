//! ESP with AES-GCM on bytes alone (RFC 4303, RFC 4106; `esp_encrypt.c`, `esp_decrypt.c`).
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};

use super::{Sa, crypto};

/// SPI and the lower half of the sequence number.
pub(crate) const HEADER: usize = 8;
const IV: usize = 8;
const ICV: usize = 16;
/// Pad length and next header.
const FOOTER: usize = 2;

/// Why a packet is dropped, in the words of VPP's counters.
pub(crate) mod error {
    pub const INTEGRITY: &str = "integrity check failed";
    pub const REPLAY: &str = "SA replayed packet";
    pub const RUNT: &str = "undersized packet";
    pub const CYCLED: &str = "sequence number cycled (packet dropped)";
    pub const NO_CRYPTO: &str = "crypto engine error (packet dropped)";
}

fn with_cipher(sa: &Sa, seal: bool, nonce: &[u8; 12], data: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
    fn run<C: Aead + KeyInit>(
        key: &[u8],
        seal: bool,
        nonce: &[u8; 12],
        payload: Payload<'_, '_>,
    ) -> Option<Vec<u8>> {
        let cipher = C::new_from_slice(key).ok()?;
        let nonce = aes_gcm::aead::Nonce::<C>::from_slice(nonce);
        if seal {
            cipher.encrypt(nonce, payload).ok()
        } else {
            cipher.decrypt(nonce, payload).ok()
        }
    }
    let payload = Payload {
        msg: data,
        aad: associated,
    };
    let key = &sa.config.crypto_key;
    match sa.config.crypto {
        crypto::AES_GCM_128 => run::<Aes128Gcm>(key, seal, nonce, payload),
        crypto::AES_GCM_192 => run::<AesGcm<Aes192, U12>>(key, seal, nonce, payload),
        crypto::AES_GCM_256 => run::<Aes256Gcm>(key, seal, nonce, payload),
        _ => None,
    }
}

/// The salt as it stood in the message, then the IV (RFC 4106, 4).
fn nonce(salt: u32, iv: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&salt.to_be_bytes());
    nonce[4..].copy_from_slice(iv);
    nonce
}

/// RFC 4106, 5: SPI and sequence number, all of it where it is extended.
fn associated(spi: u32, sequence: u64, extended: bool) -> Vec<u8> {
    let mut data = spi.to_be_bytes().to_vec();
    if extended {
        data.extend(((sequence >> 32) as u32).to_be_bytes());
    }
    data.extend((sequence as u32).to_be_bytes());
    data
}

/// Encrypts a payload of protocol `next` with the association's next sequence number, which is its IV too.
///
/// # Errors
/// Why the packet is to be dropped.
pub(crate) fn seal(sa: &mut Sa, next: u8, payload: &[u8]) -> Result<Vec<u8>, &'static str> {
    let extended = sa.config.uses_esn();
    let sequence = sa.sent.checked_add(1).ok_or(error::CYCLED)?;
    if !extended && sequence > u64::from(u32::MAX) {
        return Err(error::CYCLED);
    }
    let iv = sequence.to_be_bytes();
    let mut plain = payload.to_vec();
    let padding = (4 - (plain.len() + FOOTER) % 4) % 4;
    plain.extend((1..=padding).map(|n| n as u8));
    plain.extend([padding as u8, next]);
    let head = associated(sa.config.spi, sequence, extended);
    let sealed = with_cipher(sa, true, &nonce(sa.config.salt, &iv), &plain, &head).ok_or(error::NO_CRYPTO)?;
    sa.sent = sequence;
    let mut data = sa.config.spi.to_be_bytes().to_vec();
    data.extend((sequence as u32).to_be_bytes());
    data.extend(iv);
    data.extend(sealed);
    Ok(data)
}

/// The whole of a sequence number whose lower half is `low` (RFC 4303, A2.2).
fn infer(last: u64, window: u64, low: u32) -> u64 {
    let (high, last_low) = (last >> 32, last & 0xffff_ffff);
    let bottom = (last_low.wrapping_sub(window - 1) & 0xffff_ffff) as u32;
    let high = if last_low >= window - 1 {
        if low >= bottom { high } else { high + 1 }
    } else if low >= bottom {
        high.saturating_sub(1)
    } else {
        high
    };
    (high << 32) | u64::from(low)
}

/// The payload of an ESP packet and its protocol.
///
/// # Errors
/// Why the packet is to be dropped.
pub(crate) fn open(sa: &mut Sa, data: &[u8]) -> Result<(u8, Vec<u8>), &'static str> {
    if data.len() < HEADER + IV + FOOTER + ICV {
        return Err(error::RUNT);
    }
    let extended = sa.config.uses_esn();
    let low = u32::from_be_bytes([data[4], data[5], data[6], data[7]]);
    let sequence = if extended {
        infer(sa.received.last(), sa.window_size(), low)
    } else {
        u64::from(low)
    };
    let checked = sa.config.uses_anti_replay();
    // 0 is never sent.
    if checked && (sequence == 0 || !sa.received.is_fresh(sequence)) {
        return Err(error::REPLAY);
    }
    let head = associated(sa.config.spi, sequence, extended);
    let nonce = nonce(sa.config.salt, &data[HEADER..HEADER + IV]);
    let sealed = &data[HEADER + IV..];
    if !crypto::is_gcm(sa.config.crypto) {
        return Err(error::NO_CRYPTO);
    }
    let mut plain = with_cipher(sa, false, &nonce, sealed, &head).ok_or(error::INTEGRITY)?;
    if checked || extended {
        sa.received.note(sequence);
    }
    let (Some(next), Some(padding)) = (plain.pop(), plain.pop()) else {
        return Err(error::RUNT);
    };
    let length = plain.len().checked_sub(usize::from(padding)).ok_or(error::RUNT)?;
    plain.truncate(length);
    Ok((next, plain))
}

#[cfg(test)]
mod tests {
    use super::infer;

    #[test]
    fn the_upper_half_follows_the_window() {
        let last = (5 << 32) | 1000;
        assert_eq!(infer(last, 64, 1001), (5 << 32) | 1001);
        assert_eq!(infer(last, 64, 937), (5 << 32) | 937);
        // Below the window it is taken for the next turn.
        assert_eq!(infer(last, 64, 936), (6 << 32) | 936);
        // The window reaches into the turn before.
        assert_eq!(infer(5 << 32, 64, u32::MAX), (4 << 32) | 0xffff_ffff);
        assert_eq!(infer((5 << 32) | 10, 64, 11), (5 << 32) | 11);
        assert_eq!(infer(0xffff_ffff, 64, 0), 1 << 32);
    }
}
