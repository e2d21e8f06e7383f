//! The genesis: which members a network begins with, and its parameters. Its hash names the network.

use crate::{
    codec::{DecodeError, Format as _, TlsDeserialize, TlsSerialize, TlsSize},
    hash::{Hash, hash},
    seal::PUBLIC_KEY_OCTETS,
    sign::{Network, PublicKey},
};

/// The format written today.
pub const FORMAT: u8 = 1;
/// A network begins with at most this many members.
pub const MEMBERS_MAX: usize = 32;

/// What kind of organisation a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Kind {
    /// A hospital.
    Hospital = 1,
    /// A laboratory.
    Laboratory = 2,
    /// A clinic or practice.
    Clinic = 3,
    /// A public-health office.
    PublicHealth = 4,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Hospital, Self::Laboratory, Self::Clinic, Self::PublicHealth];

    /// The kind's name in configuration and `network.json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hospital => "hospital",
            Self::Laboratory => "laboratory",
            Self::Clinic => "clinic",
            Self::PublicHealth => "public-health",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }
}

/// A member as the network knows it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Member {
    /// Its number, never reused.
    pub number: u32,
    /// Short name: lower-case letters, digits and `-`, at most 32.
    #[tls_codec(with = "crate::codec::text")]
    pub name: String,
    /// Title that people read, at most 100 characters.
    #[tls_codec(with = "crate::codec::text")]
    pub title: String,
    /// Kind of organisation.
    pub kind: Kind,
    /// Identity key (Ed25519): signs transactions and messages.
    pub identity: PublicKey,
    /// Consensus key (Ed25519): votes, and is the transport key of the engine.
    pub consensus: PublicKey,
    /// HPKE key (X-Wing), 1,216 octets.
    #[tls_codec(with = "crate::codec::octets")]
    pub hpke: Vec<u8>,
    /// Whether it validates from the start.
    #[tls_codec(with = "crate::codec::flag")]
    pub validator: bool,
}

/// Parameters of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Parameters {
    /// Seconds between two batches of a member's record pages.
    pub interval_s: u32,
    /// Least number of entries in such a batch; a power of two.
    pub bucket: u32,
    /// Blocks in an epoch of one validator set.
    pub blocks_per_epoch: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { interval_s: 600, bucket: 8, blocks_per_epoch: 1 << 40 }
    }
}

/// The beginning of a network.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Genesis {
    /// [`FORMAT`].
    pub format: u8,
    /// Name of the network, for people.
    #[tls_codec(with = "crate::codec::text")]
    pub network: String,
    /// When it was made, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Random octets, so that two networks of the same members differ.
    pub nonce: Hash,
    /// Parameters.
    pub parameters: Parameters,
    /// Members by rising number.
    pub members: Vec<Member>,
}
crate::format!(Genesis, 128 * 1024, check);

fn check(genesis: &Genesis) -> Result<(), DecodeError> {
    let broken = |reason: &str| Err(DecodeError::malformed("Genesis", reason));
    if genesis.format != FORMAT {
        return broken("format is not 1");
    }
    if genesis.members.is_empty() || genesis.members.len() > MEMBERS_MAX {
        return broken("a network begins with 1 to 32 members");
    }
    if !genesis.members.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return broken("members are not in order of their numbers");
    }
    if !genesis.members.iter().any(|m| m.validator) {
        return broken("no member validates");
    }
    if !genesis.parameters.bucket.is_power_of_two() || genesis.parameters.bucket > 256 {
        return broken("bucket is not a power of two up to 256");
    }
    if genesis.parameters.interval_s == 0 || genesis.parameters.blocks_per_epoch == 0 {
        return broken("interval and blocks per epoch are at least 1");
    }
    let mut names = std::collections::BTreeSet::new();
    let mut keys = std::collections::BTreeSet::new();
    for member in &genesis.members {
        let name = &member.name;
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if name.is_empty() || name.len() > 32 || !plain || !names.insert(name) {
            return broken("a member's name is taken, or not 1 to 32 of a-z, 0-9, '-'");
        }
        if member.title.is_empty() || member.title.chars().count() > 100 {
            return broken("a member's title is not 1 to 100 characters");
        }
        if member.hpke.len() != PUBLIC_KEY_OCTETS {
            return broken("a member's HPKE key is not 1,216 octets");
        }
        if !keys.insert(member.identity) || !keys.insert(member.consensus) {
            return broken("a key serves twice");
        }
    }
    Ok(())
}

impl Genesis {
    /// The network's name in everything that is signed: `H("genesis", octets)`.
    #[must_use]
    pub fn id(&self) -> Hash {
        hash("genesis", &[&self.to_octets()])
    }

    /// The network in its first era.
    #[must_use]
    pub fn network(&self) -> Network {
        Network { genesis: self.id(), era: 0 }
    }

    /// The member with this number.
    #[must_use]
    pub fn member(&self, number: u32) -> Option<&Member> {
        self.members.iter().find(|m| m.number == number)
    }

    /// The member with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }
}
