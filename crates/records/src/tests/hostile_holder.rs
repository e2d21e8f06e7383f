//! A holder that does not keep the rules: it drops its last page, or one in the middle, alters a record, or proves at a
//! height before the request. The reader's member catches each and names it.

use super::{NORTH, Network, Patient, SOUTH, told, within};
use crate::{
    Inner,
    answer::{self, Gathered},
    documents::{RequestDoc, space},
};
use futures::FutureExt as _;
use identity::Purpose;
use std::time::Duration;
use wire::{
    Format as _, Hash,
    message::{
        AccessItem, Outcome, RELEASE_INFO, Release, ReleasedPage,
        peer::{GetSlot, Method, PutRelease, SlotAnswer},
        released_hash,
    },
    proof::{Document, Invalid},
    seal::seal_to,
    strand::entry_key,
};

type Cheat = fn(&mut Gathered);

/// Reads at South while North answers with a record that was tampered with; gives what South's answer tells.
async fn read(network: &Network, patient: &Patient, handle: &str, cheat: Cheat) -> (Vec<String>, usize) {
    let (north, south) = (network.node(NORTH), network.node(SOUTH));
    let (records, operator, id) = (south.records.clone(), south.operator.clone(), handle.to_owned());
    let purpose = Purpose::parse("TREAT").unwrap();
    let read = tokio::spawn(async move { records.everything_network(&operator, &id, purpose).await });
    let inner = north.inner();
    let (id, request) = within("the request reaches the holder", async {
        loop {
            let open = inner.documents.all::<RequestDoc>(space::REQUEST, &[]).await.unwrap();
            let fresh = open.into_iter().map(|(id, doc)| (Hash::try_from(id).unwrap(), doc));
            let pending = south.inner().reads.lock().unwrap().keys().copied().collect::<Vec<_>>();
            if let Some(found) = fresh.into_iter().find(|(id, _)| pending.contains(id)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    lie(inner, south.inner(), patient, &id, &request, cheat).await;
    let set = within("the read", read).await.unwrap().unwrap();
    told(south, &set)
}

/// What a holder does in `answer`, with one step of its own.
async fn lie(north: &Inner, south: &Inner, patient: &Patient, id: &Hash, request: &RequestDoc, cheat: Cheat) {
    let slot = south.slot_for(NORTH, &GetSlot { request: *id }.to_octets()).unwrap();
    let slot = SlotAnswer::from_octets(&slot).unwrap();
    let ask = answer::open(north, request, &slot).unwrap().unwrap();
    let item = AccessItem {
        request: *id,
        reader: SOUTH,
        reader_key: request.reader_key,
        grant_key: ask.grant_key,
        outcome: Outcome::Released,
        reason: String::new(),
        purpose: ask.purpose,
        role: ask.role,
        released: [0; 32],
        pages: 0,
        records: 0,
    };
    let (item, mut gathered) = answer::gather(north, &patient.id, item).await.unwrap();
    cheat(&mut gathered);
    let commitments: Vec<Hash> = gathered
        .pages
        .iter()
        .enumerate()
        .map(|(at, page)| page.opened().commitment(&entry_key(NORTH, &gathered.strand.key.tag(at as u64))))
        .collect();
    let pages = gathered.pages.len() as u32;
    let item = AccessItem { released: released_hash(&commitments), pages, ..item };
    let (access, _) = answer::enter(north, &patient.id, item).await.unwrap();
    let record = Some(gathered.released(pages as usize));
    let release = Release { request: *id, holder: NORTH, reader: SOUTH, access, record, signature: [0; 64] };
    let release = release.sign(&north.signer, north.network);
    let associated = Release::associated(north.network, id, NORTH);
    let sealed = seal_to(&slot.reader_key, RELEASE_INFO, &associated, &release.to_octets()).unwrap();
    let body = PutRelease { request: *id, sealed }.to_octets();
    south.take_release(NORTH, id, PutRelease::from_octets(&body).unwrap().sealed).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_drops_its_last_page_is_caught() {
    let network = Network::start().await;
    let patient = network.patient(2).await;
    network.observe(NORTH, &patient.id, 9).await;
    network.grant(&patient, SOUTH, &[]).await;
    // What is entered after a request need not be shown: all is entered before.
    network.node(NORTH).records.flush().await.unwrap();
    let handle = network.handle(SOUTH).await;
    // The honest answer is held back: the holder's own program would give a right one beside the false one.
    network.between.tap(|call, method| {
        let failed = crate::CallFailed { reason: "held back by the test".into() };
        async move { (call.from == NORTH && method == Method::GetSlot).then_some(failed) }.boxed()
    });

    let cheats: [(&str, Cheat); 4] = [
        ("was not shown: the end is missing", |gathered| drop(gathered.pages.pop())),
        ("is not what was entered", |gathered| drop(gathered.pages.remove(1))),
        ("is not what was entered", |gathered| {
            let ReleasedPage::Records(records) = &mut gathered.pages[1] else { panic!("page 1 is of records") };
            records.pop();
        }),
        ("is not what was entered", |gathered| {
            let ReleasedPage::Records(records) = &mut gathered.pages[1] else { panic!("page 1 is of records") };
            records[0].plain = [1; 32];
        }),
    ];
    for (reason, cheat) in cheats {
        let (problems, matches) = read(&network, &patient, &handle, cheat).await;
        assert_eq!(matches, 0, "nothing of a false part is shown");
        let [problem] = problems.as_slice() else { panic!("one holder is named: {problems:?}") };
        assert!(problem.contains("Member 1 is not part of this answer") && problem.contains(reason), "{problem}");
    }

    // The same steps without a lie: the test's holder is believed when it is honest.
    let (problems, matches) = read(&network, &patient, &handle, |_| {}).await;
    assert_eq!((problems, matches), (vec![], 6), "Patient, three Observations, Consent, the grantee's Organization");
    network.stop().await;
}

/// The reader asks its own ledger, so a holder cannot choose a height. Who makes a *document* at an old height is caught
/// too: the request is not in the old state, and in a state that has the request the new page must be shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_at_a_height_before_the_request_is_refused() {
    let network = Network::start().await;
    let patient = network.patient(2).await;
    network.grant(&patient, SOUTH, &[]).await;
    network.node(NORTH).records.flush().await.unwrap();
    let handle = network.handle(SOUTH).await;
    let (north, south) = (network.node(NORTH), network.node(SOUTH));
    let read = || async {
        let purpose = Purpose::parse("TREAT").unwrap();
        let set = south.records.everything_network(&south.operator, &handle, purpose).await.unwrap();
        let (problems, _) = told(south, &set);
        assert!(problems.is_empty(), "{problems:?}");
        let page = south.records.result_page(&south.operator, &set.id, 0, 1_000).unwrap();
        let octets = south.records.proof(&south.operator, &page.proof).await.unwrap();
        Document::from_octets(&octets).unwrap()
    };
    let genesis = &north.inner().config.genesis;
    let old = read().await;
    let pages = old.verify(genesis).unwrap().parts[0].pages;

    network.observe(NORTH, &patient.id, 7).await;
    north.records.flush().await.unwrap();
    let new = read().await;
    assert_eq!(new.verify(genesis).unwrap().parts[0].pages, pages + 1);

    // The old strand under the new request, over a state in which the new page is: the page must be shown.
    let short = Document { parts: old.parts.clone(), ..new.clone() };
    let (strands, registry) = short.places();
    let state = south.chain.prove(registry.into_iter().collect(), strands.into_iter().collect(), 1).await.unwrap();
    let short = Document { state, ..short }.sealed();
    let refusal = short.verify(genesis).unwrap_err().to_string();
    assert!(refusal.contains(&format!("page {pages} is on the ledger but was not shown")), "{refusal}");

    // The new request over the old state, which knows neither it nor the new page.
    let back_dated = Document { state: old.state.clone(), ..short.clone() }.sealed();
    assert!(matches!(back_dated.verify(genesis), Err(Invalid::Context(_))));
    network.stop().await;
}
