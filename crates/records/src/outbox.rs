//! What is written down in the same database transaction as a change, so that the worker seals and anchors it later.

use store::NewOutbox;
use wire::{
    Format as _,
    codec::{TlsDeserialize, TlsSerialize, TlsSize},
    strand::StrandKind,
};

/// Rows that wait for the interval.
pub(crate) const LANE_RECORDS: u8 = 0;
/// Rows that a reader waits for.
pub(crate) const LANE_ACCESS: u8 = 1;

/// Which strand a row is for. The strand is made when its first row is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StrandName {
    pub(crate) kind: StrandKind,
    pub(crate) owner: String,
}

impl StrandName {
    pub(crate) fn records(owner: &str) -> Self {
        Self { kind: StrandKind::Records, owner: owner.into() }
    }

    pub(crate) fn accesses(owner: &str) -> Self {
        Self { kind: StrandKind::Accesses, owner: owner.into() }
    }

    pub(crate) fn holders(owner: &str) -> Self {
        Self { kind: StrandKind::Holders, owner: owner.into() }
    }

    pub(crate) fn own() -> Self {
        Self { kind: StrandKind::Own, owner: String::new() }
    }

    pub(crate) fn to_octets(&self) -> Vec<u8> {
        let mut octets = vec![self.kind as u8];
        octets.extend_from_slice(self.owner.as_bytes());
        octets
    }

    pub(crate) fn from_octets(octets: &[u8]) -> Option<Self> {
        let (kind, owner) = octets.split_first()?;
        let kinds =
            [StrandKind::Records, StrandKind::Accesses, StrandKind::Holders, StrandKind::Own, StrandKind::Manifest];
        let kind = kinds.into_iter().find(|k| *k as u8 == *kind)?;
        Some(Self { kind, owner: String::from_utf8(owner.to_vec()).ok()? })
    }
}

/// What to enter.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub(crate) enum Work {
    /// A version of a resource.
    #[tls_codec(discriminant = 1)]
    Resource {
        #[tls_codec(with = "wire::codec::text")]
        resource_type: String,
        #[tls_codec(with = "wire::codec::text")]
        id: String,
        version: u32,
    },
    /// A document of the member, as it is when the row is taken.
    Document {
        #[tls_codec(with = "wire::codec::text")]
        space: String,
        #[tls_codec(with = "wire::codec::octets")]
        key: Vec<u8>,
    },
    /// An item.
    Item {
        #[tls_codec(with = "wire::codec::octets")]
        payload: Vec<u8>,
    },
    /// Nothing but the strand's opening.
    Open,
    /// A resource left the record with this version: in the strand it is entered as a deletion.
    Removed {
        #[tls_codec(with = "wire::codec::text")]
        resource_type: String,
        #[tls_codec(with = "wire::codec::text")]
        id: String,
        version: u32,
    },
}
wire::format!(Work, wire::strand::PAYLOAD_OCTETS_MAX + 64);

impl Work {
    pub(crate) fn document(space: &str, key: &[u8]) -> Self {
        Self::Document { space: space.into(), key: key.to_vec() }
    }

    /// The row for the outbox.
    pub(crate) fn row(&self, lane: u8, strand: &StrandName) -> NewOutbox {
        NewOutbox { lane, strand: strand.to_octets(), payload: self.to_octets() }
    }
}

/// A record in clear, as it is sealed: one octet for what it is, then its octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plain<'a> {
    /// A resource's JSON, as served.
    Resource(&'a [u8]),
    /// A deletion: `Type/id/_history/version`.
    Deletion(&'a [u8]),
    /// A document of the member.
    Document(&'a [u8]),
}

impl<'a> Plain<'a> {
    pub(crate) fn to_octets(&self) -> Vec<u8> {
        let (kind, octets) = match self {
            Self::Resource(octets) => (1, octets),
            Self::Deletion(octets) => (2, octets),
            Self::Document(octets) => (3, octets),
        };
        let mut all = Vec::with_capacity(octets.len() + 1);
        all.push(kind);
        all.extend_from_slice(octets);
        all
    }

    pub(crate) fn from_octets(octets: &'a [u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first()?;
        match kind {
            1 => Some(Self::Resource(rest)),
            2 => Some(Self::Deletion(rest)),
            3 => Some(Self::Document(rest)),
            _ => None,
        }
    }
}
