//! Frozen octets of every format, and decoders against truncated, altered and random octets.
//!
//! `vectors.txt` holds, for each format, the octets of one value: in hexadecimal, or their number and SHA-256 when there
//! are more than 200; what cannot be made twice (a sealed message, a proof of a real network) in Base64, continued on
//! indented lines. A line that changes is a change of format: it needs a new format octet, never a new vector.

#[path = "vectors/answers.rs"]
mod answers;
#[path = "vectors/engine.rs"]
mod engine;
#[path = "vectors/values.rs"]
mod values;

use commonware_codec::Encode as _;
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Debug};
use wire::{
    Format,
    engine::{Header, StateProof, digest},
    genesis::Genesis,
    hash::hash,
    keys::Wrapped,
    message::{AccessItem, GrantSlot, Release, RequestSlot, Terms, manifest, peer},
    proof::{Document, HolderItem, Subject},
    state::{Entry, GrantEntry},
    strand::{OpenedPage, Opening, Pinned},
};

/// Random values per decoder; truncations and altered bits of a valid one are tried up to [`TRIES_MAX`] each.
const GARBAGE: u32 = 400;
const TRIES_MAX: usize = 4_096;

/// The file's vectors by name.
fn vectors() -> BTreeMap<&'static str, String> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut last = "";
    for line in include_str!("vectors.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(more) => found.get_mut(last).expect("a name stands before its octets").push_str(more),
            None => {
                let (name, octets) = line.split_once(' ').unwrap_or((line, ""));
                assert!(found.insert(name, octets.into()).is_none(), "{name} stands twice");
                last = name;
            }
        }
    }
    found
}

/// What the file must say of these octets.
fn shown(octets: &[u8]) -> String {
    match octets.len() {
        0..=200 => HEXLOWER.encode(octets),
        length => format!("{length}:{}", HEXLOWER.encode(&Sha256::digest(octets))),
    }
}

/// The octets under a name that are in the file themselves.
fn stored(name: &str) -> Vec<u8> {
    BASE64.decode(vectors()[name].as_bytes()).expect("the file holds Base64")
}

/// Compares values with the file, and tells all lines that differ at once.
#[derive(Default)]
struct Frozen(Vec<String>);

impl Frozen {
    /// A format: its octets are the file's, it is read back, and its decoder is strict.
    fn format<T: Format + PartialEq + Debug>(&mut self, name: &'static str, value: &T) {
        let octets = value.to_octets();
        self.octets(name, &octets);
        assert_eq!(T::from_octets(&octets).as_ref(), Ok(value), "{name} is read back");
        strict(name, &octets, |octets| T::from_octets(octets).ok().map(|value| value.to_octets()));
    }

    fn octets(&mut self, name: &'static str, octets: &[u8]) {
        let is = shown(octets);
        if vectors().get(name) != Some(&is) {
            self.0.push(format!("{name} {is}"));
        }
    }

    fn done(self) {
        assert!(self.0.is_empty(), "formats are not those of vectors.txt:\n{}", self.0.join("\n"));
    }
}

/// Whatever `decode` takes, it takes in its one form: it gives back exactly the octets that it was given, or nothing.
fn strict(name: &str, valid: &[u8], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let one_form = |octets: &[u8], how: &str| {
        if let Some(again) = decode(octets) {
            assert_eq!(again, octets, "{name}: octets {how} are read, but are not the value's one form");
        }
    };
    assert_eq!(decode(valid).as_deref(), Some(valid), "{name}: the valid octets are read");
    for length in (0..valid.len()).step_by(valid.len().div_ceil(TRIES_MAX).max(1)) {
        one_form(&valid[..length], "cut short");
    }
    let mut octets = valid.to_vec();
    for bit in (0..8 * valid.len()).step_by((8 * valid.len()).div_ceil(TRIES_MAX).max(1)) {
        octets[bit / 8] ^= 1 << (bit % 8);
        one_form(&octets, "with a bit changed");
        octets[bit / 8] ^= 1 << (bit % 8);
    }
    octets.push(0);
    assert_eq!(decode(&octets), None, "{name}: an octet after the end is refused");
    for round in 0..GARBAGE {
        one_form(&garbage(name, round), "at random");
        // A valid beginning leads deeper into the decoder.
        let noise = garbage(name, GARBAGE + round);
        let kept = noise.first().map_or(0, |n| usize::from(*n) * valid.len() / 256);
        one_form(&[&valid[..kept], &noise].concat(), "valid, then at random");
    }
}

/// Up to 255 octets that are the same in each run.
fn garbage(name: &str, round: u32) -> Vec<u8> {
    let block = |n: u32| hash("garbage", &[name.as_bytes(), &round.to_be_bytes(), &n.to_be_bytes()]);
    let octets = (0..8).flat_map(block).collect::<Vec<u8>>();
    octets[..usize::from(octets[0])].to_vec()
}

#[test]
fn every_format_has_its_frozen_octets_and_a_strict_decoder() {
    let mut frozen = Frozen::default();
    frozen.format("genesis", &values::genesis());
    frozen.format("wrapped", &values::wrapped());
    frozen.format("opening", &values::opening(None));
    frozen.format("opening.continues", &values::opening(Some([9; 32])));
    frozen.format("page.opening", &values::page_opening());
    frozen.format("page.records", &values::page_records(2));
    frozen.format("page.items", &values::page_items(3));
    frozen.format("page.items.full", &values::page_items(256));
    frozen.format("pinned", &values::pinned());
    frozen.format("holder-item", &values::holder_item());
    frozen.format("access-item", &values::access_item());
    frozen.format("terms", &values::terms());
    frozen.format("grant-slot.grantee", &values::grantee_slot());
    frozen.format("grant-slot.holder", &values::holder_slot());
    frozen.format("request-slot.empty", &RequestSlot::Empty);
    frozen.format("request-slot.ask", &values::ask());
    frozen.format("release", &values::release(true));
    frozen.format("release.refused", &values::release(false));
    for (name, line) in values::lines() {
        frozen.format(name, &line);
    }
    frozen.format("sealed-page", &values::sealed_page());
    frozen.done();
}

#[test]
fn every_call_between_members_has_its_frozen_octets_and_a_strict_decoder() {
    let mut frozen = Frozen::default();
    frozen.format("peer.put-pack", &peer::PutPack { octets: vec![1, 2, 3] });
    frozen.format("peer.get-pack", &peer::GetPack { owner: 7, pack: [1; 32] });
    frozen.format("peer.put-manifest", &peer::PutManifest { name: [1; 32], octets: vec![4, 5] });
    frozen.format("peer.receipt", &values::receipt());
    frozen.format("peer.get-slot", &peer::GetSlot { request: [1; 32] });
    frozen.format("peer.slot-answer", &values::slot_answer());
    frozen.format("peer.put-release", &peer::PutRelease { request: [1; 32], sealed: vec![6] });
    frozen.format("peer.sealed", &peer::Sealed { octets: vec![7, 8] });
    frozen.format("peer.enrol-ask", &peer::EnrolAsk { code: [1; 32], patient_key: [2; 32] });
    frozen.format("peer.enrol-answer", &values::enrol_answer());
    frozen.format("peer.accesses-ask", &peer::AccessesAsk { patient_key: [2; 32], from: 3, to: 1 << 40 });
    frozen.format("peer.accesses-answer", &peer::AccessesAnswer { pages: vec![values::page_items(1)] });
    frozen.format("peer.await", &peer::Await { height: 0x0102_0304_0506_0708 });
    frozen.done();
}

#[test]
fn values_in_the_state_have_their_frozen_octets_and_one_form() {
    let mut frozen = Frozen::default();
    let entry = Entry { commitment: [5; 32], height: 0x0102_0304_0506_0708 };
    let grant = GrantEntry { body: [6; 32], granted: 3, revoked: 1 << 33, month: 685 };
    frozen.octets("state.entry", &entry.to_value());
    frozen.octets("state.grant", &grant.to_value());
    frozen.done();
    for bit in 0..64 * 8 {
        let (mut entry, mut grant) = (entry.to_value(), grant.to_value());
        entry[bit / 8] ^= 1 << (bit % 8);
        grant[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Entry::from_value(&entry).map(Entry::to_value), (bit < 40 * 8).then_some(entry));
        assert_eq!(GrantEntry::from_value(&grant).map(GrantEntry::to_value), (bit < 52 * 8).then_some(grant));
    }
}

#[test]
fn a_block_header_has_its_frozen_octets_and_digest() {
    let mut frozen = Frozen::default();
    for (name, header) in [("header", values::header(false)), ("header.next", values::header(true))] {
        let octets = header.encode();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&octets)), digest(&header).0);
        assert!(octets.len() <= Header::octets_max());
        assert_eq!(Header::from_octets(&octets).as_ref(), Ok(&header));
        frozen.octets(name, &octets);
        strict(name, &octets, |octets| Header::from_octets(octets).ok().map(|header| header.encode().into()));
    }
    frozen.done();
}

/// The two documents of the sample network, which `docs/verify_proof.py` accepts too.
fn samples() -> (Genesis, [Document; 2]) {
    let read = |name| Document::from_octets(&stored(name)).unwrap();
    (Genesis::from_octets(&stored("sample.genesis")).unwrap(), [read("sample.record"), read("sample.accesses")])
}

#[test]
fn documents_that_were_valid_once_stay_valid_and_say_the_same() {
    let (genesis, [record, accesses]) = samples();
    let found = record.verify(&genesis).unwrap();
    assert_eq!((found.subject, found.viewer, found.height, found.requested), (Subject::Record, 2, 43, Some(35)));
    assert_eq!(found.releases, [(1, 39), (3, 41), (4, 40)]);
    let parts: Vec<_> = found.parts.iter().map(|p| (p.member, p.pages, p.leaves, p.height)).collect();
    assert_eq!(parts, [(1, 3, 23, 43), (2, 3, 37, 43), (3, 2, 11, 43), (4, 2, 12, 43)]);
    assert!(found.missing.is_empty());
    let found = accesses.verify(&genesis).unwrap();
    let list: Vec<_> = found.accesses.iter().map(|(m, at, a)| (*m, *at, a.reader, a.pages, a.records)).collect();
    assert_eq!(list, [(1, 39, 2, 3, 23), (3, 41, 2, 2, 11), (4, 40, 2, 2, 12)]);
}

#[test]
fn documents_and_state_proofs_are_read_in_one_form_only() {
    let (genesis, documents) = samples();
    for document in documents {
        let octets = document.to_octets();
        strict("document", &octets, |octets| Document::from_octets(octets).ok().map(|d| d.to_octets()));
        let state = document.state.to_octets();
        strict("state-proof", &state, |octets| StateProof::from_octets(octets).ok().map(|s| s.to_octets()));
    }
    let octets = genesis.to_octets();
    strict("sample.genesis", &octets, |octets| Genesis::from_octets(octets).ok().map(|g| g.to_octets()));
}

/// The checksum at the end catches accidents; against a forger, who makes it anew, everything else must hold.
#[test]
fn a_document_with_a_bit_changed_and_its_checksum_made_anew_proves_nothing() {
    let (genesis, documents) = samples();
    for document in documents {
        let octets = document.to_octets();
        let body = octets.len() - 32;
        // Who made a list of accesses is said in octets 2 to 5, and nothing binds it.
        let unbound = if document.subject == Subject::Accesses { 2..6 } else { 0..0 };
        for bit in (0..8 * body).step_by(211).filter(|bit| !unbound.contains(&(bit / 8))) {
            let mut forged = octets[..body].to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            let checksum = hash("proof", &[&forged]);
            forged.extend_from_slice(&checksum);
            let proved = Document::from_octets(&forged).is_ok_and(|d| d.verify(&genesis).is_ok());
            assert!(!proved, "bit {bit} of {body} octets is not bound by anything");
        }
    }
}

#[test]
fn a_network_of_another_genesis_does_not_take_a_document() {
    let (genesis, [record, _]) = samples();
    let other = Genesis { time_ms: genesis.time_ms + 1, ..genesis };
    assert!(record.verify(&other).is_err());
}

/// Each decoder is bounded before it reads: a length that promises more than there is reserves nothing.
#[test]
fn lengths_that_promise_more_than_there_is_are_refused() {
    fn refused<T: Format>() {
        for length in [[0xff; 12], [0xbf; 12], [0x7f; 12], [0x3f; 12]] {
            assert!(T::from_octets(&length).is_err(), "{}", T::NAME);
        }
        assert!(T::from_octets(&[]).is_err(), "{} has no empty form", T::NAME);
    }
    refused::<Genesis>();
    refused::<Wrapped>();
    refused::<Opening>();
    refused::<OpenedPage>();
    refused::<Pinned>();
    refused::<HolderItem>();
    refused::<AccessItem>();
    refused::<Terms>();
    refused::<GrantSlot>();
    refused::<RequestSlot>();
    refused::<Release>();
    refused::<manifest::Line>();
    refused::<manifest::SealedPage>();
    refused::<StateProof>();
    refused::<Document>();
    refused::<peer::PutPack>();
    refused::<peer::PutManifest>();
    refused::<peer::PutRelease>();
    refused::<peer::SlotAnswer>();
    refused::<peer::Sealed>();
}
