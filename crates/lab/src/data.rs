//! Folders of Synthea bundles, split over the members of a network.
//!
//! An entry goes to the member of its organisation (by a stable hash); what names none follows its encounter, then
//! its Patient, whose home is the member with most of the record. Each part has the Patient with all identifiers, and
//! what it refers to outside the patient's compartment. A reference to what lies at another member becomes a logical
//! one: its `urn:uuid:` as an identifier (references.html#logical).

use crate::stories::{StoryPatient, join_name, patient_of};
use anyhow::{Context as _, Result, bail, ensure};
use fhir::{
    json::{Limits, Value, object, parse},
    reference::{Target, references},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// An unpacked file has at most this many octets.
const OCTETS_MAX: u64 = 64 << 20;
/// Elements whose reference to an Organization says where a resource comes from.
const PLACES: [&str; 8] = [
    "serviceProvider",
    "managingOrganization",
    "custodian",
    "provider",
    "performer",
    "organization",
    "author",
    "onBehalfOf",
];
/// Types outside the Patient compartment that each member keeps its own copy of.
const SHARED: [&str; 7] =
    ["Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Medication", "Substance"];

/// What a file holds.
#[derive(Debug)]
pub enum Bundle {
    /// Organisations, practitioners and the like: for every member.
    Shared(Value),
    /// One patient's record.
    Patient(Box<StoryPatient>),
}

/// The bundles in a folder and its folders, `.json` and `.json.gz`, those without a patient first.
///
/// # Errors
/// When the folder cannot be read or has none.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut open, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".json") || name.ends_with(".json.gz") {
                // Synthea names the files that come first so.
                let later = !(name.contains("hospitalInformation") || name.contains("practitionerInformation"));
                found.push((later, name, path));
            }
        }
    }
    ensure!(!found.is_empty(), "{} has no .json or .json.gz file", folder.display());
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

/// Reads a file and splits it over these members.
///
/// # Errors
/// When it is not a FHIR Bundle, with what is wrong.
pub fn read(path: &Path, members: &[String]) -> Result<Bundle> {
    let file = fs::File::open(path)?;
    let mut octets = Vec::new();
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::MultiGzDecoder::new(file).take(OCTETS_MAX + 1).read_to_end(&mut octets)?;
    } else {
        file.take(OCTETS_MAX + 1).read_to_end(&mut octets)?;
    }
    ensure!(octets.len() as u64 <= OCTETS_MAX, "it unpacks to more than 64 MiB");
    let bundle = parse(&octets, Limits::default())?;
    ensure!(bundle.text("resourceType") == Some("Bundle"), "it is not a FHIR Bundle");
    let kind = bundle.text("type");
    ensure!(matches!(kind, Some("transaction" | "batch")), "it is not a `transaction` or a `batch`");
    split(bundle, members)
}

struct Entry {
    value: Value,
    name: String,
    of: String,
}

impl Entry {
    fn resource(&self) -> &Value {
        self.value.get("resource").unwrap_or(&Value::Null)
    }
}

/// Splits a bundle over these members.
///
/// # Errors
/// When it has several patients.
pub fn split(mut bundle: Value, members: &[String]) -> Result<Bundle> {
    ensure!(!members.is_empty(), "there is no member");
    let patients = count_patients(&bundle);
    if patients == 0 {
        return Ok(Bundle::Shared(bundle));
    }
    ensure!(patients == 1, "it has {patients} patients: give each a file of their own");
    let Some(Value::Array(entries)) = bundle.remove("entry") else { bail!("it has no entries") };
    let entries: Vec<Entry> = entries
        .into_iter()
        .map(|value| Entry {
            name: value.text("fullUrl").unwrap_or_default().to_owned(),
            of: value.get("resource").and_then(|r| r.text("resourceType")).unwrap_or_default().to_owned(),
            value,
        })
        .collect();
    let known: HashMap<&str, usize> = entries.iter().enumerate().map(|(at, e)| (e.name.as_str(), at)).collect();
    let targets: Vec<Vec<usize>> = entries
        .iter()
        .map(|e| references(e.resource()).iter().filter_map(|r| known.get(r.text.as_str()).copied()).collect())
        .collect();
    let places = places(&entries, &targets, members);
    let home = home(&places).unwrap_or_else(|| pick(&entries[0].name, members));
    let mut parts = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let mut here: BTreeSet<usize> = (0..entries.len())
            .filter(|at| !SHARED.contains(&entries[*at].of.as_str()))
            .filter(|at| entries[*at].of != "Patient" && places[*at].unwrap_or(home) == number)
            .collect();
        if here.is_empty() && number != home {
            continue;
        }
        here.extend((0..entries.len()).filter(|at| entries[*at].of == "Patient"));
        let mut open: Vec<usize> = here.iter().copied().collect();
        while let Some(at) = open.pop() {
            let shared = targets[at].iter().filter(|to| SHARED.contains(&entries[**to].of.as_str()));
            open.extend(shared.copied().filter(|to| here.insert(*to)));
        }
        let names: BTreeSet<&str> = here.iter().map(|at| entries[*at].name.as_str()).collect();
        let part = here.iter().map(|at| {
            let mut value = entries[*at].value.clone();
            if SHARED.contains(&entries[*at].of.as_str()) {
                once(&mut value);
            }
            make_logical(&mut value, &|text| {
                known.get(text).filter(|_| !names.contains(text)).map(|at| &*entries[*at].of)
            });
            value
        });
        let part = object([
            ("resourceType", "Bundle".into()),
            ("type", "transaction".into()),
            ("entry", Value::Array(part.collect())),
        ]);
        parts.push((member.clone(), part));
    }
    let name = patient_of(&parts[0].1).and_then(join_name).context("its Patient has no name")?;
    Ok(Bundle::Patient(Box::new(StoryPatient { name, story: "Synthea", home: members[home].clone(), parts })))
}

fn count_patients(bundle: &Value) -> usize {
    let entries = bundle.get("entry").and_then(Value::as_array).unwrap_or_default();
    let of = |entry: &Value| entry.get("resource").and_then(|r| r.text("resourceType")) == Some("Patient");
    entries.iter().filter(|entry| of(entry)).count()
}

/// The member of each entry: by its own organisation, else by its encounter's.
fn places(entries: &[Entry], targets: &[Vec<usize>], members: &[String]) -> Vec<Option<usize>> {
    let organizations: HashMap<&str, String> = entries
        .iter()
        .filter(|e| e.of == "Organization")
        .map(|e| (e.name.as_str(), identifier(e.resource()).unwrap_or_else(|| e.name.clone())))
        .collect();
    let own = |entry: &Entry| {
        let organization = references(entry.resource()).into_iter().find_map(|reference| {
            let element = reference.path.trim_end_matches(".reference").rsplit('.').next().unwrap_or_default();
            if !PLACES.contains(&element.split('[').next().unwrap_or_default()) {
                return None;
            }
            match (organizations.get(reference.text.as_str()), &reference.target) {
                (Some(key), _) => Some(key.clone()),
                (None, Target::Conditional { resource_type, query }) if resource_type == "Organization" => {
                    Some(query.rsplit(['|', '=']).next().unwrap_or_default().to_owned())
                }
                _ => None,
            }
        });
        organization.map(|key| pick(&key, members))
    };
    let own: Vec<Option<usize>> = entries.iter().map(own).collect();
    let follow = |at: usize| {
        let encounter = targets[at].iter().find(|to| entries[**to].of == "Encounter");
        own[at].or_else(|| encounter.and_then(|to| own[*to]))
    };
    (0..entries.len()).map(follow).collect()
}

fn identifier(organization: &Value) -> Option<String> {
    Some(organization.get("identifier")?.as_array()?.first()?.text("value")?.to_owned())
}

/// An entry that several patients' bundles have is made once: by its first identifier.
fn once(entry: &mut Value) {
    let first = |entry: &Value| {
        let identifier = entry.get("resource")?.get("identifier")?.as_array()?.first()?;
        Some((identifier.text("system")?.to_owned(), identifier.text("value")?.to_owned()))
    };
    if let Some((system, value)) = first(entry)
        && let Some(request) = entry.get_mut("request")
        && request.text("method") == Some("POST")
    {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':' | '/');
        let encode = |text: &str| -> String {
            let octets = |c: char| c.to_string().bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            text.chars().map(|c| if plain(c) { c.to_string() } else { octets(c) }).collect()
        };
        request.set("ifNoneExist", format!("identifier={}|{}", encode(&system), encode(&value)).into());
    }
}

/// Where most of the record lies.
fn home(places: &[Option<usize>]) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for place in places.iter().flatten() {
        *counts.entry(*place).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(place, count)| (*count, std::cmp::Reverse(*place))).map(|(place, _)| place)
}

/// A stable choice: the same key goes to the same member on every machine.
fn pick(key: &str, members: &[String]) -> usize {
    let hash = wire::hash::hash("organisation", &[key.as_bytes()]);
    let number = u64::from_be_bytes(hash[..8].try_into().expect("8 of 32 octets"));
    (number % members.len() as u64) as usize
}

/// Turns references to what `elsewhere` knows (by type) into logical ones.
fn make_logical<'a>(value: &mut Value, elsewhere: &dyn Fn(&str) -> Option<&'a str>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| make_logical(item, elsewhere)),
        Value::Object(members) => {
            let target = members.iter().position(|(name, value)| {
                name == "reference" && value.as_str().is_some_and(|text| elsewhere(text).is_some())
            });
            if let Some(at) = target
                && let (_, Value::String(text)) = members.remove(at)
            {
                let of = elsewhere(&text).unwrap_or("Resource");
                if !members.iter().any(|(name, _)| name == "type") {
                    members.push(("type".into(), of.into()));
                }
                let identifier = object([("system", "urn:ietf:rfc:3986".into()), ("value", text.into())]);
                members.push(("identifier".into(), identifier));
            }
            members.iter_mut().for_each(|(_, member)| make_logical(member, elsewhere));
        }
        _ => {}
    }
}
