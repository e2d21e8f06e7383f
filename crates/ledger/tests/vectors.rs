//! Frozen octets of every transaction, and their decoders against truncated, altered and random octets.
//!
//! `vectors.txt` holds the octets in hexadecimal, or, when there are more than 250, their number and `H("vector",
//! octets)`. A line that changes is a change of format: it needs a new format octet, never a new vector. Signatures are
//! Ed25519's (deterministic), so Python made the same lines from `docs/formats.md` with the package `cryptography`.

use ledger::{
    Action, Body, Moment, Snapshot, Transaction,
    access::Request,
    anchor::{Enter, Lane, Tagged},
    consent::{Grant, Revoke, Slot},
};
use std::collections::BTreeMap;
use wire::{
    Format,
    genesis::{Genesis, Kind, Member, Parameters},
    hash::hash,
    message::GRANT_SLOT_OCTETS,
    seal::PUBLIC_KEY_OCTETS,
    sign::{Network, Signer},
};

/// Random values per decoder; truncations and altered bits of a valid one are tried up to [`TRIES_MAX`] each.
const GARBAGE: u32 = 400;
const TRIES_MAX: usize = 4_096;
const NETWORK: Network = Network { genesis: [0xa5; 32], era: 3 };

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What the file must say of these octets.
fn shown(octets: &[u8]) -> String {
    match octets.len() {
        0..=250 => hex(octets),
        length => format!("{length}:{}", hex(&hash("vector", &[octets]))),
    }
}

fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

fn transaction(action: Action) -> Transaction {
    Transaction::sign(&signer(61), NETWORK, 7, 1 << 33, 12_345, action)
}

fn grant() -> Grant {
    let slots = (0..8).map(|i| Slot { sealed: vec![i; GRANT_SLOT_OCTETS] }).collect();
    Grant::sign(&signer(60), NETWORK, 0, 690, slots)
}

fn transactions() -> [(&'static str, Transaction); 4] {
    let entries = [(1, 2), (3, 4)].map(|(tag, of)| Tagged { tag: [tag; 32], commitment: [of; 32] });
    let request = Request { group: 0, slots_root: [1; 32], reader_key: [2; 32] };
    [
        ("transaction.enter", transaction(Action::Enter(Enter { lane: Lane::Access, entries: entries.to_vec() }))),
        ("transaction.grant", transaction(Action::Grant(grant()))),
        ("transaction.revoke", transaction(Action::Revoke(Revoke::sign(&signer(60), NETWORK, 0)))),
        ("transaction.request", transaction(Action::Request(request))),
    ]
}

/// Whatever a decoder takes, it takes in its one form: it gives back exactly the octets that it was given, or nothing.
fn strict<T: Format>(name: &str, valid: &[u8]) {
    let decode = |octets: &[u8]| T::from_octets(octets).ok().map(|value| value.to_octets());
    let one_form = |octets: &[u8], how: &str| {
        if let Some(again) = decode(octets) {
            assert_eq!(again, octets, "{name}: octets {how} are read, but are not the value's one form");
        }
    };
    assert_eq!(decode(valid).as_deref(), Some(valid), "{name}: the valid octets are read");
    for length in (0..valid.len()).step_by(valid.len().div_ceil(TRIES_MAX)) {
        assert_eq!(decode(&valid[..length]), None, "{name}: octets cut short are refused");
    }
    let mut octets = valid.to_vec();
    for bit in (0..8 * valid.len()).step_by((8 * valid.len()).div_ceil(TRIES_MAX)) {
        octets[bit / 8] ^= 1 << (bit % 8);
        one_form(&octets, "with a bit changed");
        octets[bit / 8] ^= 1 << (bit % 8);
    }
    octets.push(0);
    assert_eq!(decode(&octets), None, "{name}: an octet after the end is refused");
    for round in 0..GARBAGE {
        let noise: Vec<u8> = (0..8u32)
            .flat_map(|n| hash("garbage", &[name.as_bytes(), &round.to_be_bytes(), &n.to_be_bytes()]))
            .collect();
        let (noise, kept) = (&noise[..usize::from(noise[0])], usize::from(noise[1]) * valid.len() / 256);
        one_form(noise, "at random");
        // A valid beginning leads deeper into the decoder.
        one_form(&[&valid[..kept], noise].concat(), "valid, then at random");
    }
}

#[test]
fn every_transaction_has_its_frozen_octets() {
    let file: BTreeMap<&str, &str> = include_str!("vectors.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a name, then its octets"))
        .collect();
    let mut differ = Vec::new();
    let mut frozen = |name: &str, octets: &[u8]| {
        let is = shown(octets);
        if file.get(name) != Some(&is.as_str()) {
            differ.push(format!("{name} {is}"));
        }
    };
    frozen("grant", &grant().to_octets());
    for (name, transaction) in transactions() {
        frozen(name, &transaction.encode());
        assert_eq!(Transaction::decode(&transaction.encode()).as_ref(), Ok(&transaction), "{name} is read back");
    }
    let [.., (_, request)] = transactions();
    frozen("transaction.id", &request.id());
    assert!(differ.is_empty(), "formats are not those of vectors.txt:\n{}", differ.join("\n"));
}

#[test]
fn transactions_bodies_and_grants_are_read_in_one_form_only() {
    for (name, transaction) in transactions() {
        strict::<Transaction>(name, &transaction.encode());
        strict::<Body>(name, &transaction.body().to_octets());
    }
    strict::<Grant>("grant", &grant().to_octets());
}

#[test]
fn a_transaction_of_another_format_is_refused() {
    for (name, transaction) in transactions() {
        let mut octets = transaction.encode();
        octets[0] = 2;
        assert!(Transaction::decode(&octets).is_err(), "{name}");
    }
}

#[test]
fn a_transaction_longer_than_its_bound_is_refused_before_it_is_read() {
    let octets = vec![1; ledger::TRANSACTION_OCTETS_MAX + 1];
    assert!(matches!(Transaction::decode(&octets), Err(wire::codec::DecodeError::TooLong { .. })));
}

/// What the ledger itself writes beside entries and grants: a member, and which sequence numbers are used.
#[test]
fn values_that_the_ledger_writes_have_their_frozen_octets() {
    let member = Member {
        number: 7,
        name: "north".into(),
        title: "North Hospital".into(),
        kind: Kind::Clinic,
        identity: signer(61).public(),
        consensus: signer(62).public(),
        hpke: vec![7; PUBLIC_KEY_OCTETS],
        validator: true,
    };
    let genesis = Genesis {
        format: 1,
        network: "vectors".into(),
        time_ms: 0,
        nonce: [0; 32],
        parameters: Parameters::default(),
        members: vec![member],
    };
    let start = ledger::genesis_effects(&genesis);
    let request = Action::Request(Request { group: 0, slots_root: [1; 32], reader_key: [2; 32] });
    let transaction = Transaction::sign(&signer(61), genesis.network(), 7, 1 << 33, 12_345, request);
    let mut snapshot = Snapshot::new();
    snapshot.absorb(&start);
    for key in transaction.reads().registry {
        snapshot.insert_registry(key, None);
    }
    for key in transaction.reads().strands {
        snapshot.insert_strand(key, None);
    }
    let moment = Moment { height: 12_345, time_ms: 0 };
    let effects = ledger::apply(&genesis, moment, &transaction, &mut snapshot).unwrap();
    let lines = [
        ("state.member.key", start.registry[0].0.to_vec()),
        ("state.member", start.registry[0].1.to_vec()),
        ("state.window.key", effects.registry[0].0.to_vec()),
        ("state.window", effects.registry[0].1.to_vec()),
        ("state.request.key", effects.strands[0].0.to_vec()),
        ("state.request", effects.strands[0].1.to_vec()),
    ];
    let file = include_str!("vectors.txt");
    let differ: Vec<String> = lines
        .iter()
        .map(|(name, octets)| format!("{name} {}", shown(octets)))
        .filter(|line| !file.lines().any(|l| l == line))
        .collect();
    assert!(differ.is_empty(), "values are not those of vectors.txt:\n{}", differ.join("\n"));
}
