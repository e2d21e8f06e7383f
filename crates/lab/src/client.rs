//! A FHIR client from outside: what any program could do with curl.

use anyhow::{Context as _, Result, bail};
use fhir::json::{Limits, Value, parse};
use std::{collections::BTreeMap, time::Duration};

/// The HTTP client that clients share.
pub type Http = reqwest::Client;

/// A client with one person's token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    token: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, number texts kept.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        parse(&self.body, Limits::default()).context("the answer is not JSON")
    }

    /// The answer, when its status is this.
    ///
    /// # Errors
    /// With status and diagnostics when it is another.
    pub fn expect(self, status: u16, what: &str) -> Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        let text = String::from_utf8_lossy(&self.body);
        bail!("{what}: expected HTTP {status}, got {}: {}", self.status, text.chars().take(600).collect::<String>())
    }
}

/// The HTTP client behind all.
///
/// # Errors
/// When it cannot be made.
pub fn http() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build()?)
}

impl Client {
    /// A client that sends this token.
    #[must_use]
    pub fn new(http: &reqwest::Client, token: &str) -> Self {
        Self { http: http.clone(), token: token.to_owned() }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method.parse()?, url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/fhir+json").body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = |(n, v): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (n.as_str().to_owned(), v.to_str().unwrap_or_default().to_owned())
        };
        let headers = response.headers().iter().map(text).collect();
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// GET.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, url: &str) -> Result<Answer> {
        self.send("GET", url, &[], None).await
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Answer> {
        self.send("POST", url, &[], Some(body.write())).await
    }

    /// All entries of a searchset from its first page on, and the first answer.
    ///
    /// # Errors
    /// When a page is not answered with 200.
    pub async fn entries(&self, first: Answer) -> Result<Vec<Value>> {
        let mut entries = Vec::new();
        let mut page = first;
        loop {
            let mut bundle = page.expect(200, "a page of a Bundle")?.json()?;
            if let Some(Value::Array(found)) = bundle.remove("entry") {
                entries.extend(found);
            }
            let links = bundle.get("link").and_then(Value::as_array).unwrap_or_default();
            let next = links.iter().find(|l| l.text("relation") == Some("next")).and_then(|l| l.text("url"));
            match next {
                Some(url) => page = self.get(url).await?,
                None => return Ok(entries),
            }
        }
    }
}

/// The target of a `Link` header with this relation (RFC 8288).
#[must_use]
pub fn link(answer: &Answer, relation: &str) -> Option<String> {
    let header = answer.headers.get("link")?;
    let one = header.split(',').find(|one| one.contains(&format!("rel=\"{relation}\"")))?;
    Some(one.trim().strip_prefix('<')?.split_once('>')?.0.to_owned())
}
