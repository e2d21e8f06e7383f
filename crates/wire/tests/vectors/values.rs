//! One value, or a few, of each format; the same in each run.

use commonware_codec::DecodeExt as _;
use commonware_consensus::types::{Epoch, Height, Round, View};
use commonware_cryptography::ed25519;
use commonware_storage::mmr::Location;
use commonware_utils::{ordered::Set, range::NonEmptyRange};
use wire::{
    Format as _,
    engine::{Digest, Header, Proposer, Target},
    genesis::{Genesis, Kind, Member, Parameters},
    keys::{Secret, Wrapped},
    message::{
        AccessItem, Ask, GrantSlot, GranteeSlot, HolderKey, HolderSlot, Outcome, Release, ReleasedPage, ReleasedRecord,
        ReleasedStrand, RequestSlot, ShownEntry, Terms, Text,
        manifest::{Line, SealedPage},
        peer::{EnrolAnswer, Receipt, Shown, SlotAnswer},
        reader_key_hash, released_hash,
    },
    proof::HolderItem,
    seal::PUBLIC_KEY_OCTETS,
    sign::{Network, Signer},
    strand::{Class, LeafSecret, OpenedLeaf, OpenedPage, Opening, PageKind, Pinned, StrandKey, StrandKind},
};

/// The network that all vectors belong to.
pub const NETWORK: Network = Network { genesis: [0xa5; 32], era: 3 };

pub fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub fn strand_key(octet: u8) -> StrandKey {
    StrandKey::from(Secret::new([octet; 32]))
}

pub fn leaf_secret(octet: u8) -> LeafSecret {
    use tls_codec::Deserialize as _;
    LeafSecret::tls_deserialize_exact([octet; 32]).unwrap()
}

pub fn genesis() -> Genesis {
    let member = |number: u32, name: &str, title: &str, kind, validator| Member {
        number,
        name: name.into(),
        title: title.into(),
        kind,
        identity: signer(number as u8).public(),
        consensus: signer(100 + number as u8).public(),
        hpke: vec![number as u8; PUBLIC_KEY_OCTETS],
        validator,
    };
    Genesis {
        format: 1,
        network: "vectors".into(),
        time_ms: 1_790_000_000_000,
        nonce: [0x11; 32],
        parameters: Parameters::default(),
        members: vec![
            member(1, "north", "North Hospital", Kind::Hospital, true),
            member(2, "lab-2", "Labor Köln", Kind::Laboratory, true),
            member(5, "clinic", "Harbour Clinic", Kind::Clinic, false),
            member(9, "health", "Public Health Office", Kind::PublicHealth, true),
        ],
    }
}

pub fn wrapped() -> Wrapped {
    Wrapped { generation: 2, sealed: [0x22; 48], nonce: [0x33; 32] }
}

pub fn opening(continues: Option<[u8; 32]>) -> Opening {
    Opening { subject: [8; 32], member: 7, kind: StrandKind::Records, class: Class::General, continues }
}

fn item(salt: u8, payload: Vec<u8>) -> OpenedLeaf {
    OpenedLeaf::Item { salt: [salt; 32], payload }
}

pub fn page_opening() -> OpenedPage {
    OpenedPage { kind: PageKind::Opening, leaves: vec![item(1, opening(None).to_octets())] }
}

pub fn page_items(count: usize) -> OpenedPage {
    let leaves = (0..count).map(|i| item(i as u8, vec![i as u8; i % 5])).collect();
    OpenedPage { kind: PageKind::Items, leaves }
}

pub fn page_records(count: u8) -> OpenedPage {
    let leaf = |i: u8| leaf_secret(i).leaf([0x40 + i; 32], [0x60 + i; 32], "Observation", "2026-01");
    OpenedPage { kind: PageKind::Records, leaves: (0..count).map(leaf).collect() }
}

pub fn pinned() -> Pinned {
    Pinned { member: 7, entry: [1; 32], commitment: [2; 32] }
}

pub fn holder_item() -> HolderItem {
    HolderItem { kind: StrandKind::Accesses, pinned: pinned() }
}

pub fn access_item() -> AccessItem {
    AccessItem {
        request: [1; 32],
        reader: 2,
        reader_key: reader_key_hash(&[7; PUBLIC_KEY_OCTETS]),
        grant_key: [4; 32],
        outcome: Outcome::Released,
        reason: String::new(),
        purpose: "TREAT".into(),
        role: "clinician".into(),
        released: released_hash(&[[5; 32], [6; 32]]),
        pages: 2,
        records: 40,
    }
}

pub fn terms() -> Terms {
    let purposes = vec![Text("TREAT".into()), Text("ETREAT".into())];
    Terms { purposes, begin_ms: 1_790_000_000_000, end_ms: u64::MAX }
}

pub fn grantee_slot() -> GrantSlot {
    GrantSlot::Grantee(GranteeSlot {
        grantee: 2,
        home: 1,
        terms: terms(),
        patient_key: Some([3; 32]),
        holders: strand_key(4),
        pages: vec![page_opening(), page_items(2)],
        patient_keys: vec![HolderKey { member: 1, key: [5; 32] }, HolderKey { member: 4, key: [6; 32] }],
    })
}

pub fn holder_slot() -> GrantSlot {
    GrantSlot::Holder(HolderSlot::sign(&signer(50), NETWORK, &signer(51).public(), 4, 2, 1, terms()))
}

pub fn ask() -> RequestSlot {
    RequestSlot::Ask(Ask {
        grant_key: [1; 32],
        patient_key: [2; 32],
        purpose: "TREAT".into(),
        role: "clinician".into(),
    })
}

fn record(octet: u8) -> ReleasedRecord {
    ReleasedRecord {
        secret: leaf_secret(octet),
        key: Secret::new([octet + 1; 32]),
        plain: [octet + 2; 32],
        sealed: [octet + 3; 32],
        pack: [octet + 4; 32],
        offset: 5,
        length: 600,
        category: "Observation".into(),
        month: "2026-01".into(),
    }
}

/// A holder's answer; refused without a strand.
pub fn release(released: bool) -> Release {
    let pages = vec![ReleasedPage::Items(page_opening()), ReleasedPage::Records(vec![record(10), record(20)])];
    Release {
        request: [1; 32],
        holder: 4,
        reader: 2,
        access: ShownEntry { member: 4, tag: [2; 32], page: page_items(1) },
        record: released.then(|| ReleasedStrand { key: strand_key(3), pages }),
        signature: [0; 64],
    }
    .sign(&signer(52), NETWORK)
}

pub fn lines() -> [(&'static str, Line); 3] {
    let (entry, strand) = ([1; 32], [2; 32]);
    [
        ("line.strand", Line::Strand { entry, kind: StrandKind::Own, key: strand_key(3), owner: "p-1".into() }),
        ("line.record", Line::Record { strand, page: 4, leaf: 255, record: record(30) }),
        ("line.items", Line::Items { strand, page: 5, opened: page_items(2) }),
    ]
}

pub fn sealed_page() -> SealedPage {
    SealedPage { format: 1, wrapped: wrapped(), sealed: vec![9; 20] }
}

pub fn receipt() -> Receipt {
    Receipt::sign(&signer(53), NETWORK, 3, 7, [1; 32], 4_194_304)
}

pub fn slot_answer() -> SlotAnswer {
    let reader_key = vec![7; PUBLIC_KEY_OCTETS];
    SlotAnswer { index: 1, count: 5, sealed: vec![1; 1_648], path: vec![[2; 32], [3; 32], [4; 32]], reader_key }
}

pub fn enrol_answer() -> EnrolAnswer {
    let shown = |kind, octet| Shown { kind, key: strand_key(octet), opening: page_opening() };
    EnrolAnswer { strands: vec![shown(StrandKind::Records, 1), shown(StrandKind::Accesses, 2)] }
}

fn validator(seed: u8) -> ed25519::PublicKey {
    ed25519::PublicKey::decode(commonware_codec::Copying(&signer(seed).public()[..])).unwrap()
}

pub fn header(next: bool) -> Header {
    let target = |octet: u8, start, end| Target {
        root: Digest::from([octet; 32]),
        range: NonEmptyRange::new(Location::new(start)..Location::new(end)).unwrap(),
    };
    Header {
        format: 1,
        network: Digest::from(NETWORK.genesis),
        set_since: 2,
        context: Proposer {
            round: Round::new(Epoch::new(3), View::new(300)),
            leader: validator(101),
            parent: (View::new(299), Digest::from([1; 32])),
        },
        parent: Digest::from([2; 32]),
        height: Height::new(70_000),
        timestamp_ms: 1_790_000_000_000,
        transactions: Digest::from([3; 32]),
        state_root: Digest::from([4; 32]),
        registry: target(5, 0, 127),
        strands: target(6, 128, 1 << 40),
        next: next.then(|| Set::from_iter_dedup([validator(101), validator(102), validator(103)])),
    }
}
