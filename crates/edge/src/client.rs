//! The way to other members: HTTP with bounds on time and size.

use crate::peer::hex;
use data_encoding::HEXLOWER;
use futures::{StreamExt as _, future::BoxFuture};
use records::{CallFailed, Transport};
use std::{collections::BTreeMap, time::Duration};
use wire::{
    message::peer::{CALL_OCTETS_MAX, Call, Method},
    sign::Signature,
};

/// Calls members by HTTP.
#[derive(Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    bases: BTreeMap<u32, String>,
}

impl HttpTransport {
    /// A transport to these base URLs, by member number.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(bases: BTreeMap<u32, String>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()?;
        Ok(Self { client, bases })
    }

    async fn send(
        &self,
        call: Call,
        method: Method,
        body: Vec<u8>,
        signature: Signature,
    ) -> Result<(Vec<u8>, Signature), CallFailed> {
        let failed = |reason: String| CallFailed { reason };
        let base = self.bases.get(&call.to).ok_or_else(|| failed("the member's address is not known".into()))?;
        let request = self
            .client
            .post(format!("{base}/peer/v1/{}", method.name()))
            .header("suture-from", call.from)
            .header("suture-to", call.to)
            .header("suture-nonce", HEXLOWER.encode(&call.nonce))
            .header("suture-time", call.time_ms)
            .header("suture-signature", HEXLOWER.encode(&signature))
            .body(body);
        let response = request.send().await.map_err(|e| failed(e.without_url().to_string()))?;
        let status = response.status();
        let signature = response.headers().get("suture-signature").and_then(|v| v.to_str().ok()).and_then(hex);
        let mut octets = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| failed(e.without_url().to_string()))?;
            if octets.len() + chunk.len() > CALL_OCTETS_MAX {
                return Err(failed("the answer is longer than an answer may be".into()));
            }
            octets.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            octets.truncate(300);
            return Err(failed(format!("{status}: {}", String::from_utf8_lossy(&octets))));
        }
        Ok((octets, signature.ok_or_else(|| failed("the answer is not signed".into()))?))
    }
}

impl Transport for HttpTransport {
    fn call(
        &self,
        call: Call,
        method: Method,
        body: Vec<u8>,
        signature: Signature,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Signature), CallFailed>> {
        Box::pin(self.send(call, method, body, signature))
    }
}
