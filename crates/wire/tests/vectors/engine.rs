//! Proofs of one key that the engine's own database gave: of an empty map, of three operations, of logs whose bitmap
//! ends with a whole chunk, and of logs whose oldest peaks are inactive and folded. A new version of the engine must
//! still read and accept them, or needs a new format of `KeyProof`. `docs/verify_proof.py` accepts them too. And a state
//! proof whose certificate is written by hand, with headers in between.

use super::{
    Frozen, stored, strict,
    values::{genesis, header},
};
use commonware_codec::{Copying, DecodeExt as _, Encode, Read};
use commonware_cryptography::Sha256;
use commonware_storage::{
    mmr,
    qmdb::{any::value::FixedEncoding, current::ordered::proof::constant::KeyValueProof},
};
use ed25519_dalek::{Signer as _, SigningKey};
use wire::{
    engine::{
        CHUNK, Digest, Exclusion, Header, HeaderOctets, KeyProof, ProofError, SetLink, StateProof, Stored, digest,
        state_root, verify,
    },
    genesis::Genesis,
};

type Presence = KeyValueProof<mmr::Family, Digest, Digest, CHUNK>;

fn read<T: Read + Encode>(octets: &[u8], config: &T::Cfg) -> Option<T> {
    T::read_cfg(&mut Copying(octets), config).ok().filter(|value| value.encode() == octets)
}

/// Whether `proof` shows under `root` that `key` has `value`, or none.
fn shows(root: &Digest, key: Digest, value: Option<[u8; 64]>, proof: &[u8]) -> bool {
    match value {
        Some(value) => read::<Presence>(proof, &(256, ()))
            .is_some_and(|p| p.verify::<Sha256, FixedEncoding<Stored>>(key, Stored::new(value), root)),
        None => read::<Exclusion>(proof, &(256, (), ())).is_some_and(|p| p.verify::<Sha256>(&key, root)),
    }
}

#[test]
fn proofs_that_the_engine_gave_once_are_accepted_and_bound_in_every_bit() {
    let names = ["absent.empty", "absent.folded", "absent.whole", "present.folded", "present.small", "present.whole"];
    for name in names {
        let octets = stored(&format!("engine.{name}"));
        let (head, rest) = octets.split_at(65);
        let digest = |octets: &[u8]| Digest::decode(Copying(octets)).unwrap();
        let (root, key) = (digest(&head[..32]), digest(&head[32..64]));
        let (value, proof) = match head[64] {
            0 => (None, rest),
            _ => (Some(rest[..64].try_into().unwrap()), &rest[64..]),
        };
        assert!(shows(&root, key, value, proof), "{name}");
        let other = value.map_or(Some([1; 64]), |_| None);
        assert!(!shows(&root, key, other, proof), "{name}: presence and absence are told apart");
        let mut altered = proof.to_vec();
        for bit in 0..8 * proof.len() {
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!shows(&root, key, value, &altered), "{name}: bit {bit} is bound by nothing");
            altered[bit / 8] ^= 1 << (bit % 8);
        }
        strict(name, proof, |octets| match value {
            Some(_) => read::<Presence>(octets, &(256, ())).map(|p| p.encode().into()),
            None => read::<Exclusion>(octets, &(256, (), ())).map(|p| p.encode().into()),
        });
    }
}

/// A network of four validators, each with the seed of its consensus key, in the order of the keys.
fn network() -> (Genesis, [SigningKey; 4]) {
    let mut genesis = genesis();
    genesis.members.iter_mut().for_each(|member| member.validator = true);
    let mut keys = [101, 102, 105, 109].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    keys.sort_by_key(|key| key.verifying_key().to_bytes());
    (genesis, keys)
}

/// A certificate written by hand, as `docs/formats.md` §12.2 and §12.3 say: epoch 3, view 300 on 299.
fn certificate(genesis: &Genesis, keys: &[SigningKey], payload: &[u8; 32], signers: u8) -> Vec<u8> {
    let proposal = [&[3, 0xac, 2, 0xab, 2], &payload[..]].concat();
    let signed = [&[60], &b"suture/1/consensus/"[..], &genesis.id(), b"_FINALIZE", &proposal].concat();
    let mut octets = [&proposal[..], &4u64.to_be_bytes(), &[signers], &[signers.count_ones() as u8]].concat();
    for key in keys.iter().enumerate().filter(|(i, _)| signers >> i & 1 == 1).map(|(_, key)| key) {
        octets.extend_from_slice(&key.sign(&signed).to_bytes());
    }
    octets
}

/// A state with one key in each map, two blocks before the certified one.
fn linked(genesis: &Genesis, keys: &[SigningKey], signers: u8) -> StateProof {
    let (present, absent) = (stored("engine.present.small"), stored("engine.absent.folded"));
    let part = |octets: &[u8], from: usize| -> [u8; 32] { octets[from..from + 32].try_into().unwrap() };
    let (registry_root, strands_root) = (part(&present, 0), part(&absent, 0));
    let value = Some(present[65..129].try_into().unwrap());
    let first = Header {
        network: Digest::from(genesis.id()),
        state_root: Digest::from(state_root(&registry_root, &strands_root)),
        ..header(false)
    };
    let mut chain = vec![first];
    for _ in 0..2 {
        let last = &chain[chain.len() - 1];
        let next = Header { parent: digest(last), height: last.height.next(), ..last.clone() };
        chain.push(Header { state_root: Digest::from([0; 32]), ..next });
    }
    let payload = digest(&chain[2]).0;
    let mut headers = chain.iter().map(|header| HeaderOctets { octets: header.encode().into() });
    StateProof {
        header: headers.next().unwrap(),
        links: headers.collect(),
        sets: vec![],
        certificate: certificate(genesis, keys, &payload, signers),
        registry_root,
        strands_root,
        registry: vec![KeyProof { format: 1, key: part(&present, 32), value, proof: present[129..].to_vec() }],
        strands: vec![KeyProof { format: 1, key: part(&absent, 32), value: None, proof: absent[65..].to_vec() }],
    }
}

#[test]
fn a_state_is_proved_down_from_a_certificate_of_a_later_block_by_a_quorum() {
    let (genesis, keys) = network();
    let mut frozen = Frozen::default();
    frozen.format("state-proof.linked", &linked(&genesis, &keys, 0b1101));
    frozen.done();
    let proved = |proof: &StateProof| verify(&genesis, proof);
    let found = proved(&linked(&genesis, &keys, 0b1101)).unwrap();
    assert_eq!((found.height, found.registry.len(), found.strands.len()), (70_000, 1, 1));
    assert!(proved(&linked(&genesis, &keys, 0b1111)).is_ok());
    let good = linked(&genesis, &keys, 0b0111);
    for two in [0b0011, 0b1010, 0b0000] {
        assert!(proved(&linked(&genesis, &keys, two)).is_err(), "two of four are no quorum");
    }
    let mut swapped = keys.clone();
    swapped.swap(0, 1);
    assert_eq!(proved(&linked(&genesis, &swapped, 0b0111)), Err(ProofError::NotFinalized));
    let without = |link: usize| {
        let mut proof = good.clone();
        proof.links.remove(link);
        proved(&proof)
    };
    assert_eq!(without(0), Err(ProofError::Unlinked));
    assert_eq!(without(1), Err(ProofError::NotFinalized));
    let swapped = StateProof { registry_root: good.strands_root, strands_root: good.registry_root, ..good.clone() };
    assert_eq!(proved(&swapped), Err(ProofError::WrongRoots));
    let set = SetLink { header: good.header.clone(), certificate: good.certificate.clone() };
    assert!(proved(&StateProof { sets: vec![set], ..good.clone() }).is_err(), "sets do not change yet");
    let twice = [&good.registry[..], &good.registry].concat();
    assert_eq!(proved(&StateProof { registry: twice, ..good.clone() }), Err(ProofError::Unsorted));
    let other = Genesis { nonce: [0x12; 32], ..genesis.clone() };
    assert_eq!(verify(&other, &good), Err(ProofError::WrongNetwork));
}
