//! Just enough Kerberos to read and print the tickets of rxkad: the AES encryption types of RFC 3962.
//!
//! Key derivation and n-fold are those of RFC 3961. Only key usage 2 (ticket) occurs.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::SessionKey;

/// Encryption type aes128-cts-hmac-sha1-96.
pub const AES128_CTS_HMAC_SHA1_96: i32 = 17;
/// Encryption type aes256-cts-hmac-sha1-96.
pub const AES256_CTS_HMAC_SHA1_96: i32 = 18;

const KEY_USAGE_TICKET: u32 = 2;
const BLOCK: usize = 16;
const MAC_LEN: usize = 12;
/// Random bytes that begin the plain text, so that equal tickets differ when sealed.
pub const CONFOUNDER_LEN: usize = BLOCK;

/// A cipher text that this key did not make, or that was changed on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes were not made with this key")]
pub struct NotSealedWithThisKey;

enum Aes {
    Short(Box<Aes128>),
    Long(Box<Aes256>),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Aes> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(|aes| Aes::Short(Box::new(aes))),
            32 => Aes256::new_from_slice(key).ok().map(|aes| Aes::Long(Box::new(aes))),
            _ => None,
        }
    }

    fn encrypt(&self, block: &mut [u8; BLOCK]) {
        match self {
            Aes::Short(aes) => aes.encrypt_block(block.into()),
            Aes::Long(aes) => aes.encrypt_block(block.into()),
        }
    }

    fn decrypt(&self, block: &mut [u8; BLOCK]) {
        match self {
            Aes::Short(aes) => aes.decrypt_block(block.into()),
            Aes::Long(aes) => aes.decrypt_block(block.into()),
        }
    }
}

/// The length of a key of this encryption type, in bytes; `None` for a type that is not supported.
pub fn key_length(encryption_type: i32) -> Option<usize> {
    match encryption_type {
        AES128_CTS_HMAC_SHA1_96 => Some(16),
        AES256_CTS_HMAC_SHA1_96 => Some(32),
        _ => None,
    }
}

/// Seals a ticket body. `None` if the key has not 16 or 32 bytes.
pub fn encrypt_ticket(key: &[u8], confounder: [u8; CONFOUNDER_LEN], plain: &[u8]) -> Option<Vec<u8>> {
    let keys = TicketKeys::derive(key)?;
    let mut bytes = [&confounder, plain].concat();
    let mac = keys.mac(&bytes);
    cts_encrypt(&keys.encryption, &mut bytes);
    bytes.extend_from_slice(&mac);
    Some(bytes)
}

/// Opens a ticket body; compares the MAC in constant time before anything is looked at.
///
/// # Errors
/// The key did not seal these bytes.
pub fn decrypt_ticket(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotSealedWithThisKey> {
    decrypt_ticket_with_confounder(key, sealed).map(|(_, plain)| plain)
}

/// The same, with the random bytes that began the plain text.
///
/// # Errors
/// The key did not seal these bytes.
pub fn decrypt_ticket_with_confounder(
    key: &[u8],
    sealed: &[u8],
) -> Result<([u8; CONFOUNDER_LEN], Vec<u8>), NotSealedWithThisKey> {
    let keys = TicketKeys::derive(key).ok_or(NotSealedWithThisKey)?;
    let length =
        sealed.len().checked_sub(MAC_LEN).filter(|length| *length >= BLOCK).ok_or(NotSealedWithThisKey)?;
    let (sealed, mac) = sealed.split_at(length);
    let mut bytes = sealed.to_vec();
    cts_decrypt(&keys.encryption, &mut bytes);
    if !bool::from(keys.mac(&bytes).ct_eq(mac)) {
        return Err(NotSealedWithThisKey);
    }
    let (confounder, plain) = bytes.split_first_chunk().ok_or(NotSealedWithThisKey)?;
    Ok((*confounder, plain.to_vec()))
}

struct TicketKeys {
    encryption: Aes,
    integrity: Vec<u8>,
}

impl TicketKeys {
    fn derive(key: &[u8]) -> Option<TicketKeys> {
        Some(TicketKeys { encryption: Aes::new(&derive_key(key, 0xaa)?)?, integrity: derive_key(key, 0x55)? })
    }

    fn mac(&self, bytes: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.integrity).expect("HMAC takes a key of any length");
        mac.update(bytes);
        let mut out = [0; MAC_LEN];
        out.copy_from_slice(&mac.finalize().into_bytes()[..MAC_LEN]);
        out
    }
}

/// RFC 3961: the key for one use, from blocks that each encrypt the one before.
fn derive_key(key: &[u8], use_byte: u8) -> Option<Vec<u8>> {
    let aes = Aes::new(key)?;
    let mut constant = KEY_USAGE_TICKET.to_be_bytes().to_vec();
    constant.push(use_byte);
    let mut block = [0; BLOCK];
    n_fold(&constant, &mut block);
    let mut out = Vec::with_capacity(key.len());
    while out.len() < key.len() {
        aes.encrypt(&mut block);
        out.extend_from_slice(&block);
    }
    Some(out)
}

/// RFC 3961 n-fold: copies of `input`, each turned right by 13 bits more, added in ones' complement.
fn n_fold(input: &[u8], out: &mut [u8]) {
    let total = input.len() * out.len() / gcd(input.len(), out.len());
    let bits = input.len() * 8;
    let bit = |copy: usize, index: usize| {
        let source = (index + bits - (13 * copy) % bits) % bits;
        (input[source / 8] >> (7 - source % 8)) & 1
    };
    let mut sums = vec![0u32; out.len()];
    for at in 0..total {
        let (copy, within) = (at / input.len(), at % input.len());
        let byte = (0..8).fold(0u32, |byte, b| (byte << 1) | u32::from(bit(copy, within * 8 + b)));
        sums[at % out.len()] += byte;
    }
    // Carries run to the left and from the first byte around to the last, until there are none.
    while sums.iter().any(|sum| *sum > 0xff) {
        for at in (0..sums.len()).rev() {
            let carry = sums[at] >> 8;
            sums[at] &= 0xff;
            let left = if at == 0 { sums.len() - 1 } else { at - 1 };
            sums[left] += carry;
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = sum as u8;
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// CBC with ciphertext stealing and the last two blocks always swapped (CS3), zero initial vector, in place.
/// `bytes` has at least one block.
fn cts_encrypt(aes: &Aes, bytes: &mut [u8]) {
    let length = bytes.len();
    let mut padded = bytes.to_vec();
    padded.resize(length.next_multiple_of(BLOCK), 0);
    let mut previous = [0; BLOCK];
    for block in padded.as_chunks_mut::<BLOCK>().0 {
        xor_into(block, &previous);
        aes.encrypt(block);
        previous = *block;
    }
    if padded.len() > BLOCK {
        let last = padded.len() - BLOCK;
        let (head, tail) = padded.split_at_mut(last);
        head[last - BLOCK..].swap_with_slice(tail);
    }
    bytes.copy_from_slice(&padded[..length]);
}

/// Undoes [`cts_encrypt`].
fn cts_decrypt(aes: &Aes, bytes: &mut [u8]) {
    let length = bytes.len();
    let last = (length - 1) / BLOCK * BLOCK;
    let mut padded = bytes.to_vec();
    padded.resize(length.next_multiple_of(BLOCK), 0);
    if last > 0 {
        // The last but one on the wire is the true last block; what it decrypts to ends with the stolen bytes.
        let mut stolen = [0; BLOCK];
        stolen.copy_from_slice(&padded[last - BLOCK..last]);
        aes.decrypt(&mut stolen);
        padded[length..].copy_from_slice(&stolen[length - last..]);
        let (head, tail) = padded.split_at_mut(last);
        head[last - BLOCK..].swap_with_slice(tail);
    }
    let mut previous = [0; BLOCK];
    for block in padded.as_chunks_mut::<BLOCK>().0 {
        let sealed = *block;
        aes.decrypt(block);
        xor_into(block, &previous);
        previous = sealed;
    }
    bytes.copy_from_slice(&padded[..length]);
}

fn xor_into(block: &mut [u8; BLOCK], other: &[u8; BLOCK]) {
    for (byte, other) in block.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// The DES-like key for rxkad from a ticket's session key of another type: HMAC-MD5 in counter mode
/// (NIST SP 800-108) with label `rxkad`, the first result that is not a weak DES key.
pub fn derive_session_key(key: &[u8]) -> Option<SessionKey> {
    (1..=u8::MAX).find_map(|counter| {
        let mut mac = Hmac::<Md5>::new_from_slice(key).ok()?;
        mac.update(&[counter]);
        mac.update(b"rxkad\0");
        mac.update(&64u32.to_be_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        let key = SessionKey(bytes).with_odd_parity();
        (!WEAK_KEYS.contains(&u64::from_be_bytes(key.0))).then_some(key)
    })
}

/// The four weak and twelve half-weak keys of DES.
const WEAK_KEYS: [u64; 16] = [
    0x0101010101010101,
    0xfefefefefefefefe,
    0xe0e0e0e0f1f1f1f1,
    0x1f1f1f1f0e0e0e0e,
    0x01fe01fe01fe01fe,
    0xfe01fe01fe01fe01,
    0x1fe01fe00ef10ef1,
    0xe01fe01ff10ef10e,
    0x01e001e001f101f1,
    0xe001e001f101f101,
    0x1ffe1ffe0efe0efe,
    0xfe1ffe1ffe0efe0e,
    0x011f011f010e010e,
    0x1f011f010e010e01,
    0xe0fee0fef1fef1fe,
    0xfee0fee0fef1fef1,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// X5: the n-fold vectors of RFC 3961, appendix A.1.
    #[test]
    fn n_fold_gives_the_vectors_of_rfc_3961() {
        let mut out = [0; 8];
        n_fold(b"012345", &mut out);
        assert_eq!(out.to_vec(), hex("be072631276b1955"));
        let mut out = [0; 7];
        n_fold(b"password", &mut out);
        assert_eq!(out.to_vec(), hex("78a07b6caf85fa"));
        let mut out = [0; 16];
        n_fold(b"kerberos", &mut out);
        assert_eq!(out.to_vec(), hex("6b65726265726f737b9b5b2b93132b93"));
    }

    /// X5: the ciphertext-stealing vectors of RFC 3962, appendix B (17, 31, 32 and 47 bytes).
    #[test]
    fn ciphertext_stealing_gives_the_vectors_of_rfc_3962() {
        let aes = Aes::new(b"chicken teriyaki").unwrap();
        let text = b"I would like the General Gau's Chicken, please, and wonton soup.";
        let cases = [
            (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
            (31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"),
            (32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"),
            (
                47,
                "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5",
            ),
        ];
        for (length, sealed) in cases {
            let mut bytes = text[..length].to_vec();
            cts_encrypt(&aes, &mut bytes);
            assert_eq!(bytes, hex(sealed), "{length} bytes");
            cts_decrypt(&aes, &mut bytes);
            assert_eq!(bytes, text[..length]);
        }
    }

    /// X5: a changed bit anywhere in a sealed ticket is noticed.
    #[test]
    fn a_changed_ticket_does_not_open() {
        let key = [7; 32];
        let sealed = encrypt_ticket(&key, [9; 16], b"some ticket of any length").unwrap();
        assert_eq!(decrypt_ticket(&key, &sealed).unwrap(), b"some ticket of any length");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x10;
            assert_eq!(decrypt_ticket(&key, &changed), Err(NotSealedWithThisKey), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(decrypt_ticket(&key, &sealed[..length]).is_err(), "{length} bytes");
        }
    }
}
