//! Calls between members: signed, sealed where they carry anything, answered once.

use crate::{Error, Inner, Records, answer, enrol, now_ms};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, HashSet};
use wire::{
    Format as _,
    message::peer::{
        Await, CALL_AGE_MS_MAX, CALL_INFO, Call, GetPack, Method, PutManifest, PutPack, PutRelease, Receipt, Sealed,
        manifest_kept,
    },
    seal::seal_to,
    sign::Signature,
};

/// How long [`Method::Await`] waits.
const AWAIT_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Why a call did not come to an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct CallFailed {
    /// What happened: refused, timed out, no such address.
    pub reason: String,
}

/// Why a call is refused; the code is HTTP's.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct CallRefused {
    /// 400, 401, 404, 409, 503.
    pub code: u16,
    /// What is wrong.
    pub reason: String,
}

impl CallRefused {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl From<Error> for CallRefused {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Denied(_) => 403,
            Error::NotFound(_) | Error::Gone => 404,
            Error::Unavailable { .. } => 503,
            Error::Internal { .. } => 500,
            _ => 400,
        };
        Self { code, reason: error.to_string() }
    }
}

/// The way to other members: carries octets and signatures, and knows nothing of what they mean.
pub trait Transport: Send + Sync {
    /// Calls a member; gives its answer and the signature over it.
    fn call(
        &self,
        call: Call,
        method: Method,
        body: Vec<u8>,
        signature: Signature,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Signature), CallFailed>>;
}

/// Nonces seen while their calls are young enough to be replayed.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: HashSet<(u32, [u8; 16])>,
    by_time: BTreeMap<u64, Vec<(u32, [u8; 16])>>,
}

impl Nonces {
    /// Whether this nonce is new; forgets those whose calls are too old to be taken anyway.
    fn fresh(&mut self, call: &Call, now: u64) -> bool {
        let old = self.by_time.split_off(&now.saturating_sub(2 * CALL_AGE_MS_MAX));
        for key in std::mem::replace(&mut self.by_time, old).into_values().flatten() {
            self.seen.remove(&key);
        }
        let key = (call.from, call.nonce);
        let fresh = self.seen.insert(key);
        if fresh {
            self.by_time.entry(call.time_ms).or_default().push(key);
        }
        fresh
    }
}

impl Records {
    /// Takes a call from another member.
    ///
    /// # Errors
    /// [`CallRefused`] when it is not a member's, not for this one, old, replayed, malformed, or cannot be answered.
    pub async fn called(
        &self,
        call: Call,
        method: Method,
        body: Vec<u8>,
        signature: Signature,
    ) -> Result<(Vec<u8>, Signature), CallRefused> {
        let inner = &self.0;
        if call.to != inner.config.me {
            return Err(CallRefused::new(400, "the call is for another member"));
        }
        let caller = inner.member(call.from).ok_or_else(|| CallRefused::new(401, "the caller is not a member"))?;
        if !call.signed_by(&caller.identity, inner.network, method, &body, &signature) {
            return Err(CallRefused::new(401, "the call is not signed by the member that it names"));
        }
        let now = now_ms();
        if now.abs_diff(call.time_ms) > CALL_AGE_MS_MAX {
            return Err(CallRefused::new(
                401,
                "the call's time differs from this member's clock by more than a minute",
            ));
        }
        if !inner.nonces.lock().expect("no panic while held").fresh(&call, now) {
            return Err(CallRefused::new(409, "the call was made before"));
        }
        let answer = inner.serve(&call, method, &body).await?;
        let signature = call.sign_answer(&inner.signer, inner.network, method, &body, &answer);
        Ok((answer, signature))
    }
}

impl Inner {
    /// Calls a member and checks that the answer is its own.
    pub(crate) async fn call(&self, to: u32, method: Method, body: Vec<u8>) -> Result<Vec<u8>, CallFailed> {
        self.send(self.new_call(to), method, body).await
    }

    fn new_call(&self, to: u32) -> Call {
        Call { from: self.config.me, to, nonce: wire::random(), time_ms: now_ms() }
    }

    async fn send(&self, call: Call, method: Method, body: Vec<u8>) -> Result<Vec<u8>, CallFailed> {
        let failed = |reason: &str| CallFailed { reason: reason.into() };
        let callee = self.member(call.to).ok_or_else(|| failed("there is no such member"))?;
        let signature = call.sign(&self.signer, self.network, method, &body);
        let (answer, by) = self.transport.call(call, method, body.clone(), signature).await?;
        if !call.answer_signed_by(&callee.identity, self.network, (method, &body), &answer, &by) {
            return Err(failed("the answer is not signed by the member that was called"));
        }
        Ok(answer)
    }

    /// Calls a member with a body sealed to its key, and opens the answer sealed to ours.
    pub(crate) async fn call_sealed<Q: wire::Format, A: wire::Format>(
        &self,
        to: u32,
        method: Method,
        ask: &Q,
    ) -> Result<A, CallFailed> {
        let failed = |reason: &str| CallFailed { reason: reason.into() };
        let callee = self.member(to).ok_or_else(|| failed("there is no such member"))?;
        let call = self.new_call(to);
        let context = call.associated(self.network, method);
        let octets = seal_to(&callee.hpke, CALL_INFO[0], &context, &ask.to_octets());
        let octets = octets.map_err(|e| failed(&e.to_string()))?;
        let answer = self.send(call, method, Sealed { octets }.to_octets()).await?;
        let sealed = Sealed::from_octets(&answer).map_err(|e| failed(&e.to_string()))?;
        let plain = self.opener.open(CALL_INFO[1], &context, &sealed.octets);
        let plain = plain.map_err(|e| failed(&e.to_string()))?;
        A::from_octets(&plain).map_err(|e| failed(&e.to_string()))
    }

    fn unseal<Q: wire::Format>(&self, call: &Call, method: Method, body: &[u8]) -> Result<Q, CallRefused> {
        let bad = |e: &dyn std::error::Error| CallRefused::new(400, e.to_string());
        let sealed = Sealed::from_octets(body).map_err(|e| bad(&e))?;
        let context = call.associated(self.network, method);
        let plain = self.opener.open(CALL_INFO[0], &context, &sealed.octets).map_err(|e| bad(&e))?;
        Q::from_octets(&plain).map_err(|e| bad(&e))
    }

    fn seal_for<A: wire::Format>(&self, call: &Call, method: Method, answer: &A) -> Result<Vec<u8>, CallRefused> {
        let caller = self.member(call.from).ok_or_else(|| CallRefused::new(401, "the caller is not a member"))?;
        let context = call.associated(self.network, method);
        let octets = seal_to(&caller.hpke, CALL_INFO[1], &context, &answer.to_octets())
            .map_err(|e| CallRefused::new(500, e.to_string()))?;
        Ok(Sealed { octets }.to_octets())
    }

    async fn serve(&self, call: &Call, method: Method, body: &[u8]) -> Result<Vec<u8>, CallRefused> {
        let from = call.from;
        let bad = |e: wire::codec::DecodeError| CallRefused::new(400, e.to_string());
        let broken = |_| CallRefused::new(503, "this member's vault does not answer");
        match method {
            Method::PutPack => {
                let PutPack { octets } = PutPack::from_octets(body).map_err(bad)?;
                let length = octets.len() as u32;
                let kept = self.vault.put(from, octets).await.map_err(broken)?.0;
                Ok(Receipt::sign(&self.signer, self.network, self.config.me, from, kept, length).to_octets())
            }
            Method::PutManifest => {
                let PutManifest { name, octets } = PutManifest::from_octets(body).map_err(bad)?;
                let (kept, length) = (manifest_kept(&name, &octets), octets.len() as u32);
                self.vault.put_named(from, name, octets).await.map_err(broken)?;
                Ok(Receipt::sign(&self.signer, self.network, self.config.me, from, kept, length).to_octets())
            }
            Method::GetPack => {
                let GetPack { owner, pack } = GetPack::from_octets(body).map_err(bad)?;
                let found = self.vault.read(owner, vault::PackId(pack)).await.map_err(broken)?;
                Ok(found.ok_or_else(|| CallRefused::new(404, "this member keeps no such pack"))?.to_vec())
            }
            Method::GetSlot => self.slot_for(from, body),
            Method::PutRelease => {
                let PutRelease { request, sealed } = PutRelease::from_octets(body).map_err(bad)?;
                self.take_release(from, &request, sealed)?;
                Ok(Vec::new())
            }
            Method::Enrol => {
                let ask = self.unseal(call, method, body)?;
                self.seal_for(call, method, &enrol::enrolled(self, from, ask).await?)
            }
            Method::Accesses => {
                let ask = self.unseal(call, method, body)?;
                self.seal_for(call, method, &answer::accesses(self, from, &ask).await?)
            }
            Method::Await => {
                let Await { height } = Await::from_octets(body).map_err(bad)?;
                let mut processed = self.processed.subscribe();
                // Not reached in time: the answer says how far this member is.
                drop(tokio::time::timeout(AWAIT_MAX, processed.wait_for(|at| *at >= height)).await);
                let height = *processed.borrow();
                Ok(Await { height }.to_octets())
            }
        }
    }
}
