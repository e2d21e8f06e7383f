//! A JSON tree that loses nothing: number text and the order of keys stay as they were written.

use std::{collections::HashSet, fmt};
use struson::reader::{JsonReader as _, JsonStreamReader, ReaderSettings, ValueType};

/// A value. Its `Debug` shows its kind only, since its content may be health data.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, in its order of keys.
    Object(Vec<(String, Value)>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool",
            Self::Number(_) => "Number",
            Self::String(_) => "String",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
        })
    }
}

/// Bounds of parsing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Octets at most.
    pub octets_max: usize,
    /// Nesting at most.
    pub depth_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { octets_max: 64 << 20, depth_max: 64 }
    }
}

/// An object with fewer members is searched from its first one.
const NAMES_FEW: usize = 32;

/// Why octets are not JSON that is taken here. Says where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON: {reason}")]
pub struct ParseError {
    /// What is wrong and where.
    pub reason: String,
}

/// Parses one JSON document.
///
/// # Errors
/// [`ParseError`] for anything that is not JSON (RFC 8259), keys that occur twice, NUL characters, nesting deeper or
/// input longer than the limits, or data after the end.
pub fn parse(octets: &[u8], limits: Limits) -> Result<Value, ParseError> {
    if octets.len() > limits.octets_max {
        let reason = format!("it is longer than {} octets", limits.octets_max);
        return Err(ParseError { reason });
    }
    let settings = ReaderSettings {
        max_nesting_depth: Some(limits.depth_max),
        track_path: false,
        restrict_number_values: false,
        ..ReaderSettings::default()
    };
    let mut reader = JsonStreamReader::new_custom(octets, settings);
    let value = read(&mut reader)?;
    reader.consume_trailing_whitespace().map_err(failed)?;
    Ok(value)
}

fn failed(error: impl fmt::Display) -> ParseError {
    // The tokenizer's message names the kind of error and the position, not the content.
    ParseError { reason: error.to_string() }
}

fn read(reader: &mut JsonStreamReader<&[u8]>) -> Result<Value, ParseError> {
    Ok(match reader.peek().map_err(failed)? {
        ValueType::Null => {
            reader.next_null().map_err(failed)?;
            Value::Null
        }
        ValueType::Boolean => Value::Bool(reader.next_bool().map_err(failed)?),
        ValueType::Number => Value::Number(reader.next_number_as_string().map_err(failed)?),
        ValueType::String => Value::String(no_nul(reader.next_string().map_err(failed)?)?),
        ValueType::Array => {
            let mut items = Vec::new();
            reader.begin_array().map_err(failed)?;
            while reader.has_next().map_err(failed)? {
                items.push(read(reader)?);
            }
            reader.end_array().map_err(failed)?;
            Value::Array(items)
        }
        ValueType::Object => {
            let mut members: Vec<(String, Value)> = Vec::new();
            let mut names: HashSet<String> = HashSet::new();
            reader.begin_object().map_err(failed)?;
            while reader.has_next().map_err(failed)? {
                let name = no_nul(reader.next_name_owned().map_err(failed)?)?;
                // Few names are compared one by one; many, of a hostile document, are not.
                let doubled = if members.len() < NAMES_FEW {
                    members.iter().any(|(known, _)| *known == name)
                } else {
                    if names.is_empty() {
                        names.extend(members.iter().map(|(known, _)| known.clone()));
                    }
                    !names.insert(name.clone())
                };
                if doubled {
                    return Err(ParseError { reason: "a key occurs twice in one object".into() });
                }
                members.push((name, read(reader)?));
            }
            reader.end_object().map_err(failed)?;
            Value::Object(members)
        }
    })
}

fn no_nul(text: String) -> Result<String, ParseError> {
    if text.contains('\0') { Err(ParseError { reason: "a string contains NUL".into() }) } else { Ok(text) }
}

/// An object from its members.
#[must_use]
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}
impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}
impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

impl Value {
    /// A member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// A member of an object, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => members.iter_mut().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Replaces a member, or appends it.
    pub fn set(&mut self, name: &str, value: Self) {
        if let Some(found) = self.get_mut(name) {
            *found = value;
        } else if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    /// Inserts a member behind another, or in front when that is not there.
    pub fn insert_after(&mut self, behind: &str, name: &str, value: Self) {
        if let Self::Object(members) = self {
            let at = members.iter().position(|(n, _)| n == behind).map_or(0, |at| at + 1);
            members.insert(at, (name.to_owned(), value));
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        match self {
            Self::Object(members) => {
                let at = members.iter().position(|(n, _)| n == name)?;
                Some(members.remove(at).1)
            }
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string member.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Self::as_str)
    }

    /// The JSON text: no spaces, keys in their order, numbers as written.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = String::new();
        self.write_to(&mut out);
        out.into_bytes()
    }

    fn write_to(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::String(text) => quote(text, out),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_to(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    value.write_to(out);
                }
                out.push('}');
            }
        }
    }
}

/// RFC 8259 §7: quotes, backslashes and control characters are escaped, nothing else.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_order_stay_as_written() {
        let text = r#"{"b":1.50,"a":[1.0E-22,12345678901234567890,-0.0],"c":"é\n\"\\\u0001","d":null,"e":{}}"#;
        assert_eq!(parse(text.as_bytes(), Limits::default()).unwrap().write(), text.as_bytes());
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        let nul = "\"\\u0000\"";
        let deep = "[".repeat(70) + &"]".repeat(70);
        for bad in [r#"{"a":1,"a":2}"#, "{", "[1,]", "1 2", r#""\ud800""#, "NaN", "", nul, &deep, "{'a':1}", "01"] {
            assert!(parse(bad.as_bytes(), Limits::default()).is_err(), "{bad}");
        }
        assert!(parse(b"[1]", Limits { octets_max: 2, depth_max: 64 }).is_err());
        assert!(parse(b"\"\xff\"", Limits::default()).is_err());
        let many = |last: &str| {
            let names: Vec<String> = (0..200).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{},\"{last}\":0}}", names.join(","))
        };
        assert!(parse(many("k200").as_bytes(), Limits::default()).is_ok());
        for doubled in ["k0", "k40", "k199"] {
            assert!(parse(many(doubled).as_bytes(), Limits::default()).is_err(), "{doubled}");
        }
    }
}
