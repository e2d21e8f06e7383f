//! Searches: what is looked for, and the one query that finds it, what the asker may see included.

use crate::Version;
use rusqlite::types::Value as Sql;

/// A value by which a resource is found.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexEntry {
    /// The search parameter.
    pub param: String,
    /// The value.
    pub value: IndexValue,
}

/// A value of one of the types of search parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexValue {
    /// A code, perhaps of a system.
    Token {
        /// The system.
        system: Option<String>,
        /// The code.
        code: String,
    },
    /// Text, as written and normalised.
    String {
        /// As written.
        text: String,
        /// Lower case, without accents.
        normal: String,
    },
    /// A span of time, milliseconds since 1970 UTC, the end exclusive.
    Date {
        /// Begin.
        low_ms: i64,
        /// End.
        high_ms: i64,
    },
    /// A reference.
    Reference {
        /// Its type, when it says so.
        target_type: Option<String>,
        /// The id, or a URL.
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

/// How a date or number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Inside.
    Eq,
    /// Not inside.
    Ne,
    /// Some of it above.
    Gt,
    /// Some of it below.
    Lt,
    /// Above or inside.
    Ge,
    /// Below or inside.
    Le,
    /// All of it above.
    Sa,
    /// All of it below.
    Eb,
}

/// Which systems a token may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// Any or none.
    Any,
    /// None.
    None,
    /// This.
    Is(String),
}

/// One alternative of a filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// A token; without a code, any of the system.
    Token {
        /// The system.
        system: System,
        /// The code.
        code: Option<String>,
    },
    /// Normalised text begins with this.
    StringStarts(String),
    /// Text is exactly this.
    StringExact(String),
    /// Normalised text contains this.
    StringContains(String),
    /// A date compared.
    Date {
        /// How.
        prefix: Prefix,
        /// Begin.
        low_ms: i64,
        /// End, exclusive.
        high_ms: i64,
    },
    /// A reference.
    Reference {
        /// Its type, when asked.
        target_type: Option<String>,
        /// The id or URL.
        target: String,
    },
    /// A URI.
    Uri(String),
    /// A number or quantity compared.
    Number {
        /// How.
        prefix: Prefix,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
        /// System of the unit, when asked.
        system: Option<String>,
        /// Code of the unit, when asked.
        code: Option<String>,
    },
    /// Whether the parameter has no value.
    Missing(bool),
}

/// One of these must hold for a parameter. `_id` and `_lastUpdated` are looked up in the resource itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The parameter.
    pub param: String,
    /// The alternatives.
    pub alternatives: Vec<Test>,
}

/// What the asker may see; part of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// Everything.
    All,
    /// What belongs to a patient's record, and all of these types.
    Patient {
        /// The patient.
        id: String,
        /// Types that everybody may see.
        also_types: Vec<String>,
    },
}

/// A search of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// The type.
    pub resource_type: String,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// What may be seen.
    pub visible: Visible,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: usize,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// Not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct BadCursor;

impl Cursor {
    /// Reads a cursor.
    ///
    /// # Errors
    /// [`BadCursor`] when it cannot be one.
    pub fn parse(text: &str) -> Result<Self, BadCursor> {
        let fits = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if fits { Ok(Self(text.to_owned())) } else { Err(BadCursor) }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A page of what was found, by id.
#[derive(Debug, Clone)]
pub struct SearchPage {
    /// Current versions.
    pub versions: Vec<Version>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl SearchPage {
    pub(crate) fn new(mut versions: Vec<Version>, limit: usize) -> Self {
        let more = versions.len() > limit;
        versions.truncate(limit);
        let next = versions.last().filter(|_| more).map(|v| Cursor(v.key.id.clone()));
        Self { versions, next }
    }
}

/// The condition of a search and its parameters, over `resource r`.
pub(crate) fn condition(search: &Search, paged: bool) -> (String, Vec<Sql>) {
    let mut sql = Clause { text: "r.type = ? AND r.deleted = 0".into(), values: vec![text(&search.resource_type)] };
    let mut filters = Vec::new();
    for Filter { param, alternatives } in &search.filters {
        let (texts, values): (Vec<_>, Vec<_>) = alternatives.iter().map(|test| sql.test(param, test)).unzip();
        filters.push(if texts.is_empty() { "0".to_owned() } else { joined(&texts, "OR") });
        sql.values.extend(values.into_iter().flatten());
    }
    if !filters.is_empty() {
        sql.and(&joined(&filters, "AND"), []);
    }
    if let Visible::Patient { id, also_types } = &search.visible {
        let exists = "EXISTS (SELECT 1 FROM member m WHERE m.patient = ? AND m.type = r.type AND m.id = r.id)";
        if also_types.contains(&search.resource_type) {
            // Everybody may see this type.
        } else {
            sql.and(exists, [text(id)]);
        }
    }
    if let (true, Some(Cursor(after))) = (paged, &search.after) {
        sql.and("r.id > ?", [text(after)]);
    }
    (sql.text, sql.values)
}

/// `a OR b OR …`, halved again and again: SQLite takes an expression 1,000 deep at most, and a plain row is as deep as
/// it is long.
fn joined(tests: &[String], operator: &str) -> String {
    match tests {
        [] | [_] => format!("({})", tests.concat()),
        _ => {
            let (first, rest) = tests.split_at(tests.len() / 2);
            format!("({} {operator} {})", joined(first, operator), joined(rest, operator))
        }
    }
}

struct Clause {
    text: String,
    values: Vec<Sql>,
}

impl Clause {
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Sql>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values);
    }

    fn test(&self, param: &str, test: &Test) -> (String, Vec<Sql>) {
        if param == "_id" {
            return match test {
                Test::Token { code: Some(code), .. } => ("r.id = ?".into(), vec![text(code)]),
                _ => ("0".into(), vec![]),
            };
        }
        if param == "_lastUpdated" {
            return match test {
                Test::Date { prefix, low_ms, high_ms } => {
                    let (condition, values) = span(*prefix, Sql::Integer(*low_ms), Sql::Integer(*high_ms));
                    (condition.replace("low", "r.updated_ms").replace("high", "(r.updated_ms + 1)"), values)
                }
                _ => ("0".into(), vec![]),
            };
        }
        let of = "SELECT x.rid FROM";
        let pid = "x.pid = (SELECT pid FROM param WHERE name = ?)";
        let (table, condition, values): (_, String, Vec<Sql>) = match test {
            Test::Token { system, code } => {
                let mut condition = "1".to_owned();
                let mut values = Vec::new();
                if let Some(code) = code {
                    condition.push_str(" AND x.code = ?");
                    values.push(text(code));
                }
                match system {
                    System::Any => {}
                    System::None => condition.push_str(" AND x.system IS NULL"),
                    System::Is(system) => {
                        condition.push_str(" AND x.system = ?");
                        values.push(text(system));
                    }
                }
                ("ix_token", condition, values)
            }
            Test::StringStarts(normal) => {
                // Between the prefix and its successor, so that the index serves; the highest character ends the span.
                let end = format!("{normal}\u{10FFFF}");
                ("ix_string", "x.normal >= ? AND x.normal < ?".into(), vec![text(normal), text(&end)])
            }
            Test::StringExact(exact) => ("ix_string", "x.text = ?".into(), vec![text(exact)]),
            Test::StringContains(part) => ("ix_string", "instr(x.normal, ?) > 0".into(), vec![text(part)]),
            Test::Date { prefix, low_ms, high_ms } => {
                let (condition, values) = span(*prefix, Sql::Integer(*low_ms), Sql::Integer(*high_ms));
                ("ix_date", condition.replace("low", "x.low").replace("high", "x.high"), values)
            }
            Test::Reference { target_type, target } => {
                let mut condition = "x.target = ?".to_owned();
                let mut values = vec![text(target)];
                if let Some(target_type) = target_type {
                    condition.push_str(" AND x.type = ?");
                    values.push(text(target_type));
                }
                ("ix_reference", condition, values)
            }
            Test::Uri(uri) => ("ix_uri", "x.uri = ?".into(), vec![text(uri)]),
            Test::Number { prefix, low, high, system, code } => {
                let (condition, mut values) = span(*prefix, Sql::Real(*low), Sql::Real(*high));
                let mut condition = condition.replace("low", "x.low").replace("high", "x.high");
                for (column, wanted) in [("system", system), ("code", code)] {
                    if let Some(wanted) = wanted {
                        condition.push_str(&format!(" AND x.{column} = ?"));
                        values.push(text(wanted));
                    }
                }
                ("ix_number", condition, values)
            }
            Test::Missing(missing) => {
                let tables = ["ix_token", "ix_string", "ix_date", "ix_reference", "ix_uri", "ix_number"];
                let has: Vec<String> = tables
                    .iter()
                    .map(|table| format!("EXISTS (SELECT 1 FROM {table} x WHERE x.rid = r.rid AND {pid})"))
                    .collect();
                let values = vec![text(param); tables.len()];
                let not = if *missing { "NOT " } else { "" };
                return (format!("{not}({})", has.join(" OR ")), values);
            }
        };
        let mut all = vec![text(param)];
        all.extend(values);
        (format!("r.rid IN ({of} {table} x WHERE {pid} AND {condition})"), all)
    }
}

/// FHIR's comparison of a span with the asked one (search.html#prefix).
fn span(prefix: Prefix, low: Sql, high: Sql) -> (String, Vec<Sql>) {
    let (condition, values) = match prefix {
        Prefix::Eq => ("(low >= ? AND high <= ?)", vec![low, high]),
        Prefix::Ne => ("(NOT (low >= ? AND high <= ?))", vec![low, high]),
        Prefix::Gt => ("(high > ?)", vec![high]),
        Prefix::Lt => ("(low < ?)", vec![low]),
        Prefix::Ge => ("(high > ? OR (low >= ? AND high <= ?))", vec![high.clone(), low, high]),
        Prefix::Le => ("(low < ? OR (low >= ? AND high <= ?))", vec![low.clone(), low, high]),
        Prefix::Sa => ("(low >= ?)", vec![high]),
        Prefix::Eb => ("(high <= ?)", vec![low]),
    };
    (condition.to_owned(), values)
}

fn text(text: &str) -> Sql {
    Sql::Text(text.to_owned())
}
