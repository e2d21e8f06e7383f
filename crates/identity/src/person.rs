//! A person of a member: who they are there, and what they are there for.

use tls_codec::{Deserialize as _, Serialize as _, TlsDeserialize, TlsSerialize, TlsSize};

/// What a person may do is decided by their role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Runs the member.
    Operator,
    /// Treats patients.
    Clinician,
    /// Is a patient, of this Patient.
    Patient {
        /// Logical id of their Patient.
        patient: String,
    },
}

impl Role {
    /// The role's name, as members vouch for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Clinician => "clinician",
            Self::Patient { .. } => "patient",
        }
    }
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// A random UUID.
    pub id: String,
    /// Name, for people.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Hash of the bearer token.
    pub token_hash: [u8; 32],
}

/// Octets that are no person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a person as this program writes them")]
pub struct BadPerson;

#[derive(TlsSize, TlsSerialize, TlsDeserialize)]
struct Encoded {
    format: u8,
    id: Vec<u8>,
    name: Vec<u8>,
    role: u8,
    patient: Vec<u8>,
    token_hash: [u8; 32],
}

impl Person {
    /// A new person.
    #[must_use]
    pub fn new(name: String, role: Role, token_hash: [u8; 32]) -> Self {
        Self { id: uuid::Uuid::new_v4().to_string(), name, role, token_hash }
    }

    /// The person in octets; the first is the format, 1.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (role, patient) = match &self.role {
            Role::Operator => (1, ""),
            Role::Clinician => (2, ""),
            Role::Patient { patient } => (3, patient.as_str()),
        };
        let encoded = Encoded {
            format: 1,
            id: self.id.clone().into_bytes(),
            name: self.name.clone().into_bytes(),
            role,
            patient: patient.as_bytes().to_vec(),
            token_hash: self.token_hash,
        };
        encoded.tls_serialize_detached().expect("writing to memory does not fail")
    }

    /// Reads a person.
    ///
    /// # Errors
    /// [`BadPerson`].
    pub fn decode(octets: &[u8]) -> Result<Self, BadPerson> {
        let encoded = Encoded::tls_deserialize_exact(octets).map_err(|_| BadPerson)?;
        let text = |octets: Vec<u8>| String::from_utf8(octets).map_err(|_| BadPerson);
        let patient = text(encoded.patient)?;
        let role = match (encoded.role, patient.is_empty()) {
            (1, true) => Role::Operator,
            (2, true) => Role::Clinician,
            (3, false) => Role::Patient { patient },
            _ => return Err(BadPerson),
        };
        if encoded.format != 1 {
            return Err(BadPerson);
        }
        Ok(Self { id: text(encoded.id)?, name: text(encoded.name)?, role, token_hash: encoded.token_hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_read_back() {
        for role in [Role::Operator, Role::Clinician, Role::Patient { patient: "p".into() }] {
            let person = Person::new("Åsa".into(), role, [7; 32]);
            assert_eq!(Person::decode(&person.encode()), Ok(person.clone()));
            assert!(Person::decode(&person.encode()[1..]).is_err());
        }
    }
}
