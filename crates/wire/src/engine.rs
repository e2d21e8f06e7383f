//! The engine's part of a proof: block headers, finalization certificates, and places in the authenticated state.
//!
//! The one module of this crate that names the engine's types. An independent verifier, written from
//! `docs/formats.md`, can take its place: [`verify`] is all that the rest of the crate uses. It starts no runtime.

mod header;

pub use header::{Digest, Header, Proposer, Set, Target, context_genesis, digest, set_of, state_root};

use crate::{
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    genesis::Genesis,
    hash::Hash,
    state::{Key, Value},
};
use commonware_codec::{Encode, Read as _};
use commonware_consensus::simplex::{scheme::ed25519::Scheme, types::Finalization};
use commonware_cryptography::{Sha256, certificate::Verifier as _};
use commonware_parallel::Sequential;
use commonware_storage::{
    mmr,
    qmdb::{
        any::value::FixedEncoding,
        current::ordered::proof::constant::{ExclusionProof, KeyValueProof},
    },
};
use commonware_utils::sequence::FixedBytes;
use std::collections::BTreeMap;

/// A value as the engine's state keeps it.
pub type Stored = FixedBytes<64>;
/// Octets of a chunk of the state's activity bitmap.
pub const CHUNK: usize = 32;
/// Format of a proof of one key.
const PROOF_QMDB_1: u8 = 1;
/// A proof of one key has at most this many digests: a state of 2^64 operations has fewer.
const DIGESTS_MAX: usize = 256;
/// At most this many headers lead from the proved block to a certified one.
const LINKS_MAX: usize = 256;

/// That a key is in the state with a value, or is not in it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct KeyProof {
    /// 1: presence or absence in an ordered `current` database.
    pub format: u8,
    /// The key.
    pub key: Key,
    /// Its value, or none.
    pub value: Option<Value>,
    /// The engine's proof.
    #[tls_codec(with = "crate::codec::octets")]
    pub proof: Vec<u8>,
}

impl KeyProof {
    /// The proof that `key` has `value`.
    #[must_use]
    pub fn present(key: Key, value: Value, proof: &KeyValueProof<mmr::Family, Digest, Digest, CHUNK>) -> Self {
        Self { format: PROOF_QMDB_1, key, value: Some(value), proof: proof.encode().into() }
    }

    /// The proof that `key` is absent.
    #[must_use]
    pub fn absent(key: Key, proof: &Exclusion) -> Self {
        Self { format: PROOF_QMDB_1, key, value: None, proof: proof.encode().into() }
    }
}

/// The engine's proof of absence.
pub type Exclusion = ExclusionProof<mmr::Family, Digest, FixedEncoding<Stored>, Digest, CHUNK>;

/// A finalized block's header in octets, embedded.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct HeaderOctets {
    /// The header.
    #[tls_codec(with = "crate::codec::octets")]
    pub octets: Vec<u8>,
}

/// One change of the validator set: the header that announces the next set, certified by the set before.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct SetLink {
    /// The last header of an epoch.
    pub header: HeaderOctets,
    /// Its certificate.
    #[tls_codec(with = "crate::codec::octets")]
    pub certificate: Vec<u8>,
}

/// Values and absences at one state root, down from a certificate.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct StateProof {
    /// Header of the block whose state is proved.
    pub header: HeaderOctets,
    /// Headers of its descendants up to the certified one, when it has no certificate itself.
    pub links: Vec<HeaderOctets>,
    /// One link for each change of the validator set since genesis.
    pub sets: Vec<SetLink>,
    /// Finalization certificate of the last header.
    #[tls_codec(with = "crate::codec::octets")]
    pub certificate: Vec<u8>,
    /// Root of `registry`.
    pub registry_root: Hash,
    /// Root of `strands`.
    pub strands_root: Hash,
    /// Keys of `registry`, rising.
    pub registry: Vec<KeyProof>,
    /// Keys of `strands`, rising.
    pub strands: Vec<KeyProof>,
}
crate::format!(StateProof, 128 << 20);

/// What a [`StateProof`] proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Height of the state.
    pub height: u64,
    /// Its block's time, milliseconds since 1970 UTC.
    pub time_ms: u64,
    /// Root of the state.
    pub state_root: Hash,
    /// Values and absences in `registry`.
    pub registry: BTreeMap<Key, Option<Value>>,
    /// Values and absences in `strands`.
    pub strands: BTreeMap<Key, Option<Value>>,
}

/// Why a state is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Octets that are not what they should be, or not in their one form.
    #[error("{0} is malformed or not canonical")]
    Malformed(&'static str),
    /// A header of another network or of a format that is not known.
    #[error("a header belongs to another network or format")]
    WrongNetwork,
    /// A header does not follow the one in front of it.
    #[error("the headers are not a chain")]
    Unlinked,
    /// The certificate is not one of the network's validators over the last header.
    #[error("the certificate does not finalize the header")]
    NotFinalized,
    /// The two roots are not those of the header.
    #[error("the roots are not those of the header")]
    WrongRoots,
    /// Keys that are not strictly rising.
    #[error("keys are not strictly rising")]
    Unsorted,
    /// A key's proof does not lead to the root.
    #[error("the proof of a key does not lead to the state's root")]
    WrongKey,
}

/// Checks a state proof for the network of `genesis`.
///
/// # Errors
/// [`ProofError`] with the first thing that does not hold.
pub fn verify(genesis: &Genesis, proof: &StateProof) -> Result<Verified, ProofError> {
    let id = genesis.id();
    let header = Header::from_octets(&proof.header.octets)?;
    let mut last = (header.clone(), digest(&header));
    if proof.links.len() > LINKS_MAX {
        return Err(ProofError::Malformed("the chain of headers"));
    }
    let mut headers = vec![header.clone()];
    for link in &proof.links {
        let next = Header::from_octets(&link.octets)?;
        if next.parent != last.1 || next.height.get() != last.0.height.get() + 1 {
            return Err(ProofError::Unlinked);
        }
        last = (next.clone(), digest(&next));
        headers.push(next);
    }
    if headers.iter().any(|h| h.network.0 != id || h.format != header::FORMAT) {
        return Err(ProofError::WrongNetwork);
    }
    let set = validators(genesis, &proof.sets)?;
    let certificate = certificate(&proof.certificate)?;
    if certificate.proposal.payload != last.1 || !finalizes(genesis, &certificate, set) {
        return Err(ProofError::NotFinalized);
    }
    if state_root(&proof.registry_root, &proof.strands_root) != header.state_root.0 {
        return Err(ProofError::WrongRoots);
    }
    Ok(Verified {
        height: header.height.get(),
        time_ms: header.timestamp_ms,
        state_root: header.state_root.0,
        registry: keys(&proof.registry_root, &proof.registry)?,
        strands: keys(&proof.strands_root, &proof.strands)?,
    })
}

/// The namespace under which a network's validators sign: its genesis.
#[must_use]
pub fn namespace(genesis: &Hash) -> Vec<u8> {
    [b"suture/1/consensus/".as_slice(), genesis].concat()
}

/// Whether `certificate` is one of the validators in `set`.
#[must_use]
pub fn finalizes(genesis: &Genesis, certificate: &Finalization<Scheme, Digest>, set: Set) -> bool {
    let scheme = Scheme::verifier(&namespace(&genesis.id()), set);
    certificate.verify(&mut rand::rng(), &scheme, &Sequential)
}

/// The set in force after all changes. Membership does not change yet, so there must be none.
fn validators(genesis: &Genesis, sets: &[SetLink]) -> Result<Set, ProofError> {
    if !sets.is_empty() {
        return Err(ProofError::Malformed("the chain of validator sets"));
    }
    set_of(genesis).ok_or(ProofError::Malformed("a validator's key"))
}

fn certificate(octets: &[u8]) -> Result<Finalization<Scheme, Digest>, ProofError> {
    let malformed = || ProofError::Malformed("the certificate");
    let buffer = octets;
    let config = Scheme::certificate_codec_config_unbounded();
    let value = Finalization::<Scheme, Digest>::read_cfg(&mut commonware_codec::Copying(buffer), &config);
    let value = value.map_err(|_| malformed())?;
    if value.encode() != octets { Err(malformed()) } else { Ok(value) }
}

fn keys(root: &Hash, proofs: &[KeyProof]) -> Result<BTreeMap<Key, Option<Value>>, ProofError> {
    if !proofs.windows(2).all(|pair| pair[0].key < pair[1].key) {
        return Err(ProofError::Unsorted);
    }
    let root = Digest::from(*root);
    let mut found = BTreeMap::new();
    for KeyProof { format, key, value, proof } in proofs {
        if *format != PROOF_QMDB_1 {
            return Err(ProofError::Malformed("the format of a key's proof"));
        }
        let holds = match value {
            Some(value) => {
                let proof = decode::<KeyValueProof<mmr::Family, Digest, Digest, CHUNK>>(proof, &(DIGESTS_MAX, ()))?;
                proof.verify::<Sha256, FixedEncoding<Stored>>(Digest::from(*key), Stored::new(*value), &root)
            }
            None => {
                let proof = decode::<Exclusion>(proof, &(DIGESTS_MAX, (), ()))?;
                proof.verify::<Sha256>(&Digest::from(*key), &root)
            }
        };
        if !holds {
            return Err(ProofError::WrongKey);
        }
        found.insert(*key, *value);
    }
    Ok(found)
}

fn decode<T: commonware_codec::Read + Encode>(octets: &[u8], config: &T::Cfg) -> Result<T, ProofError> {
    let malformed = || ProofError::Malformed("the proof of a key");
    let buffer = octets;
    let value = T::read_cfg(&mut commonware_codec::Copying(buffer), config).map_err(|_| malformed())?;
    if value.encode() != octets { Err(malformed()) } else { Ok(value) }
}
