//! WireGuard's handshake, `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, on bytes alone (the WireGuard paper, 5.4).
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, Mac as _, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use x25519_dalek::{PublicKey, StaticSecret};

pub(crate) type Key = [u8; 32];

pub(crate) const INITIATION: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const DATA: u8 = 4;
pub(crate) const INITIATION_LEN: usize = 148;
pub(crate) const RESPONSE_LEN: usize = 92;
/// Of a data message in front of what is encrypted.
pub(crate) const DATA_HEADER: usize = 16;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
const LABEL_MAC1: &[u8] = b"mac1----";
const BLOCK: usize = 64;
/// A TAI64N label.
pub(crate) const TIMESTAMP: usize = 12;

fn hash(parts: &[&[u8]]) -> Key {
    let mut state = Blake2s256::new();
    for part in parts {
        Update::update(&mut state, part);
    }
    state.finalize_fixed().into()
}

/// HMAC (RFC 2104) with BLAKE2s, whose keys here never exceed its block.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut pads = [[0x36u8; BLOCK], [0x5c; BLOCK]];
    for pad in &mut pads {
        for (byte, key) in pad.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    let mut inner = vec![&pads[0][..]];
    inner.extend(parts);
    hash(&[&pads[1], &hash(&inner)])
}

/// The first keys of HKDF over the chaining key and some input.
fn derive<const N: usize>(chaining: &Key, input: &[u8]) -> [Key; N] {
    let secret = hmac(chaining, &[input]);
    let mut keys = [[0; 32]; N];
    let mut last: Vec<u8> = Vec::new();
    for (n, key) in (1u8..).zip(&mut keys) {
        *key = hmac(&secret, &[&last, &[n]]);
        last = key.to_vec();
    }
    keys
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 16] {
    match <Blake2sMac<U16> as blake2::digest::KeyInit>::new_from_slice(key) {
        Ok(mut state) => {
            Update::update(&mut state, data);
            state.finalize().into_bytes().into()
        }
        // Keys are 16 or 32 bytes.
        Err(_) => [0; 16],
    }
}

pub(crate) fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce.into()
}

/// Encrypts and authenticates; cannot fail for the lengths met here.
pub(crate) fn seal(key: &Key, counter: u64, data: &[u8], associated: &[u8]) -> Vec<u8> {
    let payload = Payload {
        msg: data,
        aad: associated,
    };
    ChaCha20Poly1305::new(key.into())
        .encrypt(&nonce(counter), payload)
        .unwrap_or_default()
}

pub(crate) fn open(key: &Key, counter: u64, data: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload {
        msg: data,
        aad: associated,
    };
    ChaCha20Poly1305::new(key.into())
        .decrypt(&nonce(counter), payload)
        .ok()
}

/// The public key of a private one.
pub(crate) fn public_key(private: &Key) -> Key {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

fn exchange(private: &Key, public: &Key) -> Key {
    StaticSecret::from(*private)
        .diffie_hellman(&PublicKey::from(*public))
        .to_bytes()
}

/// Keys of a data session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionKeys {
    pub send: Key,
    pub receive: Key,
}

/// Chaining key and transcript hash.
#[derive(Clone, Debug)]
struct Symmetric {
    chaining: Key,
    hash: Key,
}

impl Symmetric {
    fn new(responder: &Key) -> Self {
        let chaining = hash(&[CONSTRUCTION]);
        let identified = hash(&[&chaining, IDENTIFIER]);
        Self {
            chaining,
            hash: hash(&[&identified, responder]),
        }
    }

    fn mix(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }

    fn mix_key(&mut self, input: &[u8]) {
        [self.chaining] = derive(&self.chaining, input);
    }

    fn mix_key_twice(&mut self, input: &[u8]) -> Key {
        let [chaining, key] = derive(&self.chaining, input);
        self.chaining = chaining;
        key
    }

    fn mix_preshared(&mut self, preshared: &Key) -> Key {
        let [chaining, temporary, key] = derive(&self.chaining, preshared);
        self.chaining = chaining;
        self.mix(&temporary);
        key
    }

    fn seal(&mut self, key: &Key, data: &[u8]) -> Vec<u8> {
        let sealed = seal(key, 0, data, &self.hash);
        self.mix(&sealed);
        sealed
    }

    fn open(&mut self, key: &Key, data: &[u8]) -> Option<Vec<u8>> {
        let opened = open(key, 0, data, &self.hash)?;
        self.mix(data);
        Some(opened)
    }

    /// First key, second key.
    fn split(&self) -> [Key; 2] {
        derive(&self.chaining, &[])
    }
}

/// A message up to its two MACs gets them; the second is zero, as no cookie was asked for.
fn with_macs(mut message: Vec<u8>, receiver: &Key) -> Vec<u8> {
    let first = mac(&hash(&[LABEL_MAC1, receiver]), &message);
    message.extend(first);
    message.extend([0; 16]);
    message
}

/// Whether a handshake message was made for the holder of a public key.
pub(crate) fn is_for(message: &[u8], public: &Key) -> bool {
    let Some(at) = message.len().checked_sub(32) else {
        return false;
    };
    mac(&hash(&[LABEL_MAC1, public]), &message[..at]) == message[at..at + 16]
}

fn key_at(message: &[u8], at: usize) -> Option<Key> {
    message.get(at..at + 32)?.try_into().ok()
}

/// Index that the sender of a message chose for itself, or the receiver's, in the four bytes at an offset.
pub(crate) fn index_at(message: &[u8], at: usize) -> u32 {
    match message.get(at..at + 4) {
        Some(bytes) => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        None => 0,
    }
}

/// What the initiator keeps until the answer comes.
#[derive(Clone, Debug)]
pub(crate) struct Initiated {
    pub local_index: u32,
    ephemeral: Key,
    symmetric: Symmetric,
}

/// What the responder knows after the first message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub remote_static: Key,
    pub timestamp: [u8; TIMESTAMP],
    pub remote_index: u32,
    remote_ephemeral: Key,
    symmetric: Symmetric,
}

/// The first message.
pub(crate) fn initiate(
    private: &Key,
    remote: &Key,
    ephemeral: Key,
    local_index: u32,
    timestamp: &[u8; TIMESTAMP],
) -> (Vec<u8>, Initiated) {
    let mut symmetric = Symmetric::new(remote);
    let public = public_key(&ephemeral);
    symmetric.mix_key(&public);
    symmetric.mix(&public);
    let key = symmetric.mix_key_twice(&exchange(&ephemeral, remote));
    let sealed_static = symmetric.seal(&key, &public_key(private));
    let key = symmetric.mix_key_twice(&exchange(private, remote));
    let sealed_timestamp = symmetric.seal(&key, timestamp);
    let mut message = vec![INITIATION, 0, 0, 0];
    message.extend(local_index.to_le_bytes());
    message.extend(public);
    message.extend(sealed_static);
    message.extend(sealed_timestamp);
    let initiated = Initiated {
        local_index,
        ephemeral,
        symmetric,
    };
    (with_macs(message, remote), initiated)
}

/// Takes the first message apart; None when it was not made for this key.
pub(crate) fn receive(private: &Key, message: &[u8]) -> Option<Received> {
    let own = public_key(private);
    if message.len() != INITIATION_LEN || !is_for(message, &own) {
        return None;
    }
    let mut symmetric = Symmetric::new(&own);
    let remote_ephemeral = key_at(message, 8)?;
    symmetric.mix_key(&remote_ephemeral);
    symmetric.mix(&remote_ephemeral);
    let key = symmetric.mix_key_twice(&exchange(private, &remote_ephemeral));
    let remote_static: Key = symmetric.open(&key, &message[40..88])?.try_into().ok()?;
    let key = symmetric.mix_key_twice(&exchange(private, &remote_static));
    let timestamp = symmetric.open(&key, &message[88..116])?.try_into().ok()?;
    Some(Received {
        remote_static,
        timestamp,
        remote_index: index_at(message, 4),
        remote_ephemeral,
        symmetric,
    })
}

/// The answer, and the session it opens.
pub(crate) fn respond(
    received: Received,
    preshared: &Key,
    ephemeral: &Key,
    local_index: u32,
) -> (Vec<u8>, SessionKeys) {
    let Received {
        mut symmetric,
        remote_static,
        remote_ephemeral,
        remote_index,
        ..
    } = received;
    let public = public_key(ephemeral);
    symmetric.mix_key(&public);
    symmetric.mix(&public);
    symmetric.mix_key(&exchange(ephemeral, &remote_ephemeral));
    symmetric.mix_key(&exchange(ephemeral, &remote_static));
    let key = symmetric.mix_preshared(preshared);
    let empty = symmetric.seal(&key, &[]);
    let mut message = vec![RESPONSE, 0, 0, 0];
    message.extend(local_index.to_le_bytes());
    message.extend(remote_index.to_le_bytes());
    message.extend(public);
    message.extend(empty);
    let [receive, send] = symmetric.split();
    (with_macs(message, &remote_static), SessionKeys { send, receive })
}

/// The answer's index and the session it opens; None when it is no answer to this initiation.
pub(crate) fn finish(
    initiated: &Initiated,
    private: &Key,
    preshared: &Key,
    message: &[u8],
) -> Option<(u32, SessionKeys)> {
    if message.len() != RESPONSE_LEN || !is_for(message, &public_key(private)) {
        return None;
    }
    let mut symmetric = initiated.symmetric.clone();
    let remote_ephemeral = key_at(message, 12)?;
    symmetric.mix_key(&remote_ephemeral);
    symmetric.mix(&remote_ephemeral);
    symmetric.mix_key(&exchange(&initiated.ephemeral, &remote_ephemeral));
    symmetric.mix_key(&exchange(private, &remote_ephemeral));
    let key = symmetric.mix_preshared(preshared);
    symmetric.open(&key, &message[44..60])?;
    let [send, receive] = symmetric.split();
    Some((index_at(message, 4), SessionKeys { send, receive }))
}
