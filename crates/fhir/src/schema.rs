//! The structure of R4: which elements each type has, how often, of which types; from the tables in `tables/`.

use crate::json::{Limits, Value, parse};
use std::{
    collections::{BTreeSet, HashMap},
    io::Read as _,
    sync::LazyLock,
};

/// An element of a type.
#[derive(Debug)]
pub struct Element {
    /// Its path in the definition, `value[x]` for a choice.
    pub path: String,
    /// Least number.
    pub min: u32,
    /// Whether it may occur more than once, and so is an array.
    pub many: bool,
    /// Its types.
    pub types: Vec<String>,
    /// The path whose elements it has, when it repeats another's structure.
    pub same_as: Option<String>,
    /// The value set that its codes must come from.
    pub required: Option<String>,
}

/// How a member of an object is understood: its element and its type.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Index of the element.
    element: usize,
    /// Index of the type among the element's types.
    of: usize,
}

/// The tables.
#[derive(Debug)]
pub struct Schema {
    elements: Vec<Element>,
    /// Path → the members that an object there may have.
    members: HashMap<String, HashMap<String, Member>>,
    /// Path → elements that it must have.
    needed: HashMap<String, Vec<usize>>,
    resources: BTreeSet<String>,
    /// Value set → codes, whatever their system.
    codes: HashMap<String, BTreeSet<String>>,
}

/// The tables of R4, read once.
pub static R4: LazyLock<Schema> = LazyLock::new(Schema::load);

/// Lines of a packed table.
pub(crate) fn table(packed: &[u8]) -> Vec<Value> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text).expect("the tables were packed by us");
    let lines = text.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| parse(line, Limits::default()).expect("the tables are JSON")).collect()
}

/// Whether R4 has a resource type of this name.
#[must_use]
pub fn is_resource_type(name: &str) -> bool {
    R4.resources.contains(name)
}

/// All resource types, in order.
pub fn resource_types() -> impl Iterator<Item = &'static str> {
    R4.resources.iter().map(String::as_str)
}

/// Whether a type is a primitive: its name begins with a small letter.
#[must_use]
pub fn is_primitive(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
}

impl Schema {
    fn load() -> Self {
        let mut schema = Self {
            elements: Vec::new(),
            members: HashMap::new(),
            needed: HashMap::new(),
            resources: BTreeSet::new(),
            codes: HashMap::new(),
        };
        for set in table(include_bytes!("../tables/required-valuesets.ndjson.gz")) {
            let codes = match set.get("codes") {
                Some(Value::Object(systems)) => {
                    systems.iter().flat_map(|(_, codes)| codes.as_array().unwrap_or_default())
                }
                _ => continue,
            };
            let codes = codes.filter_map(Value::as_str).map(str::to_owned).collect();
            let name = set.text("valueSet").unwrap_or_default();
            schema.codes.insert(name.split('|').next().unwrap_or(name).to_owned(), codes);
        }
        for of in table(include_bytes!("../tables/elements.ndjson.gz")) {
            let name = of.text("type").unwrap_or_default().to_owned();
            let concrete = of.get("abstract") != Some(&Value::Bool(true));
            if of.text("kind") == Some("resource") && concrete {
                schema.resources.insert(name.clone());
            }
            schema.members.entry(name).or_default();
            for element in of.get("elements").and_then(Value::as_array).unwrap_or_default() {
                schema.add(element);
            }
        }
        schema
    }

    fn add(&mut self, element: &Value) {
        let path = element.text("p").unwrap_or_default().to_owned();
        let Some((parent, name)) = path.rsplit_once('.') else { return };
        let types = element.get("type").and_then(Value::as_array).unwrap_or_default();
        let types: Vec<String> = types.iter().filter_map(|t| t.text("c")).map(str::to_owned).collect();
        let bind = element.get("bind").and_then(Value::as_array).unwrap_or_default();
        let required = match bind {
            [strength, set] if strength.as_str() == Some("required") => {
                set.as_str().map(|s| s.split('|').next().unwrap_or(s).to_owned())
            }
            _ => None,
        };
        let index = self.elements.len();
        let members = self.members.entry(parent.to_owned()).or_default();
        if let Some(stem) = name.strip_suffix("[x]") {
            for (of, code) in types.iter().enumerate() {
                let mut chars = code.chars();
                let first = chars.next().map(|c| c.to_ascii_uppercase());
                let member = format!("{stem}{}{}", first.unwrap_or_default(), chars.as_str());
                members.insert(member, Member { element: index, of });
            }
        } else {
            members.insert(name.to_owned(), Member { element: index, of: 0 });
        }
        let min = match element.get("min") {
            Some(Value::Number(text)) => text.parse().unwrap_or(0),
            _ => 0,
        };
        if min > 0 {
            self.needed.entry(parent.to_owned()).or_default().push(index);
        }
        let many = element.text("max") != Some("1") && element.text("max") != Some("0");
        let same_as = element.text("ref").map(|r| r.trim_start_matches('#').to_owned());
        self.elements.push(Element { path, min, many, types, same_as, required });
    }

    /// The element and type of a member of the object at `path` (a type's name, or a path inside one).
    #[must_use]
    pub fn member(&self, path: &str, name: &str) -> Option<(&Element, &str)> {
        let member = self.members.get(path)?.get(name)?;
        let element = &self.elements[member.element];
        Some((element, element.types.get(member.of).map_or("", String::as_str)))
    }

    /// Where the structure of an element's objects stands: its own path when it has members there, else its type.
    #[must_use]
    pub fn structure<'a>(&'a self, element: &'a Element, of: &'a str) -> &'a str {
        match &element.same_as {
            Some(path) => path,
            None if self.members.contains_key(&element.path) => &element.path,
            None => of,
        }
    }

    /// Elements that an object at `path` must have.
    pub(crate) fn needed(&self, path: &str) -> impl Iterator<Item = &Element> {
        self.needed.get(path).into_iter().flatten().map(|index| &self.elements[*index])
    }

    /// Names under which an element may stand in an object.
    pub(crate) fn names<'a>(&'a self, path: &str, element: &Element) -> BTreeSet<&'a str> {
        let members = self.members.get(path).into_iter().flatten();
        let same = |member: &Member| std::ptr::eq(&raw const self.elements[member.element], element);
        members.filter(|(_, member)| same(member)).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether R4 has a complex type of this name.
    #[must_use]
    pub fn has_type(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Whether a code is in a value set; `true` for sets that cannot be listed.
    #[must_use]
    pub fn has_code(&self, set: &str, code: &str) -> bool {
        self.codes.get(set).is_none_or(|codes| codes.contains(code))
    }
}
