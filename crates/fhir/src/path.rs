//! The paths of search parameters: plain steps, `as`/`ofType`, `where(x='…')`, `where(resolve() is T)`. They cover all
//! but three of the 1,769 alternatives in R4; what they do not cover is left out when the tables are read.

use crate::{
    json::Value,
    reference::{Target, target},
    schema::{R4, is_primitive},
};

/// One alternative of a search parameter's expression.
#[derive(Debug, Clone)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A member; of a choice, any of its types.
    Field(String),
    /// A member of a choice, of one type.
    Typed(String, String),
    /// Only objects whose member has this text.
    Where(String, String),
    /// Only references to this type.
    ResolvesTo(String),
}

impl Path {
    /// The alternatives of an expression that begin at `resource_type` (or at any resource).
    #[must_use]
    pub fn alternatives(expression: &str, resource_type: &str) -> Vec<Self> {
        split(expression, '|').into_iter().filter_map(|text| Self::parse(text.trim(), resource_type)).collect()
    }

    fn parse(text: &str, resource_type: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let text = text.trim();
        // `(Observation.value as Quantity).code` or `(Observation.value as Quantity)`
        let (head, rest) = match text.strip_prefix('(') {
            Some(inner) => {
                let end = inner.find(')')?;
                (&inner[..end], inner[end + 1..].strip_prefix('.').unwrap_or(""))
            }
            None => (text, ""),
        };
        let (plain, cast) = match head.split_once(" as ") {
            Some((plain, cast)) => (plain, Some(cast.trim())),
            None => (head, None),
        };
        let mut parts = split(plain, '.').into_iter();
        let root = parts.next()?.trim();
        if root != resource_type && root != "Resource" && root != "DomainResource" {
            return None;
        }
        for part in parts.map(str::trim) {
            push(&mut steps, part)?;
        }
        if let Some(cast) = cast {
            retype(&mut steps, cast)?;
        }
        for part in split(rest, '.').into_iter().map(str::trim).filter(|part| !part.is_empty()) {
            push(&mut steps, part)?;
        }
        Some(Self { steps })
    }

    /// What the path leads to in a resource; arrays are walked through.
    #[must_use]
    pub fn values<'a>(&self, resource: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![resource];
        for step in &self.steps {
            found = match step {
                Step::Field(name) => found.into_iter().flat_map(|value| field(value, name)).collect(),
                Step::Typed(name, of) => {
                    let member = typed(name, of);
                    found.into_iter().filter_map(|value| value.get(&member)).flat_map(items).collect()
                }
                Step::Where(name, wanted) => {
                    found.into_iter().filter(|value| value.text(name) == Some(wanted)).collect()
                }
                Step::ResolvesTo(of) => found.into_iter().filter(|value| refers_to(value, of)).collect(),
            };
        }
        found
    }
}

fn push(steps: &mut Vec<Step>, part: &str) -> Option<()> {
    let inside = |name: &str| {
        part.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')).and_then(|rest| rest.strip_suffix(')'))
    };
    if let Some(of) = inside("as").or_else(|| inside("ofType")) {
        return retype(steps, of.trim());
    }
    if let Some(condition) = inside("where") {
        if let Some(of) = condition.trim().strip_prefix("resolve() is ") {
            steps.push(Step::ResolvesTo(of.trim().into()));
        } else {
            let (name, wanted) = condition.split_once('=')?;
            let wanted = wanted.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            steps.push(Step::Where(name.trim().into(), wanted.into()));
        }
        return Some(());
    }
    if part.contains('(') {
        return None;
    }
    steps.push(Step::Field(part.into()));
    Some(())
}

fn retype(steps: &mut [Step], of: &str) -> Option<()> {
    let last = steps.last_mut()?;
    let Step::Field(name) = last else { return None };
    *last = Step::Typed(name.clone(), of.into());
    Some(())
}

/// Splits at `at` outside of parentheses.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if c == at && depth == 0 => {
                parts.push(&text[from..index]);
                from = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn typed(name: &str, of: &str) -> String {
    let mut chars = of.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    format!("{name}{first}{}", chars.as_str())
}

fn field<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    if let Some(found) = value.get(name) {
        return items(found);
    }
    let Value::Object(members) = value else { return Vec::new() };
    let choice = |member: &str| member.strip_prefix(name).is_some_and(is_type);
    members.iter().filter(|(member, _)| choice(member)).flat_map(|(_, value)| items(value)).collect()
}

/// Whether the rest of a choice's member name is a type.
fn is_type(rest: &str) -> bool {
    let lower = rest.chars().next().map(|c| c.to_ascii_lowercase()).map(|c| format!("{c}{}", &rest[c.len_utf8()..]));
    rest.starts_with(|c: char| c.is_ascii_uppercase())
        && (R4.has_type(rest)
            || lower.is_some_and(|lower| is_primitive(&lower) && PRIMITIVES.contains(&lower.as_str())))
}

const PRIMITIVES: [&str; 19] = [
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
];

fn items(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        other => vec![other],
    }
}

fn refers_to(value: &Value, of: &str) -> bool {
    match value.text("reference").map(target) {
        Some(Target::Relative { resource_type, .. } | Target::Conditional { resource_type, .. }) => resource_type == of,
        _ => value.text("type") == Some(of),
    }
}
