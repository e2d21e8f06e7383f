//! Four validators with real files and sockets, in one process.

use chain::{Chain, Config, Pace, Running, SubmitError};
use ledger::{
    Action, Rejection, Transaction,
    anchor::{Enter, Lane, Tagged},
};
use std::{net::TcpListener, path::Path, time::Duration};
use wire::{
    engine::verify,
    genesis::{Genesis, Kind, Member, Parameters},
    keys::Secret,
    seal::Opener,
    sign::Signer,
    strand::entry_key,
};

struct Network {
    genesis: Genesis,
    addresses: Vec<std::net::SocketAddr>,
}

fn identity(number: u32) -> Signer {
    Signer::from_seed(&[number as u8; 32])
}

fn consensus(number: u32) -> Secret {
    Secret::new([100 + number as u8; 32])
}

impl Network {
    fn new(count: u32) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        let members = (1..=count).map(|number| Member {
            number,
            name: format!("m{number}"),
            title: format!("Member {number}"),
            kind: Kind::Clinic,
            identity: identity(number).public(),
            consensus: Signer::from_seed(consensus(number).expose()).public(),
            hpke: Opener::from_seed(Secret::new([number as u8; 32])).public(),
            validator: true,
        });
        let genesis = Genesis {
            format: 1,
            network: "test".into(),
            time_ms: 0,
            nonce: [0; 32],
            parameters: Parameters { interval_s: 1, bucket: 2, blocks_per_epoch: 1 << 40 },
            members: members.collect(),
        };
        Self { genesis, addresses }
    }

    fn start(&self, number: u32, directory: &Path) -> (Chain, Running) {
        let peers = (1..).zip(self.addresses.iter().copied()).collect();
        chain::start(Config {
            directory: directory.join(format!("m{number}")),
            genesis: self.genesis.clone(),
            me: number,
            consensus_secret: consensus(number),
            listen: self.addresses[number as usize - 1],
            peers,
            pace: Pace {
                block: Duration::from_millis(50),
                idle: Duration::from_millis(200),
                leader: Duration::from_secs(1),
            },
        })
        .unwrap()
    }

    fn enter(&self, number: u32, sequence: u64, last_height: u64, tag: u8) -> Transaction {
        let entries = vec![Tagged { tag: [tag; 32], commitment: [tag; 32] }];
        let action = Action::Enter(Enter::padded(Lane::Records, entries, 2));
        Transaction::sign(&identity(number), self.genesis.network(), number, sequence, last_height, action)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_validators_finalize_prove_and_catch_up() {
    let directory = tempfile::tempdir().unwrap();
    let network = Network::new(4);
    let mut running: Vec<_> = (1..=4).map(|n| network.start(n, directory.path())).collect();
    let (first, fourth) = (running[0].0.clone(), running[3].0.clone());

    let receipt = first.submit(network.enter(1, 1, 1_000, 7).encode()).await.unwrap();
    let place = entry_key(1, &[7; 32]);
    let absent = entry_key(2, &[7; 32]);
    let mut keys = vec![place, absent];
    keys.sort_unstable();
    let proof = fourth.prove(vec![], keys, receipt.height).await.unwrap();
    let verified = verify(&network.genesis, &proof).unwrap();
    assert!(verified.height >= receipt.height);
    assert_eq!(verified.strands[&absent], None);
    assert_eq!(verified.strands[&place].unwrap()[32..40], receipt.height.to_be_bytes());

    let again = first.submit(network.enter(1, 1, 1_000, 8).encode()).await;
    assert_eq!(again, Err(SubmitError::Rejected(Rejection::SequenceUsed)));
    let taken = first.submit(network.enter(1, 2, 1_000, 7).encode()).await;
    assert_eq!(taken, Err(SubmitError::Rejected(Rejection::EntryExists)));
    assert_eq!(first.submit(vec![1, 2, 3]).await, Err(SubmitError::Malformed));

    let mut other = network.genesis.clone();
    other.nonce = [1; 32];
    assert!(verify(&other, &proof).is_err(), "a proof holds for its own network only");

    let (stopped, handle) = running.remove(3);
    handle.stop();
    drop(stopped);
    let receipt = first.submit(network.enter(1, 3, 1_000, 9).encode()).await.unwrap();
    let (fourth, handle) = network.start(4, directory.path());
    let mut tips = fourth.tips();
    tokio::time::timeout(Duration::from_secs(60), tips.wait_for(|tip| tip.height >= receipt.height))
        .await
        .unwrap()
        .unwrap();
    let (_, values) = fourth.strands(vec![entry_key(1, &[9; 32])]).await.unwrap();
    assert!(values[0].is_some(), "a member that was down has caught up");
    let block = fourth.block(receipt.height).await.unwrap().unwrap();
    assert_eq!(block.transactions.len(), 1);

    // With two of four gone nothing is finalized, and nobody says otherwise.
    let (_, third) = running.remove(2);
    third.stop();
    handle.stop();
    let stuck = first.submit(network.enter(1, 4, 1_000, 10).encode());
    assert!(tokio::time::timeout(Duration::from_secs(3), stuck).await.is_err());
    for (_, handle) in running {
        handle.stop();
    }
}
