//! The keys of a member: all that must outlive a lost disk grows from one seed in its key file.

use crate::{
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    hash::{Hash, prf},
    seal::{NotOpened, open_once, seal_once},
    sign::Signer,
    strand::StrandKey,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret octets; wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Fresh random octets.
    #[must_use]
    pub fn generate() -> Self {
        Self(crate::random())
    }

    /// These octets.
    #[must_use]
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Another secret derived from this one: `PRF(self, tag, fields…)`.
    #[must_use]
    pub fn derive(&self, tag: &str, fields: &[&[u8]]) -> Self {
        Self(prf(&self.0, tag, fields))
    }
}

/// The pad of generation zero: 32 zero octets, recorded as such, until members share random ones.
pub const PAD_0: Hash = [0; 32];

/// A member's seed and what follows from it.
#[derive(Debug, Clone)]
pub struct Seed(Secret);

impl Seed {
    /// The seed in the key file.
    #[must_use]
    pub fn new(seed: Secret) -> Self {
        Self(seed)
    }

    /// The identity key: signs transactions, messages to members, receipts.
    #[must_use]
    pub fn identity(&self) -> Signer {
        Signer::from_seed(self.0.derive("identity", &[]).expose())
    }

    /// The key of the manifest strand, from which a rebuilt member finds everything again.
    #[must_use]
    pub fn manifest(&self) -> StrandKey {
        StrandKey::from(self.0.derive("manifest", &[]))
    }

    /// `KEK_g`: what wraps all else in generation `g` of pads.
    #[must_use]
    pub fn wrapping(&self, generation: u32, pad: &Hash) -> WrappingKey {
        WrappingKey { generation, key: self.0.derive("kek", &[&generation.to_be_bytes(), pad]) }
    }
}

/// Wraps secrets for storage. Each context must wrap one secret only: the context makes the key.
#[derive(Debug, Clone)]
pub struct WrappingKey {
    generation: u32,
    key: Secret,
}

/// A wrapped secret: 48 octets and the generation of the pad behind its key.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Wrapped {
    /// Generation of the pad.
    pub generation: u32,
    /// Ciphertext and tag.
    pub sealed: [u8; 48],
    /// What keeps two wrappings in one context apart.
    pub nonce: [u8; 32],
}
crate::format!(Wrapped, 84);

impl WrappingKey {
    /// Wraps `secret` for `context`.
    #[must_use]
    pub fn wrap(&self, context: &[u8], secret: &Secret) -> Wrapped {
        let nonce: [u8; 32] = crate::random();
        let sealed = seal_once(&self.key.derive("wrap", &[context, &nonce]), context, secret.expose());
        let sealed = sealed.try_into().expect("32 octets and a tag of 16");
        Wrapped { generation: self.generation, sealed, nonce }
    }

    /// Unwraps a secret of `context`.
    ///
    /// # Errors
    /// [`NotOpened`] for another key, generation or context, or an altered secret.
    pub fn unwrap(&self, context: &[u8], wrapped: &Wrapped) -> Result<Secret, NotOpened> {
        if wrapped.generation != self.generation {
            return Err(NotOpened);
        }
        let key = self.key.derive("wrap", &[context, &wrapped.nonce]);
        let plain = open_once(&key, context, &wrapped.sealed)?;
        Ok(Secret(plain.try_into().map_err(|_| NotOpened)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_secret_opens_in_its_context_and_generation_only() {
        let seed = Seed::new(Secret::new([3; 32]));
        let kek = seed.wrapping(0, &PAD_0);
        let secret = Secret::generate();
        let wrapped = kek.wrap(b"here", &secret);
        assert_eq!(kek.unwrap(b"here", &wrapped).unwrap(), secret);
        assert!(kek.unwrap(b"there", &wrapped).is_err());
        assert!(seed.wrapping(1, &PAD_0).unwrap(b"here", &wrapped).is_err());
        assert!(seed.wrapping(0, &[1; 32]).unwrap(b"here", &wrapped).is_err());
    }

    #[test]
    fn the_seeds_keys_differ_from_one_another() {
        let seed = Seed::new(Secret::new([3; 32]));
        assert_ne!(seed.identity().public(), Seed::new(Secret::new([4; 32])).identity().public());
        assert_ne!(seed.manifest().secret().expose(), seed.wrapping(0, &PAD_0).key.expose());
    }
}
