//! Sealing: HPKE in base mode (RFC 9180) with X-Wing, HKDF-SHA-256 and ChaCha20-Poly1305 to a key, and
//! ChaCha20-Poly1305 (RFC 8439) under a key that seals exactly once.

use crate::keys::Secret;
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305 as HpkeAead,
    kdf::HkdfSha256, kem::XWing,
};

/// Octets of an X-Wing public key.
pub const PUBLIC_KEY_OCTETS: usize = 1216;
/// Octets of an X-Wing encapsulation.
pub const ENCAPSULATED_OCTETS: usize = 1120;
/// Octets that an AEAD adds.
pub const TAG_OCTETS: usize = 16;
/// What sealing to a key adds to a message, in octets.
pub const SEALED_TO_OVERHEAD: usize = ENCAPSULATED_OCTETS + TAG_OCTETS;

/// Why something did not open. Says nothing about where it failed, so that nothing is learned from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed octets do not open: wrong key, wrong context, or altered")]
pub struct NotOpened;

/// A public key that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X-Wing public key: {PUBLIC_KEY_OCTETS} octets of X25519 and ML-KEM-768 are expected")]
pub struct BadPublicKey;

type PrivateKey = <XWing as hpke::Kem>::PrivateKey;

/// Opens what was sealed to its public key. Never shown by `Debug`.
#[derive(Clone)]
pub struct Opener {
    private: PrivateKey,
    seed: Secret,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener(..)")
    }
}

impl Opener {
    /// A fresh random key.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_seed(Secret::generate())
    }

    /// The key whose 32-octet private seed this is (draft-connolly-cfrg-xwing-kem §5.2).
    ///
    /// # Panics
    /// Never: any 32 octets are a seed.
    #[must_use]
    pub fn from_seed(seed: Secret) -> Self {
        let private = PrivateKey::from_bytes(seed.expose()).expect("an X-Wing private key is any 32 octets");
        Self { private, seed }
    }

    /// The private seed, to be kept wrapped.
    #[must_use]
    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        XWing::sk_to_pk(&self.private).to_bytes().to_vec()
    }

    /// Opens `sealed` (encapsulation, then ciphertext).
    ///
    /// # Errors
    /// [`NotOpened`] whatever the reason.
    pub fn open(&self, info: &[u8], associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(ENCAPSULATED_OCTETS).ok_or(NotOpened)?;
        let encapsulated = <XWing as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| NotOpened)?;
        hpke::single_shot_open::<HpkeAead, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            info,
            ciphertext,
            associated,
        )
        .map_err(|_| NotOpened)
    }
}

/// Seals `plain` to `public`: encapsulation, then ciphertext.
///
/// # Errors
/// [`BadPublicKey`] when `public` is not a key.
pub fn seal_to(public: &[u8], info: &[u8], associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, BadPublicKey> {
    let public = <XWing as hpke::Kem>::PublicKey::from_bytes(public).map_err(|_| BadPublicKey)?;
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<HpkeAead, HkdfSha256, XWing>(&OpModeS::Base, &public, info, plain, associated)
            .map_err(|_| BadPublicKey)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Seals `plain` under a key that serves only this once (the nonce is zero: RFC 8439 §4 asks that a key and nonce
/// never repeat together).
#[must_use]
pub fn seal_once(key: &Secret, associated: &[u8], plain: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.expose().into())
        .encrypt(&[0u8; 12].into(), Payload { msg: plain, aad: associated })
        .expect("a record is far shorter than the cipher's 256 GiB")
}

/// Opens what [`seal_once`] sealed.
///
/// # Errors
/// [`NotOpened`] whatever the reason.
pub fn open_once(key: &Secret, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
    ChaCha20Poly1305::new(key.expose().into())
        .decrypt(&[0u8; 12].into(), Payload { msg: sealed, aad: associated })
        .map_err(|_| NotOpened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_to_a_key_opens_with_it_in_its_context_only() {
        let opener = Opener::generate();
        let sealed = seal_to(&opener.public(), b"info", b"aad", b"message").unwrap();
        assert_eq!(sealed.len(), b"message".len() + SEALED_TO_OVERHEAD);
        assert_eq!(opener.public().len(), PUBLIC_KEY_OCTETS);
        assert_eq!(opener.open(b"info", b"aad", &sealed).unwrap(), b"message");
        assert!(opener.open(b"info", b"other", &sealed).is_err());
        assert!(opener.open(b"other", b"aad", &sealed).is_err());
        assert!(Opener::generate().open(b"info", b"aad", &sealed).is_err());
        for at in [0, ENCAPSULATED_OCTETS, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(opener.open(b"info", b"aad", &altered).is_err());
        }
        assert!(opener.open(b"info", b"aad", &sealed[..100]).is_err());
        assert!(seal_to(&[1; 5], b"", b"", b"").is_err());
    }

    #[test]
    fn a_record_opens_under_its_own_key_only() {
        let key = Secret::generate();
        let sealed = seal_once(&key, b"a", b"plain");
        assert_eq!(open_once(&key, b"a", &sealed).unwrap(), b"plain");
        assert!(open_once(&key, b"b", &sealed).is_err());
        assert!(open_once(&Secret::generate(), b"a", &sealed).is_err());
    }
}
