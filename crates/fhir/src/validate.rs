//! Whether a resource has the structure of R4: elements, numbers, types, choices, primitives, required codes.

use crate::{
    date::parse_date,
    json::Value,
    schema::{Element, R4, Schema, is_primitive, is_resource_type},
};

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// FHIR's issue type.
    pub code: &'static str,
    /// FHIRPath of the place.
    pub expression: String,
    /// What is wrong and what would be right; never the content.
    pub diagnostics: String,
}

impl Issue {
    /// An error.
    #[must_use]
    pub fn error(code: &'static str, expression: impl Into<String>, diagnostics: impl Into<String>) -> Self {
        Self { severity: "error", code, expression: expression.into(), diagnostics: diagnostics.into() }
    }

    /// The same issue, its place seen from outside.
    #[must_use]
    pub fn inside(self, place: impl FnOnce(&str) -> String) -> Self {
        Self { expression: place(&self.expression), ..self }
    }
}

/// At most this many issues are told.
const ISSUES_MAX: usize = 50;

/// Checks a resource, of the expected type when one is named.
///
/// # Errors
/// The issues, at most 50, in the order of the resource.
pub fn validate(resource: &Value, expected: Option<&str>) -> Result<(), Vec<Issue>> {
    let mut checker = Checker { schema: &R4, issues: Vec::new() };
    match (resource.text("resourceType"), expected) {
        (None, _) => checker.error("structure", "resourceType", "is needed: the type of the resource"),
        (Some(found), Some(expected)) if found != expected => {
            checker.error("structure", "resourceType", format!("must be {expected}"));
        }
        (Some(found), _) => checker.resource(resource, found, found),
    }
    if checker.issues.is_empty() { Ok(()) } else { Err(checker.issues) }
}

struct Checker<'a> {
    schema: &'a Schema,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn error(&mut self, code: &'static str, place: &str, what: impl Into<String>) {
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(Issue::error(code, place, what));
        }
    }

    fn resource(&mut self, resource: &Value, of: &str, place: &str) {
        if !is_resource_type(of) {
            return self.error("structure", place, "resourceType is not a type of FHIR R4");
        }
        if let Some(id) = resource.text("id")
            && !is_id(id)
        {
            self.error("value", &format!("{place}.id"), "an id is 1 to 64 of A-Z, a-z, 0-9, '-' and '.'");
        }
        self.object(resource, of, place, true);
    }

    fn object(&mut self, value: &Value, path: &str, place: &str, resource: bool) {
        let Value::Object(members) = value else {
            return self.error("structure", place, "must be an object");
        };
        if members.is_empty() {
            return self.error("structure", place, "an object is not empty");
        }
        let mut choices: Vec<(&str, &str)> = Vec::new();
        for (name, value) in members {
            if resource && name == "resourceType" {
                continue;
            }
            let (plain, beside) = match name.strip_prefix('_') {
                Some(plain) => (plain, true),
                None => (name.as_str(), false),
            };
            let inner = format!("{place}.{plain}");
            let Some((element, of)) = self.schema.member(path, plain) else {
                self.error("structure", &inner, format!("{plain} is not an element of {path} in FHIR R4"));
                continue;
            };
            if element.path.ends_with("[x]") && !beside {
                if choices.iter().any(|(stem, other)| *stem == element.path && *other != plain) {
                    self.error("structure", &inner, "only one of the element's types may be present");
                }
                choices.push((&element.path, plain));
            }
            if beside {
                self.beside(value, element, of, &inner, members.iter().any(|(n, _)| n == plain));
            } else {
                self.member(value, element, of, &inner);
            }
        }
        for needed in self.schema.needed(path) {
            let names = self.schema.names(path, needed);
            let there = members.iter().any(|(name, _)| names.contains(name.trim_start_matches('_')));
            if !there {
                let name = needed.path.rsplit('.').next().unwrap_or_default();
                self.error("required", &format!("{place}.{name}"), format!("{name} is needed in {path}"));
            }
        }
    }

    fn member(&mut self, value: &Value, element: &Element, of: &str, place: &str) {
        match (element.many, value) {
            (true, Value::Array(items)) if items.is_empty() => self.error("structure", place, "an array is not empty"),
            (true, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    // In an array of primitives null stands where only `_element` has something.
                    if !(is_primitive(of) && *item == Value::Null) {
                        self.single(item, element, of, &format!("{place}[{at}]"));
                    }
                }
            }
            (true, _) => self.error("structure", place, "must be an array: the element may occur more than once"),
            (false, Value::Array(_)) => {
                self.error("structure", place, "must not be an array: the element occurs at most once")
            }
            (false, _) => self.single(value, element, of, place),
        }
    }

    fn single(&mut self, value: &Value, element: &Element, of: &str, place: &str) {
        if is_primitive(of) || of.starts_with("http:") {
            return self.primitive(value, element, of, place);
        }
        if of == "Resource" {
            return match value.text("resourceType") {
                Some(found) => self.resource(value, found, place),
                None => self.error("structure", place, "resourceType is needed: the type of the resource"),
            };
        }
        let structure = self.schema.structure(element, of).to_owned();
        self.object(value, &structure, place, false);
    }

    /// `_element`: id and extensions of a primitive.
    fn beside(&mut self, value: &Value, element: &Element, of: &str, place: &str, paired: bool) {
        if !is_primitive(of) {
            return self.error("structure", place, "an underscore stands in front of primitive elements only");
        }
        match (element.many, value) {
            (true, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    if *item != Value::Null {
                        self.object(item, "Element", &format!("{place}[{at}]"), false);
                    }
                }
            }
            (false, Value::Object(_)) => self.object(value, "Element", place, false),
            (false, Value::Null) if paired => {}
            _ => self.error("structure", place, "the element beside a primitive has the primitive's shape"),
        }
    }

    fn primitive(&mut self, value: &Value, element: &Element, of: &str, place: &str) {
        let what = match (of, value) {
            ("boolean", Value::Bool(_)) => return,
            ("boolean", _) => "true or false without quotes",
            ("integer" | "positiveInt" | "unsignedInt", Value::Number(text)) => match (of, text.parse::<i32>()) {
                ("positiveInt", Ok(1..)) | ("unsignedInt", Ok(0..)) | ("integer", Ok(_)) => return,
                _ => "a whole number in the type's range",
            },
            ("integer" | "positiveInt" | "unsignedInt", _) => "a whole number without quotes",
            ("decimal", Value::Number(text)) if text.len() <= 64 => return,
            ("decimal", _) => "a number without quotes",
            (_, Value::String(text)) => match wrong_text(of, text) {
                None => {
                    if of == "code"
                        && let Some(set) = &element.required
                        && !self.schema.has_code(set, text)
                    {
                        let what = format!("the code is not one of the required value set {set}");
                        self.error("code-invalid", place, what);
                    }
                    return;
                }
                Some(what) => what,
            },
            _ => "a string",
        };
        self.error("value", place, format!("must be {what} ({of})"));
    }
}

/// What a text of this primitive type would have to be, when it is not.
fn wrong_text(of: &str, text: &str) -> Option<&'static str> {
    let right = match of {
        "date" => text.len() <= 10 && parse_date(text).is_some(),
        "dateTime" => parse_date(text).is_some() && (text.len() <= 10 || zoned(text)),
        "instant" => text.len() >= 20 && parse_date(text).is_some() && zoned(text),
        "time" => {
            text.len() >= 8
                && parse_date(&format!("2000-01-01T{text}")).is_some()
                && !zoned(&format!("2000-01-01T{text}"))
        }
        "code" => !text.is_empty() && text.trim() == text && !text.contains("  ") && !text.contains(['\t', '\n', '\r']),
        "id" => is_id(text),
        "oid" => {
            text.strip_prefix("urn:oid:").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        }
        "uuid" => text.strip_prefix("urn:uuid:").is_some_and(|rest| rest.len() == 36),
        "uri" | "url" | "canonical" => !text.is_empty() && !text.contains(char::is_whitespace),
        "base64Binary" => is_base64(text),
        "xhtml" => is_xhtml(text),
        _ => !text.trim().is_empty(),
    };
    let what = match of {
        "date" => "YYYY, YYYY-MM or YYYY-MM-DD",
        "dateTime" => "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with a zone",
        "instant" => "YYYY-MM-DDThh:mm:ss with a zone",
        "time" => "hh:mm:ss without a zone",
        "code" => "a code without spaces around or doubled inside",
        "id" => "1 to 64 of A-Z, a-z, 0-9, '-' and '.'",
        "oid" => "urn:oid: and digits",
        "uuid" => "urn:uuid: and a UUID",
        "uri" | "url" | "canonical" => "a URI without spaces",
        "base64Binary" => "base64",
        "xhtml" => "XHTML in one <div> with its namespace, and without script",
        _ => "text that is not empty",
    };
    (!right).then_some(what)
}

fn zoned(text: &str) -> bool {
    text.ends_with('Z')
        || text
            .get(text.len().saturating_sub(6)..)
            .is_some_and(|z| z.starts_with(['+', '-']) && z.as_bytes()[3] == b':')
}

/// An id of FHIR, but for `.` and `..`, which no address can name.
fn is_id(text: &str) -> bool {
    !matches!(text, "." | "..")
        && (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

fn is_base64(text: &str) -> bool {
    let octets: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    data_encoding::BASE64.decode_len(octets.len()).is_ok() && data_encoding::BASE64.decode(&octets).is_ok()
}

/// A bounded look only: one `div`, tags balanced in number, nothing that runs.
fn is_xhtml(text: &str) -> bool {
    let trimmed = text.trim();
    let lower = trimmed.to_ascii_lowercase();
    let runs =
        ["<script", "<!doctype", "<!entity", "<form", "<iframe", "javascript:"].iter().any(|bad| lower.contains(bad));
    trimmed.starts_with("<div") && (trimmed.ends_with("</div>") || trimmed.ends_with("/>")) && !runs
}
