//! Search values by the official parameters: what a resource is found by, and what a query asks for.

use crate::{
    date::parse_date,
    json::Value,
    path::Path,
    reference::{Target, target},
    schema::table,
};
use std::{collections::HashMap, sync::LazyLock};

/// The type of a search parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A code.
    Token,
    /// Text.
    String,
    /// A moment.
    Date,
    /// A reference.
    Reference,
    /// A URI.
    Uri,
    /// A number.
    Number,
    /// A quantity.
    Quantity,
}

#[derive(Debug)]
struct Param {
    kind: Kind,
    paths: Vec<Path>,
}

/// Type → code → parameter; those of all resources under `Resource`.
static PARAMS: LazyLock<HashMap<String, HashMap<String, Param>>> = LazyLock::new(|| {
    let mut params: HashMap<String, HashMap<String, Param>> = HashMap::new();
    for row in table(include_bytes!("../tables/search-parameters.ndjson.gz")) {
        let kind = match row.text("type") {
            Some("token") => Kind::Token,
            Some("string") => Kind::String,
            Some("date") => Kind::Date,
            Some("reference") => Kind::Reference,
            Some("uri") => Kind::Uri,
            Some("number") => Kind::Number,
            Some("quantity") => Kind::Quantity,
            _ => continue,
        };
        let (Some(code), Some(expression)) = (row.text("code"), row.text("expression")) else { continue };
        for base in row.get("base").and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str) {
            let paths = Path::alternatives(expression, base);
            if !paths.is_empty() {
                params.entry(base.into()).or_default().insert(code.into(), Param { kind, paths });
            }
        }
    }
    params
});

fn params(resource_type: &str) -> impl Iterator<Item = (&'static String, &'static Param)> {
    [resource_type, "DomainResource", "Resource"].into_iter().filter_map(|of| PARAMS.get(of)).flatten()
}

/// The paths of a parameter, for those who follow references by it.
pub(crate) fn expression(resource_type: &str, code: &str) -> Option<Vec<Path>> {
    PARAMS.get(resource_type)?.get(code).map(|param| param.paths.clone())
}

/// Codes and types of the parameters of a resource type, by code.
#[must_use]
pub fn parameters(resource_type: &str) -> Vec<(&'static str, Kind)> {
    let mut found: Vec<_> = params(resource_type).map(|(code, param)| (code.as_str(), param.kind)).collect();
    found.sort_by_key(|(code, _)| *code);
    found.dedup_by_key(|(code, _)| *code);
    found
}

/// A value by which a resource is found.
#[derive(Clone, PartialEq)]
#[expect(missing_debug_implementations, reason = "values may be health data")]
pub struct IndexValue {
    /// The parameter's code.
    pub param: &'static str,
    /// The value.
    pub value: Indexed,
}

/// A value of a parameter's type.
#[derive(Clone, PartialEq)]
#[expect(missing_debug_implementations, reason = "values may be health data")]
pub enum Indexed {
    /// A code and its system.
    Token {
        /// The system.
        system: Option<String>,
        /// The code.
        code: String,
    },
    /// Text as written and normalised.
    String {
        /// As written.
        text: String,
        /// Lower case, accents folded.
        normal: String,
    },
    /// A span, milliseconds since 1970 UTC, the end exclusive.
    Date {
        /// Begin.
        low_ms: i64,
        /// End.
        high_ms: i64,
    },
    /// A reference.
    Reference {
        /// Its type.
        target_type: Option<String>,
        /// Id or URL.
        target: String,
    },
    /// A URI.
    Uri(String),
    /// A number or quantity with its precision.
    Number {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
        /// System of the unit.
        system: Option<String>,
        /// Code of the unit.
        code: Option<String>,
    },
}

/// All values by which a resource is found; `_id` and `_lastUpdated` are the store's own.
#[must_use]
pub fn index(resource: &Value) -> Vec<IndexValue> {
    let mut found = Vec::new();
    for (code, param) in params(resource.text("resourceType").unwrap_or_default()) {
        if code == "_id" || code == "_lastUpdated" {
            continue;
        }
        for value in param.paths.iter().flat_map(|path| path.values(resource)) {
            values(param.kind, value, &mut |value| found.push(IndexValue { param: code, value }));
        }
    }
    found
}

fn values(kind: Kind, value: &Value, add: &mut impl FnMut(Indexed)) {
    let owned = |name: &str| value.text(name).map(str::to_owned);
    match (kind, value) {
        (Kind::Token, Value::String(code)) => add(Indexed::Token { system: None, code: code.clone() }),
        (Kind::Token, Value::Bool(flag)) => add(Indexed::Token { system: None, code: flag.to_string() }),
        (Kind::Token, Value::Object(_)) => {
            if let Some(Value::Array(codings)) = value.get("coding") {
                codings.iter().for_each(|coding| values(kind, coding, add));
            } else if let Some(code) = owned("code").or_else(|| owned("value")) {
                add(Indexed::Token { system: owned("system"), code });
            }
        }
        (Kind::String, Value::String(text)) => add(Indexed::String { text: text.clone(), normal: normal(text) }),
        (Kind::String, Value::Object(members)) => {
            // HumanName and Address: each part is searched, the whole too.
            let parts = [
                "text",
                "family",
                "given",
                "prefix",
                "suffix",
                "line",
                "city",
                "district",
                "state",
                "postalCode",
                "country",
            ];
            for (_, part) in members.iter().filter(|(name, _)| parts.contains(&name.as_str())) {
                match part {
                    Value::Array(items) => items.iter().for_each(|item| values(kind, item, add)),
                    part => values(kind, part, add),
                }
            }
        }
        (Kind::Date, Value::String(text)) => {
            if let Some((low_ms, high_ms)) = parse_date(text) {
                add(Indexed::Date { low_ms, high_ms });
            }
        }
        (Kind::Date, Value::Object(_)) => {
            let bound = |name: &str| value.text(name).and_then(parse_date);
            match (bound("start"), bound("end")) {
                (None, None) => {
                    let events = value.get("event").and_then(Value::as_array).unwrap_or_default();
                    events.iter().for_each(|event| values(kind, event, add));
                }
                (start, end) => add(Indexed::Date {
                    low_ms: start.map_or(i64::MIN, |s| s.0),
                    high_ms: end.map_or(i64::MAX, |e| e.1),
                }),
            }
        }
        (Kind::Reference, Value::Object(_)) => {
            if let Some(text) = value.text("reference") {
                reference(text, add);
            }
        }
        (Kind::Reference, Value::String(text)) => reference(text, add),
        (Kind::Uri, Value::String(uri)) => add(Indexed::Uri(uri.clone())),
        (Kind::Number, Value::Number(text)) => {
            if let Some((low, high)) = precise(text) {
                add(Indexed::Number { low, high, system: None, code: None });
            }
        }
        (Kind::Quantity, Value::Object(_)) => {
            if let Some(Value::Number(text)) = value.get("value")
                && let Some((low, high)) = precise(text)
            {
                let code = owned("code").or_else(|| owned("unit")).or_else(|| owned("currency"));
                add(Indexed::Number { low, high, system: owned("system"), code });
            }
        }
        _ => {}
    }
}

fn reference(text: &str, add: &mut impl FnMut(Indexed)) {
    match target(text) {
        Target::Relative { resource_type, id } => {
            add(Indexed::Reference { target_type: Some(resource_type), target: id })
        }
        Target::Contained => {}
        _ => add(Indexed::Reference { target_type: None, target: text.to_owned() }),
    }
}

/// A number as written stands for a span of half a unit of its last digit (search.html#number).
fn precise(text: &str) -> Option<(f64, f64)> {
    let value: f64 = text.parse().ok()?;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let half = 0.5 * 10f64.powi(exponent.parse::<i32>().ok()? - digits);
    (value.is_finite() && half.is_finite()).then_some((value - half, value + half))
}

/// Lower case, Latin accents folded.
#[must_use]
pub fn normal(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .filter_map(|c| match c {
            'à'..='å' | 'ā' | 'ă' | 'ą' => Some('a'),
            'ç' | 'ć' | 'č' => Some('c'),
            'ď' | 'đ' => Some('d'),
            'è'..='ë' | 'ē' | 'ę' | 'ě' => Some('e'),
            'ì'..='ï' | 'ī' | 'ı' => Some('i'),
            'ł' => Some('l'),
            'ñ' | 'ń' | 'ň' => Some('n'),
            'ò'..='ö' | 'ø' | 'ō' | 'ő' => Some('o'),
            'ř' => Some('r'),
            'ś' | 'š' | 'ş' => Some('s'),
            'ť' | 'ţ' => Some('t'),
            'ù'..='ü' | 'ū' | 'ů' | 'ű' => Some('u'),
            'ý' | 'ÿ' => Some('y'),
            'ź' | 'ż' | 'ž' => Some('z'),
            '\u{300}'..='\u{36f}' => None,
            c => Some(c),
        })
        .collect()
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Less.
    Lt,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Starts after.
    Sa,
    /// Ends before.
    Eb,
}

/// One alternative that is asked for.
#[derive(Clone, PartialEq)]
#[expect(missing_debug_implementations, reason = "values may be health data")]
pub enum Wanted {
    /// A token; `system`: any (`None`), none (`Some(None)`), or this.
    Token {
        /// The system.
        system: Option<Option<String>>,
        /// The code; any when absent.
        code: Option<String>,
    },
    /// Normalised text begins with.
    StringStarts(String),
    /// Text is exactly.
    StringExact(String),
    /// Normalised text contains.
    StringContains(String),
    /// A date.
    Date {
        /// How.
        prefix: Prefix,
        /// Begin.
        low_ms: i64,
        /// End.
        high_ms: i64,
    },
    /// A reference.
    Reference {
        /// Type, when named.
        target_type: Option<String>,
        /// Id or URL.
        target: String,
    },
    /// A URI.
    Uri(String),
    /// A number or quantity.
    Number {
        /// How.
        prefix: Prefix,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
        /// System of the unit.
        system: Option<String>,
        /// Code of the unit.
        code: Option<String>,
    },
    /// Whether the parameter has no value.
    Missing(bool),
}

/// One parameter of a query; any of its alternatives may hold.
#[derive(Clone, PartialEq)]
#[expect(missing_debug_implementations, reason = "values may be health data")]
pub struct Filter {
    /// The parameter's code.
    pub param: String,
    /// The alternatives.
    pub alternatives: Vec<Wanted>,
}

/// Why a query is not understood. Names the parameter, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{param}: {reason}")]
pub struct QueryError {
    /// The parameter.
    pub param: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Reads a query on a resource type.
///
/// # Errors
/// [`QueryError`] for a parameter, modifier or value that is not understood: nothing is ignored in silence.
pub fn parse_query(resource_type: &str, query: &[(String, String)]) -> Result<Vec<Filter>, QueryError> {
    query.iter().map(|(name, value)| filter(resource_type, name, value)).collect()
}

fn filter(resource_type: &str, name: &str, value: &str) -> Result<Filter, QueryError> {
    let failed = |reason: String| QueryError { param: name.to_owned(), reason };
    let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
    let kind = match code {
        "_id" => Kind::Token,
        "_lastUpdated" => Kind::Date,
        _ => params(resource_type)
            .find(|(known, _)| known.as_str() == code)
            .map(|(_, param)| param.kind)
            .ok_or_else(|| failed(format!("{resource_type} has no such search parameter that is supported here")))?,
    };
    let mut alternatives = Vec::new();
    for one in split_escaped(value, ',') {
        let wanted = wanted(kind, modifier, &one).map_err(|reason| failed(reason.to_owned()))?;
        alternatives.push(wanted);
    }
    Ok(Filter { param: code.to_owned(), alternatives })
}

fn wanted(kind: Kind, modifier: Option<&str>, text: &str) -> Result<Wanted, &'static str> {
    if modifier == Some("missing") {
        return match text {
            "true" => Ok(Wanted::Missing(true)),
            "false" => Ok(Wanted::Missing(false)),
            _ => Err(":missing takes true or false"),
        };
    }
    if text.is_empty() {
        return Err("a value is needed");
    }
    Ok(match (kind, modifier) {
        (Kind::Token, None) => match split_escaped(text, '|').as_slice() {
            [code] => Wanted::Token { system: None, code: Some(code.clone()) },
            [system, code] => Wanted::Token {
                system: Some((!system.is_empty()).then(|| system.clone())),
                code: (!code.is_empty()).then(|| code.clone()),
            },
            _ => return Err("a token is `code`, `system|code`, `|code` or `system|`"),
        },
        (Kind::String, None) => Wanted::StringStarts(normal(&unescape(text))),
        (Kind::String, Some("exact")) => Wanted::StringExact(unescape(text)),
        (Kind::String, Some("contains")) => Wanted::StringContains(normal(&unescape(text))),
        (Kind::Date, None) => {
            let (prefix, rest) = prefix(text);
            let (low_ms, high_ms) = parse_date(rest).ok_or(
                "a date is YYYY, YYYY-MM, YYYY-MM-DD or with a time, perhaps after eq, ne, gt, ge, lt, le, sa or eb",
            )?;
            Wanted::Date { prefix, low_ms, high_ms }
        }
        (Kind::Reference, modifier) => match (target(text), modifier) {
            (Target::Relative { resource_type, id }, None) => {
                Wanted::Reference { target_type: Some(resource_type), target: id }
            }
            (_, Some(of)) if crate::schema::is_resource_type(of) => {
                Wanted::Reference { target_type: Some(of.to_owned()), target: text.to_owned() }
            }
            (_, None) => Wanted::Reference { target_type: None, target: text.to_owned() },
            _ => return Err("a reference takes no modifier but a resource type"),
        },
        (Kind::Uri, None) => Wanted::Uri(unescape(text)),
        (Kind::Number | Kind::Quantity, None) => {
            let (prefix, rest) = prefix(text);
            let parts = split_escaped(rest, '|');
            let (low, high) = parts
                .first()
                .and_then(|n| precise(n))
                .ok_or("a number is needed, perhaps after eq, ne, gt, ge, lt or le")?;
            let part = |at: usize| parts.get(at).filter(|p| !p.is_empty()).cloned();
            if parts.len() != 1 && parts.len() != 3 {
                return Err("a quantity is `number` or `number|system|code`");
            }
            Wanted::Number { prefix, low, high, system: part(1), code: part(2) }
        }
        _ => return Err("this modifier is not supported for this parameter"),
    })
}

fn prefix(text: &str) -> (Prefix, &str) {
    let known = [
        ("eq", Prefix::Eq),
        ("ne", Prefix::Ne),
        ("gt", Prefix::Gt),
        ("lt", Prefix::Lt),
        ("ge", Prefix::Ge),
        ("le", Prefix::Le),
        ("sa", Prefix::Sa),
        ("eb", Prefix::Eb),
    ];
    for (name, prefix) in known {
        if let Some(rest) = text.strip_prefix(name) {
            return (prefix, rest);
        }
    }
    (Prefix::Eq, text)
}

/// Splits at `at` unless a backslash stands in front; other escapes stay for the next level.
fn split_escaped(text: &str, at: char) -> Vec<String> {
    let (mut parts, mut part, mut chars) = (Vec::new(), String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) if escaped == at => part.push(escaped),
                Some(escaped) => {
                    part.push('\\');
                    part.push(escaped);
                }
                None => part.push('\\'),
            },
            c if c == at => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    parts
}

fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}
