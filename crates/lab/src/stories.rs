//! Patients' stories, written as a physician would, and more patients made from them.

use anyhow::{Context as _, Result};
use fhir::json::{Limits, Value, parse};
use time::{Date, Duration, Month};

/// A story and its parts by member.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Short name.
    pub name: &'static str,
    /// Home of its patient.
    pub home: &'static str,
    /// Member and transaction Bundle.
    pub parts: &'static [(&'static str, &'static str)],
}

macro_rules! part {
    ($story:literal, $member:literal) => {
        ($member, include_str!(concat!("../../../stories/", $story, "/", $member, ".json")))
    };
}

/// The four stories: diabetes over ten years, a broken hip far from home, a child with asthma, a cancer.
pub const STORIES: [Story; 4] = [
    Story {
        name: "diabetes",
        home: "clinic",
        parts: &[part!("diabetes", "clinic"), part!("diabetes", "lab"), part!("diabetes", "north")],
    },
    Story {
        name: "hip",
        home: "north",
        parts: &[part!("hip", "south"), part!("hip", "north"), part!("hip", "clinic"), part!("hip", "lab")],
    },
    Story {
        name: "asthma",
        home: "clinic",
        parts: &[
            part!("asthma", "clinic"),
            part!("asthma", "south"),
            part!("asthma", "lab"),
            part!("asthma", "health"),
        ],
    },
    Story {
        name: "cancer",
        home: "north",
        parts: &[part!("cancer", "north"), part!("cancer", "south"), part!("cancer", "clinic"), part!("cancer", "lab")],
    },
];

/// A patient to be loaded.
#[derive(Debug, Clone)]
pub struct StoryPatient {
    /// Full name, unique.
    pub name: String,
    /// Which story.
    pub story: &'static str,
    /// The member that keeps the wallet.
    pub home: String,
    /// Member and transaction Bundle.
    pub parts: Vec<(String, Value)>,
}

const FAMILIES: [&str; 24] = [
    "Abara",
    "Brunner",
    "Chowdhury",
    "Delgado",
    "Eriksen",
    "Fontaine",
    "Goldberg",
    "Horvat",
    "Ibrahim",
    "Jankowski",
    "Kaplan",
    "Laine",
    "Mbeki",
    "Nakamura",
    "Oduya",
    "Petrov",
    "Quiroga",
    "Rossi",
    "Sato",
    "Tanaka",
    "Ueda",
    "Varga",
    "Wong",
    "Yilmaz",
];
const WOMEN: [&str; 12] =
    ["Aisha", "Beatriz", "Chiara", "Dunja", "Elif", "Freya", "Greta", "Hana", "Ines", "Johanna", "Katya", "Lucia"];
const MEN: [&str; 12] =
    ["Anton", "Bilal", "Carlos", "David", "Emil", "Farid", "Goran", "Hugo", "Ivan", "Jonas", "Kenji", "Luca"];

/// `count` patients at these members: the stories' own first, then the stories again with new identities and all
/// dates shifted back by the same number of days. A part whose member is not there goes to `lab`.
///
/// # Errors
/// When a story is not what it should be.
pub fn people(count: usize, seed: u64, members: &[String]) -> Result<Vec<StoryPatient>> {
    let mut people = Vec::new();
    for number in 0..count {
        let story = &STORIES[number % STORIES.len()];
        let copy = number / STORIES.len();
        let mut parts: Vec<(String, Value)> = Vec::new();
        let mut name = String::new();
        for (member, text) in story.parts {
            let mut bundle =
                parse(text.as_bytes(), Limits::default()).with_context(|| format!("{}/{member}", story.name))?;
            if copy > 0 {
                let days = 1 + mix(seed ^ (number as u64) << 8) % 700;
                shift(&mut bundle, i64::try_from(days)?);
                rename(&mut bundle, number, seed);
            }
            name = patient_of(&bundle).and_then(join_name).context("a story has a Patient with a name")?;
            let here = if members.iter().any(|m| m == member) { (*member).to_owned() } else { "lab".to_owned() };
            match parts.iter_mut().find(|(m, _)| *m == here) {
                Some((_, known)) => join(known, bundle),
                None => parts.push((here, bundle)),
            }
        }
        people.push(StoryPatient { name, story: story.name, home: story.home.to_owned(), parts });
    }
    Ok(people)
}

/// SplitMix64: the same people for the same seed.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn resources(bundle: &mut Value) -> impl Iterator<Item = &mut Value> {
    let entries = match bundle.get_mut("entry") {
        Some(Value::Array(entries)) => entries.as_mut_slice(),
        _ => &mut [],
    };
    entries.iter_mut().filter_map(|entry| entry.get_mut("resource"))
}

/// The Patient of a Bundle.
pub(crate) fn patient_of(bundle: &Value) -> Option<&Value> {
    let entries = bundle.get("entry")?.as_array()?;
    entries.iter().filter_map(|e| e.get("resource")).find(|r| r.text("resourceType") == Some("Patient"))
}

/// First given and family name.
pub(crate) fn join_name(patient: &Value) -> Option<String> {
    let name = patient.get("name")?.as_array()?.first()?;
    let given = name.get("given")?.as_array()?.first()?.as_str()?;
    Some(format!("{given} {}", name.text("family")?))
}

/// A new identity: the story's course stays.
fn rename(bundle: &mut Value, number: usize, seed: u64) {
    let pick = mix(seed ^ number as u64);
    for patient in resources(bundle).filter(|r| r.text("resourceType") == Some("Patient")) {
        let given = if patient.text("gender") == Some("male") { MEN } else { WOMEN };
        let family = number % FAMILIES.len();
        // The seed turns each family's given names, so that none of them serves twice before all have.
        let turn = mix(seed ^ 1 << 40 ^ family as u64) as usize % given.len();
        let given = given[(number / FAMILIES.len() + turn) % given.len()];
        let family = FAMILIES[family];
        // Beyond the names' number the family name gets a numeral, so that names stay unique.
        let round = number / (FAMILIES.len() * 12);
        let family = if round == 0 { family.to_owned() } else { format!("{family} {round}") };
        if let Some(Value::Array(names)) = patient.get_mut("name")
            && let Some(name) = names.first_mut()
        {
            name.set("family", family.into());
            name.set("given", Value::Array(vec![given.into()]));
        }
        if let Some(Value::Array(identifiers)) = patient.get_mut("identifier") {
            for identifier in identifiers {
                let value = match identifier.text("system").unwrap_or_default() {
                    s if s.ends_with("/national-id") => {
                        format!("GB-{:03}-{:03}-{:02}", pick % 1_000, number % 1_000, pick / 7 % 100)
                    }
                    s if s.ends_with("/insurance-number") => {
                        format!("INS-{:04}{:04}", pick / 11 % 10_000, number % 10_000)
                    }
                    _ => format!("{:06}", 100_000 + number),
                };
                identifier.set("value", value.into());
            }
        }
    }
}

/// All dates of a Bundle, back by the same number of days.
fn shift(value: &mut Value, days: i64) {
    match value {
        Value::String(text) => {
            if let Some(shifted) = shifted(text, days) {
                *text = shifted;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, days)),
        Value::Object(members) => members.iter_mut().for_each(|(_, member)| shift(member, days)),
        _ => {}
    }
}

fn shifted(text: &str, days: i64) -> Option<String> {
    let (day, rest) = text.split_at_checked(10)?;
    if !(rest.is_empty() || rest.starts_with('T')) || day.as_bytes()[4] != b'-' || day.as_bytes()[7] != b'-' {
        return None;
    }
    let month = Month::try_from(day[5..7].parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(day[..4].parse().ok()?, month, day[8..].parse().ok()?).ok()?;
    let date = date.checked_sub(Duration::days(days))?;
    Some(format!("{:04}-{:02}-{:02}{rest}", date.year(), u8::from(date.month()), date.day()))
}

/// Adds a part's entries to another of the same patient: the second Patient is dropped, references go to the first.
fn join(known: &mut Value, other: Value) {
    let patient = |bundle: &Value| -> Option<String> {
        let entries = bundle.get("entry")?.as_array()?;
        let is_patient = |e: &&Value| e.get("resource").and_then(|r| r.text("resourceType")) == Some("Patient");
        Some(entries.iter().find(is_patient)?.text("fullUrl")?.to_owned())
    };
    let (Some(to), Some(from)) = (patient(known), patient(&other)) else { return };
    let mut other = other;
    fhir::reference::rewrite(&mut other, |text| (text == from).then(|| to.clone()));
    let Some(Value::Array(entries)) = other.remove("entry") else { return };
    if let Some(Value::Array(all)) = known.get_mut("entry") {
        all.extend(
            entries.into_iter().filter(|e| e.get("resource").and_then(|r| r.text("resourceType")) != Some("Patient")),
        );
    }
}
