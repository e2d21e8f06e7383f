//! What belongs to whose record, whatever is written, and reads that go on while others write.

use super::{NORTH, Network, SOUTH, told, within};
use crate::{Error, Records, Search};
use fhir::json::{Value, object};
use identity::Purpose;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

fn observation(subject: &str, text: &str) -> Value {
    object([
        ("resourceType", "Observation".into()),
        ("status", "final".into()),
        ("code", object([("text", text.into())])),
        ("subject", object([("reference", subject.into())])),
    ])
}

/// The worker once answered those who wait for an empty outbox only: with a steady writer that never came, and no holder
/// answered anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_writer_starves_nobody() {
    let network = Network::start().await;
    let (patient, other) = (network.patient(2).await, network.patient(0).await);
    network.grant(&patient, SOUTH, &[]).await;
    network.node(NORTH).records.flush().await.unwrap();
    let (north, south) = (network.node(NORTH), network.node(SOUTH));
    let stop = Arc::new(AtomicBool::new(false));
    let (records, operator, stopped) = (north.records.clone(), north.operator.clone(), stop.clone());
    let subject = format!("Patient/{}", other.id);
    let writer = tokio::spawn(async move {
        let mut written = 0;
        while !stopped.load(Ordering::SeqCst) {
            records.create(&operator, "Observation", observation(&subject, "steady"), None).await.unwrap();
            written += 1;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        written
    });
    let handle = network.handle(SOUTH).await;
    for _ in 0..3 {
        let purpose = Purpose::parse("TREAT").unwrap();
        let read = south.records.everything_network(&south.operator, &handle, purpose);
        let set = within("a read beside a busy writer", read).await.unwrap();
        assert_eq!(told(south, &set), (vec![], 5));
        let height = within("a flush beside a busy writer", north.records.flush()).await.unwrap();
        assert!(height > 0);
    }
    stop.store(true, Ordering::SeqCst);
    assert!(writer.await.unwrap() > 20);
    network.stop().await;
}

async fn refused(records: &Records, who: &crate::Caller, id: &str, resource: Value) {
    let refused = records.update(who, "Organization", id, resource, None).await;
    assert!(matches!(refused, Err(Error::Denied(_) | Error::Unprocessable { .. })), "{refused:?}");
}

/// A grant names its grantee by the Organization of a member. Who could rewrite one could redirect a patient's grant.
#[tokio::test(flavor = "multi_thread")]
async fn the_organizations_of_members_are_not_written_and_records_follow_their_patient() {
    let network = Network::start().await;
    let (one, two) = (network.patient(1).await, network.patient(0).await);
    let north = network.node(NORTH);
    let (records, operator) = (&north.records, &north.operator);
    let organization = |id: &str, name: &str, member: &str| {
        let system = "https://suture.example/member";
        let identifier = object([("system", system.into()), ("value", member.into())]);
        object([
            ("resourceType", "Organization".into()),
            ("id", id.into()),
            ("identifier", Value::Array(vec![identifier])),
            ("name", name.into()),
        ])
    };
    refused(records, operator, "m2", organization("m2", "Member 2", "m3")).await;
    refused(records, operator, "other", organization("other", "Other", "m3")).await;
    let mut namesake = organization("other", "Member 3", "m3");
    namesake.remove("identifier");
    refused(records, operator, "other", namesake).await;
    assert!(records.delete(operator, "Organization", "m2", None).await.is_err());

    // An absolute reference to this server is a reference to this server's Patient.
    let subject = format!("http://m1/fhir/Patient/{}", one.id);
    let written = records.create(operator, "Observation", observation(&subject, "moves"), None).await.unwrap();
    let id = written.stored.id;
    let found = |patient: &str| {
        let params = vec![("patient".to_owned(), patient.to_owned())];
        Search { resource_type: "Observation".into(), params, after: None, limit: 10 }
    };
    assert_eq!(records.search(operator, found(&one.id)).await.unwrap().resources.len(), 2);
    let both = async |who: &str| records.everything(operator, who, None, 100).await;
    let (of_one, of_two) = (both(&one.id).await.unwrap().resources, both(&two.id).await.unwrap().resources);
    assert!(of_one.iter().any(|r| r.id == id) && !of_two.iter().any(|r| r.id == id));

    // It was the other patient's all along: with its new version it leaves the first record and enters the second.
    let mut moved = observation(&format!("Patient/{}", two.id), "moved");
    moved.set("id", id.as_str().into());
    records.update(operator, "Observation", &id, moved, None).await.unwrap();
    let (of_one, of_two) = (both(&one.id).await.unwrap().resources, both(&two.id).await.unwrap().resources);
    assert!(!of_one.iter().any(|r| r.id == id) && of_two.iter().any(|r| r.id == id));
    assert!(matches!(records.read(&one.caller, "Observation", &id).await, Err(Error::Denied(_))));
    records.read(&two.caller, "Observation", &id).await.unwrap();
    assert!(matches!(records.vread(&two.caller, "Observation", &id, 1).await, Err(Error::NotFound(_))));
    assert_eq!(records.history(&two.caller, "Observation", &id, None, 10).await.unwrap().0.len(), 1);

    // And so it is in the record that others read: the second version is not in it, and the first is gone from it.
    network.grant(&one, SOUTH, &[]).await;
    records.flush().await.unwrap();
    let handle = network.handle(SOUTH).await;
    let south = network.node(SOUTH);
    let purpose = Purpose::parse("TREAT").unwrap();
    let set = within("a read", south.records.everything_network(&south.operator, &handle, purpose)).await.unwrap();
    assert_eq!(told(south, &set), (vec![], 4), "Patient, one Observation, Consent, the grantee's Organization");
    let page = south.records.result_page(&south.operator, &set.id, 0, 100).unwrap();
    assert!(!page.entries.iter().any(|entry| entry.full_url.ends_with(&id)));
    network.stop().await;
}

/// The holder's own vault is lost: the record comes whole from the members that keep copies.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_from_a_replica_when_the_holder_has_lost_them() {
    let network = Network::start().await;
    let patient = network.patient(3).await;
    network.grant(&patient, SOUTH, &[]).await;
    network.node(NORTH).records.flush().await.unwrap();
    let handle = network.handle(SOUTH).await;
    std::fs::remove_dir_all(network.directory.path().join(format!("m{NORTH}/vault/{NORTH}"))).unwrap();
    let south = network.node(SOUTH);
    let purpose = Purpose::parse("TREAT").unwrap();
    let set = within("a read", south.records.everything_network(&south.operator, &handle, purpose)).await.unwrap();
    assert_eq!(told(south, &set), (vec![], 6));
    network.stop().await;
}
