//! Signatures: Ed25519 over `("suture/1", type, network, era, fields…)`, verified strictly.
//!
//! `verify_strict` everywhere: two members must never disagree about a signature.

use crate::hash::{Hash, hash};
use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};

/// Octets of a signature (RFC 8032).
pub type Signature = [u8; 64];
/// Octets of a public key (RFC 8032).
pub type PublicKey = [u8; 32];

/// Which network and which of its eras a signature belongs to; a recovery of the network raises the era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// [`crate::genesis::Genesis::id`].
    pub genesis: Hash,
    /// Zero until a network is recovered.
    pub era: u32,
}

/// A signing key. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", data_encoding::HEXLOWER.encode(&self.public()))
    }
}

impl Signer {
    /// The key whose seed these 32 octets are.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs the fields as a message of type `kind` in `network`.
    #[must_use]
    pub fn sign(&self, network: Network, kind: &str, fields: &[&[u8]]) -> Signature {
        self.0.sign(&input(network, kind, fields)).to_bytes()
    }
}

/// Whether `signature` is `key`'s over these fields.
#[must_use]
pub fn verify(key: &PublicKey, network: Network, kind: &str, fields: &[&[u8]], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|k| k.verify_strict(&input(network, kind, fields), &DalekSignature::from_bytes(signature)).is_ok())
}

/// What is signed: the hash of all that it means. Fields may be long (a page, a pack), so they are hashed first.
fn input(network: Network, kind: &str, fields: &[&[u8]]) -> Hash {
    let era = network.era.to_be_bytes();
    let mut all: Vec<&[u8]> = vec![kind.as_bytes(), &network.genesis, &era];
    all.extend_from_slice(fields);
    hash("suture/1", &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_one_type_network_era_and_content_only() {
        let signer = Signer::from_seed(&[7; 32]);
        let network = Network { genesis: [1; 32], era: 0 };
        let signature = signer.sign(network, "grant", &[b"terms"]);
        let key = signer.public();
        assert!(verify(&key, network, "grant", &[b"terms"], &signature));
        assert!(!verify(&key, network, "revoke", &[b"terms"], &signature));
        assert!(!verify(&key, network, "grant", &[b"term"], &signature));
        assert!(!verify(&key, Network { era: 1, ..network }, "grant", &[b"terms"], &signature));
        assert!(!verify(&key, Network { genesis: [2; 32], era: 0 }, "grant", &[b"terms"], &signature));
        assert!(!verify(&[0; 32], network, "grant", &[b"terms"], &signature));
    }
}
