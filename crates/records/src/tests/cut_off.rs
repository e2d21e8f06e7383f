//! A holder that the network does not reach releases nothing, whatever it is asked.

use super::{CLINIC, NORTH, Network, SOUTH, told, within};
use futures::FutureExt as _;
use identity::Purpose;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use wire::message::peer::Method;

/// The request is final, and the holder knows it; then two of four members are gone, before the holder's entry is.
/// The holder has the grant, the records and the reader's key, and yet nothing leaves it until the entry is final.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_holder_cut_off_from_the_quorum_no_key_leaves_it() {
    let mut network = Network::start().await;
    let patient = network.patient(3).await;
    network.grant(&patient, SOUTH, &[]).await;
    let handle = network.handle(SOUTH).await;

    let gone: Vec<_> = [CLINIC, 4].map(|n| network.nodes.get_mut(&n).unwrap().running.take().unwrap()).into();
    let (gone, cut) = (Arc::new(Mutex::new(Some(gone))), Arc::new(AtomicBool::new(false)));
    let (taken, was_cut) = (gone.clone(), cut.clone());
    network.between.tap(move |call, method| {
        let (taken, was_cut) = (taken.clone(), was_cut.clone());
        async move {
            if call.from == NORTH && method == Method::GetSlot {
                let gone = taken.lock().unwrap().take();
                if let Some(gone) = gone {
                    let stop = || gone.into_iter().for_each(chain::Running::stop);
                    tokio::task::spawn_blocking(stop).await.unwrap();
                    was_cut.store(true, Ordering::SeqCst);
                }
            }
            None
        }
        .boxed()
    });
    let south = network.node(SOUTH);
    let (records, operator, id) = (south.records.clone(), south.operator.clone(), handle.clone());
    let purpose = Purpose::parse("TREAT").unwrap();
    let read = tokio::spawn(async move { records.everything_network(&operator, &id, purpose).await });
    within("the request is final", async {
        while !cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    // The reader gives up before any key has come. It cannot even prove what it has not.
    let read = within("the read ends", read).await.unwrap();
    if let Ok(set) = &read {
        let (problems, matches) = told(south, set);
        assert!(problems.iter().any(|p| p.contains("Member 1 is not part of this answer")), "{problems:?}");
        assert_eq!(matches, 0);
    }
    assert_eq!(network.between.seen(NORTH, SOUTH, Method::PutRelease), 0, "no release left the holder");
    assert_eq!(network.accesses(&patient).await, 0, "no entry is final");

    // It was the quorum that held it back: with the two others again, another read gets everything.
    for number in [CLINIC, 4] {
        let node = network.nodes.get_mut(&number).unwrap();
        let (chain, running) = chain::start(node.config.clone()).unwrap();
        (node.chain, node.running) = (chain, Some(running));
    }
    network.blocks(3).await;
    let south = network.node(SOUTH);
    let set = within("a read", south.records.everything_network(&south.operator, &handle, purpose)).await.unwrap();
    assert_eq!(told(south, &set), (vec![], 6), "Patient, three Observations, Consent, the grantee's Organization");
    assert!(network.accesses(&patient).await >= 1);
    network.stop().await;
}
