//! Who is asking: people of this member, by their tokens.

use crate::{
    Denied, Error, Inner, Records,
    documents::{NameDoc, put_new, space},
    outbox::{LANE_RECORDS, StrandName, Work},
};
use identity::{Action, Person, Role, Token};
use store::{Commit, DocumentPut, Expect, ResourceKey};

/// Someone whose token was recognised.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The person.
    pub person: Person,
}

/// A person to be added.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// Name, 1 to 100 characters.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl Records {
    /// The person whose token this is.
    ///
    /// # Errors
    /// [`Denied::Unauthenticated`] when nobody has it.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        let token = Token::parse(token).map_err(|_| Denied::Unauthenticated)?;
        let found = self.0.documents.load::<NameDoc>(space::TOKEN, &token.hash()).await?;
        let NameDoc(id) = found.ok_or(Denied::Unauthenticated)?;
        let octets = self.0.store.document(space::PERSON, &id).await.map_err(Error::internal("reading a person"))?;
        let octets = octets.ok_or(Denied::Unauthenticated)?;
        let person = Person::decode(&octets).map_err(Error::internal("decoding a person"))?;
        Ok(Caller { person })
    }

    /// Adds a person and gives their id and token. The token is shown this once; its hash is kept.
    ///
    /// # Errors
    /// [`Error::Denied`] unless an operator asks; [`Error::Unprocessable`] for an empty name or an unknown Patient.
    pub async fn add_person(&self, who: &Caller, new: NewPerson) -> Result<(String, String), Error> {
        self.0.allow(who, &Action::Administer)?;
        let length = new.name.trim().chars().count();
        if length == 0 || length > 100 {
            return Err(Error::rule("name", "a person's name is 1 to 100 characters"));
        }
        if let Role::Patient { patient } = &new.role {
            let key = ResourceKey { resource_type: "Patient".into(), id: patient.clone() };
            let found = self.0.store.current(&key).await.map_err(Error::internal("reading a Patient"))?;
            if found.is_none_or(|v| v.content.is_none()) {
                return Err(Error::rule("patient", "there is no such Patient at this member"));
            }
        }
        let token = Token::generate();
        let person = Person::new(new.name, new.role, token.hash());
        let id = person.id.clone();
        let commit = person_commit(&person);
        self.0.store.commit(commit).await.map_err(Error::internal("adding a person"))?;
        Ok((id, token.reveal()))
    }
}

/// A person, the way from their token, and the row that anchors both.
pub(crate) fn person_commit(person: &Person) -> Commit {
    let id = person.id.as_bytes();
    let document = DocumentPut {
        space: space::PERSON.into(),
        key: id.to_vec(),
        value: Some(person.encode()),
        expected: Expect::Absent,
    };
    let way = put_new(space::TOKEN, &person.token_hash, &NameDoc(id.to_vec()));
    let row = Work::document(space::PERSON, id).row(LANE_RECORDS, &StrandName::own());
    Commit { documents: vec![document, way], outbox: vec![row], ..Commit::default() }
}

impl Inner {
    /// The role's part of the decision.
    pub(crate) fn allow(&self, who: &Caller, action: &Action<'_>) -> Result<(), Denied> {
        crate::gate::decide(&who.person, action)
    }
}
