//! A patient's record as read by a client: entries by `fullUrl`, each octet as it came.

use crate::{
    network::{Member, Network, Person, ask, ask_with, json, until},
    process::SOON,
};
use lab::client::{Answer, Client, link};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};
use wire::{
    Format as _,
    genesis::Genesis,
    proof::{Document, Findings},
};

/// `fullUrl` → the resource's octets.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// An answer from all members.
#[derive(Debug)]
pub struct Record {
    /// What the holders gave.
    pub matches: Entries,
    /// What the reader's member says about where they come from.
    pub provenances: Vec<Value>,
    /// What it says about parts that are not here.
    pub outcomes: Vec<Value>,
    /// Where its proof is.
    pub proof: String,
    /// Number of pages.
    pub pages: usize,
}

impl Record {
    /// Titles in Provenances, in order.
    pub fn sources(&self) -> Vec<&str> {
        let titles = self.provenances.iter().map(|p| p["agent"][0]["who"]["display"].as_str().unwrap());
        let mut titles: Vec<&str> = titles.collect();
        titles.sort_unstable();
        titles
    }
}

/// The octets of every resource in a Bundle, by `fullUrl`.
fn octets(bundle: &[u8]) -> Entries {
    let (start, mut found) = (b"{\"fullUrl\":\"", Entries::new());
    let mut at = 0;
    // A quote inside a text is written `\"`: this sequence begins an entry and nothing else.
    while let Some(next) = bundle[at..].windows(start.len()).position(|w| w == start) {
        at += next + start.len();
        let end = at + bundle[at..].iter().position(|b| *b == b'"').unwrap();
        let url = String::from_utf8(bundle[at..end].to_vec()).unwrap();
        let rest = bundle[end..].strip_prefix(b"\",\"resource\":").expect("a resource follows its fullUrl");
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        values.next().unwrap().unwrap();
        let resource = rest[..values.byte_offset()].to_vec();
        assert!(found.insert(url.clone(), resource).is_none(), "{url} comes twice");
        at = end;
    }
    found
}

/// All pages of a Bundle from its first on.
pub async fn pages(client: &Client, first: Answer) -> Vec<Answer> {
    let mut pages = vec![first];
    loop {
        let bundle = json(pages.last().unwrap());
        assert_eq!(bundle["type"], "searchset");
        let links = bundle["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|l| l["relation"] == "next") else { return pages };
        let url = next["url"].as_str().unwrap();
        assert!(url.starts_with("http://"), "{url} is not absolute");
        pages.push(ask(client, 200, ("GET", url), None).await);
        assert!(pages.len() < 2_000, "paging does not end");
    }
}

/// All entries of a search, or of another Bundle in pages.
pub async fn search(client: &Client, url: &str) -> Vec<Value> {
    let first = ask(client, 200, ("GET", url), None).await;
    let all = pages(client, first).await;
    all.iter().flat_map(|page| json(page)["entry"].as_array().cloned().unwrap_or_default()).collect()
}

/// The record that a member holds.
pub async fn local(client: &Client, member: &Member, id: &str, count: usize) -> Entries {
    let url = format!("{}/Patient/{id}/$everything?_count={count}", member.fhir);
    let first = ask(client, 200, ("GET", &url), None).await;
    let mut all = Entries::new();
    for page in pages(client, first).await {
        let here = octets(&page.body);
        assert!(here.len() <= count, "a page of {count} has {}", here.len());
        all.extend(here);
    }
    all
}

/// The union of what a patient's holders hold.
pub async fn union(network: &Network, person: &Person) -> Entries {
    let mut all = Entries::new();
    for (member, id) in &person.ids {
        let member = network.member(member);
        let part = local(&member.operator, &member, id, 1_000).await;
        assert!(part.keys().all(|url| url.starts_with(&format!("{}/", member.fhir))), "a fullUrl is its holder's");
        assert!(part.contains_key(&format!("{}/Patient/{id}", member.fhir)));
        all.extend(part);
    }
    all
}

/// Reads across members; demands 200.
pub async fn read(client: &Client, at: &Member, id: &str, (purpose, count): (Option<&str>, usize)) -> Record {
    let url = format!("{}/Patient/{id}/$everything?scope=network&_count={count}", at.fhir);
    let headers: Vec<(&str, &str)> = purpose.map(|purpose| ("Purpose-Of-Use", purpose)).into_iter().collect();
    let first = ask_with(client, 200, ("GET", &url), &headers, None).await;
    let proof = link(&first, "proof").expect("the answer links to its proof");
    let mut record = Record { matches: Entries::new(), provenances: Vec::new(), outcomes: Vec::new(), proof, pages: 0 };
    for page in pages(client, first).await {
        record.pages += 1;
        let bundle = json(&page);
        let mut here = octets(&page.body);
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        assert!(entries.len() <= count && entries.len() == here.len());
        for entry in entries {
            let (url, resource) = (entry["fullUrl"].as_str().unwrap(), &entry["resource"]);
            match entry["search"]["mode"].as_str().unwrap() {
                "match" => {
                    let known = record.matches.insert(url.to_owned(), here.remove(url).unwrap());
                    assert!(known.is_none(), "{url} is on two pages");
                }
                "include" => record.provenances.push(resource.clone()),
                "outcome" => record.outcomes.push(resource.clone()),
                other => panic!("an entry of mode {other}"),
            }
        }
    }
    assert!(record.provenances.iter().all(|r| r["resourceType"] == "Provenance"));
    assert!(record.outcomes.iter().all(|r| r["resourceType"] == "OperationOutcome"));
    record
}

/// A refusal: an OperationOutcome that says what is missing and how to ask for it, and no part of the record.
pub async fn refused(client: &Client, at: &Member, id: &str, purpose: Option<&str>) {
    let url = format!("{}/Patient/{id}/$everything?scope=network", at.fhir);
    let headers: Vec<(&str, &str)> = purpose.map(|purpose| ("Purpose-Of-Use", purpose)).into_iter().collect();
    let outcome = json(&ask_with(client, 403, ("GET", &url), &headers, None).await);
    assert!(outcome.get("entry").is_none());
    let text = outcome["issue"][0]["diagnostics"].as_str().unwrap();
    for word in ["grant", "Consent", &at.title] {
        assert!(text.contains(word), "{text:?} does not speak of {word}");
    }
}

/// A complete grant to a member.
pub fn consent(person: &Person, grantee: &str) -> Value {
    let concept = |system: &str, code: &str| json!({"coding": [{"system": system, "code": code}]});
    json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IDSCL")],
        "patient": {"reference": format!("Patient/{}", person.ids[&person.home])},
        "policyRule": concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "provision": {
            "type": "permit",
            "actor": [{
                "role": concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
                "reference": {"reference": format!("Organization/{grantee}")},
            }],
        },
    })
}

/// The Organization of a member, found as anybody would.
pub async fn organization(network: &Network, person: &Person, member: &str) -> String {
    let title = network.member(member).title.replace(' ', "%20");
    let url = format!("{}/Organization?name:exact={title}", network.member(&person.home).fhir);
    let found = search(&person.client, &url).await;
    assert_eq!(found.len(), 1, "one Organization for {member}");
    found[0]["resource"]["id"].as_str().unwrap().to_owned()
}

/// Grants as the patient does, what `change` makes of a complete grant; gives the Consent.
pub async fn grant(network: &Network, person: &Person, grantee: &str, change: impl Fn(&mut Value)) -> Value {
    let home = network.member(&person.home);
    let mut wish = consent(person, &organization(network, person, grantee).await);
    change(&mut wish);
    let url = format!("{}/Consent", home.fhir);
    json(&ask(&person.client, 201, ("POST", &url), Some(wish)).await)
}

/// Waits until the grantee has its copy of the patient's Consent in this state.
pub async fn copy(grantee: &Member, id: &str, status: &str) -> Value {
    let url = format!("{}/Consent?patient=Patient/{id}", grantee.fhir);
    until(&format!("a copy of the Consent at {}, {status}", grantee.name), SOON, || async {
        let found = search(&grantee.operator, &url).await;
        let found = found.into_iter().map(|e| e["resource"].clone());
        found.into_iter().find(|c| c["status"] == status)
    })
    .await
}

/// Fetches a proof and checks it against the genesis.
pub async fn prove(network: &Network, client: &Client, proof: &str) -> Findings {
    let document = ask(client, 200, ("GET", proof), None).await.body;
    let genesis = fs::read(network.manifest["genesis"].as_str().unwrap()).unwrap();
    let genesis = Genesis::from_octets(&genesis).unwrap();
    Document::from_octets(&document).unwrap().verify(&genesis).unwrap()
}
