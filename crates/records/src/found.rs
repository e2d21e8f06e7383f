//! What a new member's store begins with: its HPKE key, its operator, and one Organization for each member.

use crate::{
    Error,
    documents::{SecretDoc, put_new, space},
    outbox::{LANE_RECORDS, StrandName, Work},
    people::person_commit,
    write::{Made, version_put},
};
use identity::{Person, Role, Token};
use std::sync::Arc;
use store::{Backend, Commit};
use wire::{
    genesis::Genesis,
    keys::{PAD_0, Secret, Seed},
};

/// Where the HPKE key's document lies.
pub(crate) const HPKE: &[u8] = b"hpke";
/// The identifier system of members' Organizations.
pub const MEMBER_SYSTEM: &str = "https://suture.example/member";

/// What is founded.
#[derive(Debug)]
pub struct Founding<'a> {
    /// The network.
    pub genesis: &'a Genesis,
    /// The member's seed.
    pub seed: &'a Seed,
    /// The private seed of the HPKE key in the genesis.
    pub hpke: &'a Secret,
    /// Name of the first operator.
    pub operator: &'a str,
}

/// Fills an empty store; gives the operator's token.
///
/// # Errors
/// When the store is not empty or does not answer.
pub async fn found(store: Arc<dyn Backend>, founding: &Founding<'_>) -> Result<String, Error> {
    let Founding { genesis, seed, hpke, operator } = founding;
    let token = Token::generate();
    let person = Person::new((*operator).to_owned(), Role::Operator, token.hash());
    let mut commit: Commit = person_commit(&person);
    let wrapped = SecretDoc(seed.wrapping(0, &PAD_0).wrap(HPKE, hpke));
    commit.documents.push(put_new(space::SECRET, HPKE, &wrapped));
    commit.outbox.push(Work::document(space::SECRET, HPKE).row(LANE_RECORDS, &StrandName::own()));
    for member in &genesis.members {
        use fhir::json::{Value, object};
        let identifier = object([("system", MEMBER_SYSTEM.into()), ("value", member.name.as_str().into())]);
        let resource = object([
            ("resourceType", "Organization".into()),
            ("identifier", Value::Array(vec![identifier])),
            ("active", true.into()),
            ("name", member.title.as_str().into()),
        ]);
        let made = Made::new("Organization", &member.name, 1, crate::now_ms() as i64, resource);
        commit.puts.push(version_put(&made, None, Vec::new()));
        commit.outbox.push(made.work().row(LANE_RECORDS, &StrandName::own()));
    }
    store.commit(commit).await.map_err(Error::internal("founding a member"))?;
    Ok(token.reveal())
}
