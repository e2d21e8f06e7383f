//! A reader that skips all its own checks: it asks without, against and beside the patient's grant, with requests that
//! are not final, and with slots that its request did not commit to. An honest holder gives it no key.

use super::{CLINIC, NORTH, Network, Patient, SOUTH, within};
use crate::{documents::GrantReceivedDoc, documents::space, network::Pending};
use identity::Purpose;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use wire::{
    message::{
        Ask, GranteeSlot, HolderKey, REQUEST_SLOT_PLAIN, Release, RequestSlot, SlotContext, Terms,
        peer::{Await, Method},
        reader_key_hash, seal_slot,
    },
    seal::Opener,
    strand::{StrandKey, entry_key},
};

type Releases = watch::Receiver<BTreeMap<u32, Release>>;

/// The answer of North, when it comes.
async fn answer(mut releases: Releases) -> Release {
    let answers = within("an answer", releases.wait_for(|all| all.contains_key(&NORTH))).await.unwrap();
    answers[&NORTH].clone()
}

/// The newest grant that South has received.
async fn received(network: &Network) -> ([u8; 32], GranteeSlot) {
    let inner = network.node(SOUTH).inner();
    let all = inner.documents.all::<GrantReceivedDoc>(space::GRANT_RECEIVED, &[]).await.unwrap();
    let (key, doc) = all.into_iter().max_by_key(|(_, doc)| doc.height).unwrap();
    (key.try_into().unwrap(), doc.slot)
}

/// South asks, whatever its own checks would say.
async fn ask(network: &Network, grant_key: &[u8; 32], slot: &GranteeSlot, purpose: &str) -> (u64, Releases) {
    let (inner, operator) = (network.node(SOUTH).inner(), &network.node(SOUTH).operator);
    let purpose = Purpose::parse(purpose).unwrap();
    let (_, height, releases) = inner.request(operator, grant_key, slot, purpose).await.unwrap();
    (height, releases)
}

async fn refused(network: &Network, patient: &Patient, release: &Release, why: &str) {
    assert!(release.record.is_none(), "{why}: a key left the holder");
    let place = entry_key(NORTH, &release.access.tag);
    assert!(network.node(NORTH).inner().entry(&place).await.unwrap().is_some(), "{why}: the refusal is entered");
    assert!(network.accesses(patient).await >= 1, "{why}: the patient sees it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_skips_its_checks_gets_no_key_without_a_finalized_request_and_entry() {
    let network = Network::start().await;
    let patient = network.patient(2).await;
    let consent = network.grant(&patient, SOUTH, &["TREAT"]).await;
    let (grant_key, slot) = received(&network).await;

    // A right request: the key comes, and the entry is on the ledger, not before the request, when it does.
    let (height, releases) = ask(&network, &grant_key, &slot, "TREAT").await;
    let release = answer(releases).await;
    assert!(release.record.is_some());
    let entry = network.node(NORTH).inner().entry(&entry_key(NORTH, &release.access.tag)).await.unwrap().unwrap();
    assert!(entry.height >= height, "no key without a receipt");

    let (_, releases) = ask(&network, &grant_key, &slot, "HRESCH").await;
    refused(&network, &patient, &answer(releases).await, "a purpose that the grant does not allow").await;

    let (_, releases) = ask(&network, &[7; 32], &slot, "TREAT").await;
    refused(&network, &patient, &answer(releases).await, "a grant that nobody made").await;

    // A slot that the finalized request did not commit to, and a request that is not final at all.
    let before = network.between.seen(NORTH, SOUTH, Method::PutRelease);
    let at_north = slot.patient_keys.iter().find(|key| key.member == NORTH).unwrap().key;
    let swapped = Asked { grant_key, patient_key: at_north, finalize: true };
    let not_final = Asked { finalize: false, ..swapped };
    for asked in [swapped, not_final] {
        let releases = asked.ask(&network).await;
        network.blocks(6).await;
        assert!(releases.borrow().is_empty());
    }
    assert_eq!(network.between.seen(NORTH, SOUTH, Method::PutRelease), before, "neither was answered");

    network.revoke(&patient, consent).await;
    let (_, releases) = ask(&network, &grant_key, &slot, "TREAT").await;
    refused(&network, &patient, &answer(releases).await, "a revoked grant").await;

    // A grant to another member.
    network.grant(&patient, CLINIC, &[]).await;
    let inner = network.node(CLINIC).inner();
    let others = inner.documents.all::<GrantReceivedDoc>(space::GRANT_RECEIVED, &[]).await.unwrap();
    let (key, doc) = others.into_iter().next().unwrap();
    let (_, releases) = ask(&network, &key.try_into().unwrap(), &doc.slot, "TREAT").await;
    refused(&network, &patient, &answer(releases).await, "a grant to another member").await;

    // A patient whom the holder does not know: nothing to enter, nothing to say.
    let stranger = GranteeSlot {
        grantee: SOUTH,
        home: NORTH,
        terms: Terms { purposes: vec![], begin_ms: 0, end_ms: u64::MAX },
        patient_key: None,
        holders: StrandKey::generate(),
        pages: vec![],
        patient_keys: vec![HolderKey { member: NORTH, key: [9; 32] }],
    };
    let entered = network.accesses(&patient).await;
    let (_, releases) = ask(&network, &grant_key, &stranger, "TREAT").await;
    network.blocks(6).await;
    assert!(releases.borrow().is_empty());
    assert_eq!(network.accesses(&patient).await, entered);

    // Every other call that it can make as a member gives no key either: sealed packs at most, and its own receipts.
    let south = network.node(SOUTH).inner();
    for method in [Method::GetSlot, Method::PutRelease, Method::Enrol, Method::Accesses, Method::Await] {
        for body in [vec![], vec![0; 32], vec![255; 2_048]] {
            assert!(south.call(NORTH, method, body).await.is_err(), "{method:?}");
        }
    }
    use wire::Format as _;
    let there = south.call(NORTH, Method::Await, Await { height: 1 }.to_octets()).await;
    assert!(there.is_ok(), "and the holder serves on");
    network.stop().await;
}

/// A request made by hand.
#[derive(Clone, Copy)]
struct Asked {
    grant_key: [u8; 32],
    patient_key: [u8; 32],
    /// Whether a request is entered at all; it commits to other slots than those served.
    finalize: bool,
}

impl Asked {
    async fn ask(self, network: &Network) -> Releases {
        let inner = network.node(SOUTH).inner();
        let opener = Opener::generate();
        let public = opener.public();
        let reader_key = reader_key_hash(&public);
        let slots: Vec<(u32, Vec<u8>)> = inner
            .config
            .genesis
            .members
            .iter()
            .map(|member| {
                let context = SlotContext::Request {
                    network: inner.network,
                    reader: SOUTH,
                    member: member.number,
                    reader_key: &reader_key,
                };
                let ask = RequestSlot::Ask(Ask {
                    grant_key: self.grant_key,
                    patient_key: self.patient_key,
                    purpose: "TREAT".into(),
                    role: "clinician".into(),
                });
                (member.number, seal_slot(&member.hpke, &context, &ask, REQUEST_SLOT_PLAIN).unwrap())
            })
            .collect();
        let (sender, releases) = watch::channel(BTreeMap::new());
        let pending = Pending { slots, public, opener, releases: sender, at: Instant::now() };
        let action = ledger::Action::Request(ledger::access::Request {
            group: ledger::consent::GROUP_ALL,
            slots_root: [3; 32],
            reader_key,
        });
        if self.finalize {
            let (id, _) = inner.submit(action).await.unwrap();
            inner.reads.lock().unwrap().insert(id, pending);
            let asked = network.between.seen(NORTH, SOUTH, Method::GetSlot);
            within("the holder asks for its slot", async {
                while network.between.seen(NORTH, SOUTH, Method::GetSlot) <= asked {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
        } else {
            let id = inner.sign(action).id();
            inner.reads.lock().unwrap().insert(id, pending);
        }
        releases
    }
}
