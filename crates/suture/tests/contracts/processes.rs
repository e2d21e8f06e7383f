//! Members as processes: one that dies is named and comes back, a directory serves one process, Ctrl-C stops all.

use crate::{
    network::{Network, until},
    process::{Running, SOON, SUTURE, command_line, signal},
    record::{grant, prove, read, union},
};
use rustix::process::Signal;
use std::process::Command;

fn run(network: &Network, member: &str, log: &str) -> Running {
    let mut command = Command::new(SUTURE);
    command.arg("run").arg(network.place.network().join(member));
    Running::start(&mut command, network.place.beside(log))
}

/// A second process on a directory in use ends at once and says whose it is.
async fn refused(network: &Network, member: &str, pid: u32) {
    let mut second = run(network, member, "second.log");
    let status = second.end(SOON).await;
    assert!(!status.success());
    assert!(second.said().contains(&pid.to_string()), "{:?} does not name process {pid}", second.said());
}

#[tokio::test]
async fn a_killed_holder_is_named_comes_back_on_its_ports_and_ctrl_c_stops_it_too() {
    let mut network = Network::start(&["--members", "4", "--patients", "4"]).await;
    let person = &network.patients(&["north", "south", "clinic", "lab"], &[])[0];
    let (south, clinician, at_south) = (network.member("south"), network.clinician("south"), &person.ids["south"]);
    let lab = network.member("lab");
    grant(&network, person, "south", |_| ()).await;
    let whole = read(&clinician, &south, at_south, (None, 100)).await;
    assert!(whole.outcomes.is_empty(), "{:?}", whole.outcomes);
    assert_eq!(whole.matches, union(&network, person).await);
    refused(&network, "lab", lab.pid).await;
    assert!(command_line(lab.pid).is_some(), "the one that was there goes on");

    signal(lab.pid, Signal::KILL);
    until("the killed member is gone", SOON, || async { command_line(lab.pid).is_none().then_some(()) }).await;
    let without = read(&clinician, &south, at_south, (None, 100)).await;
    let names: Vec<String> = without.outcomes.iter().map(ToString::to_string).collect();
    assert!(names.len() == 1 && names[0].contains(&lab.title), "{names:?} must name {}", lab.title);
    assert!(without.outcomes[0]["issue"][0]["severity"] == "error");
    assert!(!without.sources().contains(&&*lab.title), "no Provenance for a part that is not there");
    let others = |url: &String| !url.starts_with(&format!("{}/", lab.fhir));
    let mut expected = whole.matches.clone();
    expected.retain(|url, _| others(url));
    assert_eq!(without.matches, expected, "the other holders' parts are all there, and nothing of the killed one's");
    let findings = prove(&network, &clinician, &without.proof).await;
    assert_eq!(findings.missing.len(), 1, "the proof says so too");
    assert!(network.stays(), "the demo goes on without it");

    let mut back = run(&network, "lab", "lab-again.log");
    until("it is ready on the same port", SOON, || async {
        let ready = lab.operator.get(&format!("{}/readyz", lab.web)).await;
        ready.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(back.ended(), None, "{}", back.said());
    let again = read(&clinician, &south, at_south, (None, 100)).await;
    assert!(again.outcomes.is_empty(), "the next read is complete: {:?}", again.outcomes);
    assert_eq!(again.matches, whole.matches);
    assert_eq!(again.sources(), whole.sources());
    refused(&network, "lab", back.pid()).await;

    let pids: Vec<u32> = network.members().iter().map(|m| m.pid).chain([back.pid()]).collect();
    network.stop().await;
    assert!(pids.iter().all(|pid| command_line(*pid).is_none()), "all members are stopped");
    let status = back.end(SOON).await;
    assert!(status.success(), "the one brought back was stopped cleanly: {status}\n{}", back.said());
}
