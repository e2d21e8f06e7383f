//! The one gate: every read, write and release passes one of these decisions.

use crate::Denied;
use chain::Tip;
use identity::{Action, Person};
use wire::{message::Terms, state::GrantEntry};

/// A holder releases nothing when its own newest block is older than this.
pub const TIP_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// May this person do this at their own member?
///
/// # Errors
/// [`Denied::Role`] with what is missing.
pub fn decide(person: &Person, action: &Action<'_>) -> Result<(), Denied> {
    identity::decide(person, action).map_err(|denied| Denied::Role(denied.reason))
}

/// What a read across members rests on, as the ledger and the sealed terms say.
#[derive(Debug)]
pub struct Claim<'a> {
    /// The grant on the ledger, at the state asked.
    pub grant: Option<GrantEntry>,
    /// Its terms.
    pub terms: &'a Terms,
    /// Who may read under it.
    pub grantee: u32,
    /// Who reads.
    pub reader: u32,
    /// For what.
    pub purpose: &'a str,
}

/// May this member read, or be released to, under this grant, now?
///
/// # Errors
/// [`Denied::Grant`] with what is missing.
pub fn decide_grant(claim: &Claim<'_>, tip: &Tip) -> Result<(), Denied> {
    let Claim { grant, terms, grantee, reader, purpose } = claim;
    let denied = |reason: &str| Err(Denied::Grant(reason.to_owned()));
    if tip.at.elapsed() > TIP_AGE_MAX {
        return denied(
            "this member has not heard from the network for 30 seconds, so nobody can tell whether the grant still holds",
        );
    }
    if grantee != reader {
        return denied("the grant names another member");
    }
    match grant {
        None => return denied("the grant is not on the ledger"),
        Some(entry) if entry.revoked > 0 => return denied("the patient has revoked the grant"),
        Some(entry) if !entry.in_force(tip.time_ms) => return denied("the grant has expired"),
        Some(_) => {}
    }
    if !terms.allow_at(tip.time_ms) {
        return denied("the grant's period has not begun or has ended");
    }
    if !terms.allow(purpose, tip.time_ms) {
        return denied("the grant does not allow this purpose of use");
    }
    Ok(())
}
