//! Calls between members. Each is an HTTP POST whose body is one of these formats, signed by the caller's identity
//! key over `("call", method, from, to, nonce, time, H(body))`; the answer is signed over the call and its body.

use crate::{
    codec::{DecodeError, TlsDeserialize, TlsSerialize, TlsSize},
    hash::{Hash, hash},
    sign::{Network, PublicKey, Signature, Signer, verify},
    strand::{OpenedPage, StrandKey, StrandKind},
};

/// A call's body has at most this many octets: a pack and its frame, or a release.
pub const CALL_OCTETS_MAX: usize = 66 << 20;
/// A call is refused when its time differs from the callee's clock by more, in milliseconds.
pub const CALL_AGE_MS_MAX: u64 = 60_000;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Keep a pack: [`PutPack`] → [`Receipt`].
    PutPack,
    /// Give a pack: [`GetPack`] → the pack's octets.
    GetPack,
    /// Keep a manifest page under its name: [`PutManifest`] → [`Receipt`].
    PutManifest,
    /// Give the caller's slot of a finalized request: [`GetSlot`] → [`SlotAnswer`].
    GetSlot,
    /// Take the answer to a request: [`PutRelease`] → nothing.
    PutRelease,
    /// Enrol a patient under a one-time code: [`Sealed`] [`EnrolAsk`] → [`Sealed`] [`EnrolAnswer`].
    Enrol,
    /// Open the access strand of a patient from an entry on: [`Sealed`] [`AccessesAsk`] → [`Sealed`] [`AccessesAnswer`].
    Accesses,
    /// Answer when a height is processed: [`Await`] → [`Await`].
    Await,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 8] = [
        Self::PutPack,
        Self::GetPack,
        Self::PutManifest,
        Self::GetSlot,
        Self::PutRelease,
        Self::Enrol,
        Self::Accesses,
        Self::Await,
    ];

    /// The last segment of its path: `/peer/v1/<name>`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PutPack => "put-pack",
            Self::GetPack => "get-pack",
            Self::PutManifest => "put-manifest",
            Self::GetSlot => "get-slot",
            Self::PutRelease => "put-release",
            Self::Enrol => "enrol",
            Self::Accesses => "accesses",
            Self::Await => "await",
        }
    }

    /// The method with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// Who calls whom, when: what the caller's signature covers beside method and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The caller.
    pub from: u32,
    /// The callee.
    pub to: u32,
    /// Serves once.
    pub nonce: [u8; 16],
    /// The caller's clock, milliseconds since 1970 UTC.
    pub time_ms: u64,
}

impl Call {
    /// Signs a call.
    #[must_use]
    pub fn sign(&self, signer: &Signer, network: Network, method: Method, body: &[u8]) -> Signature {
        signer.sign(network, "call", &[&self.digest(method, body)])
    }

    /// Whether `key` signed this call.
    #[must_use]
    pub fn signed_by(&self, key: &PublicKey, network: Network, method: Method, body: &[u8], by: &Signature) -> bool {
        verify(key, network, "call", &[&self.digest(method, body)], by)
    }

    /// Signs the answer to this call.
    #[must_use]
    pub fn sign_answer(
        &self,
        signer: &Signer,
        network: Network,
        method: Method,
        call: &[u8],
        answer: &[u8],
    ) -> Signature {
        signer.sign(network, "answer", &[&self.digest(method, call), &hash("answer", &[answer])])
    }

    /// Whether `key` signed this answer to this call.
    #[must_use]
    pub fn answer_signed_by(
        &self,
        key: &PublicKey,
        network: Network,
        (method, call): (Method, &[u8]),
        answer: &[u8],
        by: &Signature,
    ) -> bool {
        verify(key, network, "answer", &[&self.digest(method, call), &hash("answer", &[answer])], by)
    }

    /// What sealing this call's body and its answer is bound to: so that nobody passes on what was sealed in another's
    /// call.
    #[must_use]
    pub fn associated(&self, network: Network, method: Method) -> Vec<u8> {
        let Self { from, to, nonce, time_ms } = self;
        let fields: [&[u8]; 7] = [
            &network.genesis,
            &network.era.to_be_bytes(),
            method.name().as_bytes(),
            &from.to_be_bytes(),
            &to.to_be_bytes(),
            nonce,
            &time_ms.to_be_bytes(),
        ];
        hash("call-context", &fields).to_vec()
    }

    fn digest(&self, method: Method, body: &[u8]) -> Hash {
        let Self { from, to, nonce, time_ms } = self;
        let body = hash("call-body", &[body]);
        let fields: [&[u8]; 6] =
            [method.name().as_bytes(), &from.to_be_bytes(), &to.to_be_bytes(), nonce, &time_ms.to_be_bytes(), &body];
        hash("call", &fields)
    }
}

/// Octets to keep as they are.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct PutPack {
    /// The pack.
    #[tls_codec(with = "crate::codec::octets")]
    pub octets: Vec<u8>,
}
crate::format!(PutPack, CALL_OCTETS_MAX);

/// A pack of some member.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct GetPack {
    /// Whose.
    pub owner: u32,
    /// BLAKE3 name.
    pub pack: Hash,
}
crate::format!(GetPack, 36);

/// A sealed manifest page to keep under its name.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct PutManifest {
    /// `PRF(L, "at", i)` of the owner's manifest strand.
    pub name: Hash,
    /// The sealed page.
    #[tls_codec(with = "crate::codec::octets")]
    pub octets: Vec<u8>,
}
crate::format!(PutManifest, 16 << 20);

/// That a member keeps something for another, signed: `("receipt", owner, kept, length)`.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Receipt {
    /// Who keeps it.
    pub keeper: u32,
    /// Pack name, or `H("manifest", name, octets)`.
    pub kept: Hash,
    /// Octets kept.
    pub length: u32,
    /// The keeper's signature.
    pub signature: Signature,
}
crate::format!(Receipt, 104);

impl Receipt {
    /// Signs that `keeper` keeps `length` octets for `owner`.
    #[must_use]
    pub fn sign(signer: &Signer, network: Network, keeper: u32, owner: u32, kept: Hash, length: u32) -> Self {
        let signature = signer.sign(network, "receipt", &[&owner.to_be_bytes(), &kept, &length.to_be_bytes()]);
        Self { keeper, kept, length, signature }
    }

    /// Whether `key` signed this receipt for `owner`.
    #[must_use]
    pub fn signed_by(&self, key: &PublicKey, network: Network, owner: u32) -> bool {
        let fields: [&[u8]; 3] = [&owner.to_be_bytes(), &self.kept, &self.length.to_be_bytes()];
        verify(key, network, "receipt", &fields, &self.signature)
    }
}

/// What a receipt for a manifest page names.
#[must_use]
pub fn manifest_kept(name: &Hash, octets: &[u8]) -> Hash {
    hash("manifest", &[name, octets])
}

/// A finalized request of the callee.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct GetSlot {
    /// Its transaction.
    pub request: Hash,
}
crate::format!(GetSlot, 32);

/// The caller's slot and its path to the request's root.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct SlotAnswer {
    /// Place among the slots.
    pub index: u32,
    /// Number of slots.
    pub count: u32,
    /// The sealed slot.
    #[tls_codec(with = "crate::codec::octets")]
    pub sealed: Vec<u8>,
    /// Neighbours up to the root.
    pub path: Vec<Hash>,
    /// The key that answers are sealed to (X-Wing), 1,216 octets.
    #[tls_codec(with = "crate::codec::octets")]
    pub reader_key: Vec<u8>,
}
crate::format!(SlotAnswer, 4_096);

/// A sealed [`super::Release`].
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct PutRelease {
    /// The request's transaction.
    pub request: Hash,
    /// Sealed to the reader's key.
    #[tls_codec(with = "crate::codec::octets")]
    pub sealed: Vec<u8>,
}
crate::format!(PutRelease, CALL_OCTETS_MAX);

/// Octets sealed to the callee's, or in an answer to the caller's, HPKE key.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Sealed {
    /// Encapsulation and ciphertext.
    #[tls_codec(with = "crate::codec::octets")]
    pub octets: Vec<u8>,
}
crate::format!(Sealed, 16 << 20);

/// HPKE's `info` for a sealed call, and for a sealed answer.
pub const CALL_INFO: [&[u8]; 2] = [b"suture/1 call", b"suture/1 answer"];

/// A home enrols a patient at a holder.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct EnrolAsk {
    /// SHA-256 of `suture/1 code` and the letters of the one-time code that the holder's desk gave.
    pub code: Hash,
    /// The patient's key for this holder.
    pub patient_key: PublicKey,
}
crate::format!(EnrolAsk, 64);

/// The strands of a patient at the holder, from which the wallet pins the openings.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct EnrolAnswer {
    /// One of records and one of accesses.
    pub strands: Vec<Shown>,
}
crate::format!(EnrolAnswer, 4_096, check_enrol);

fn check_enrol(answer: &EnrolAnswer) -> Result<(), DecodeError> {
    answer.strands.iter().try_for_each(|shown| shown.opening.check())
}

/// A strand and its opening page.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Shown {
    /// Its kind.
    pub kind: StrandKind,
    /// Its key.
    pub key: StrandKey,
    /// Entry 0.
    pub opening: OpenedPage,
}

/// A home asks for what was done with a patient's records.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct AccessesAsk {
    /// The patient's key at the holder.
    pub patient_key: PublicKey,
    /// From which entry of the access strand on.
    pub from: u64,
    /// Up to which, exclusive.
    pub to: u64,
}
crate::format!(AccessesAsk, 48);

/// Those pages, opened.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct AccessesAnswer {
    /// In order.
    pub pages: Vec<OpenedPage>,
}
crate::format!(AccessesAnswer, 15 << 20, check_accesses);

fn check_accesses(answer: &AccessesAnswer) -> Result<(), DecodeError> {
    answer.pages.iter().try_for_each(OpenedPage::check)
}

/// A height of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct Await {
    /// To be processed; in the answer, what was reached.
    pub height: u64,
}
crate::format!(Await, 8);
