//! What a role may do at its own member.

use crate::{Person, Role};

/// Something that somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// Read a resource of this type that belongs to these patients.
    Read {
        /// Its type.
        resource_type: &'a str,
        /// To whose records it belongs.
        patients: &'a [String],
    },
    /// Write a resource of this type.
    Write {
        /// Its type.
        resource_type: &'a str,
    },
    /// Delete a resource of this type.
    Delete {
        /// Its type.
        resource_type: &'a str,
    },
    /// Write a Consent of this patient.
    WriteConsent {
        /// The patient.
        patient: &'a str,
    },
    /// Read a patient's record from all members.
    ReadNetwork,
    /// See who read this patient's record.
    ListAccesses {
        /// The patient.
        patient: &'a str,
    },
    /// Enrol patients.
    Enrol,
    /// Add people, see the member's status.
    Administer,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// What is missing.
    pub reason: String,
}

/// Whether a person's role allows an action at their own member.
///
/// # Errors
/// [`Denied`] with what is missing.
pub fn decide(person: &Person, action: &Action<'_>) -> Result<(), Denied> {
    let denied = |reason: &str| Err(Denied { reason: reason.to_owned() });
    match (&person.role, action) {
        (Role::Operator, _) | (Role::Clinician, Action::Read { .. } | Action::ReadNetwork) => Ok(()),
        (Role::Clinician, Action::Write { resource_type } | Action::Delete { resource_type })
            if *resource_type != "Consent" =>
        {
            Ok(())
        }
        (Role::Clinician, Action::Write { .. } | Action::Delete { .. } | Action::WriteConsent { .. }) => {
            denied("only the patient may write a Consent")
        }
        (Role::Clinician, Action::ListAccesses { .. }) => denied("only the patient sees who read the record"),
        (Role::Clinician, Action::Enrol | Action::Administer) => denied("this needs the role operator"),
        (Role::Patient { .. }, Action::Read { resource_type: "Organization", .. }) => Ok(()),
        (Role::Patient { patient }, Action::Read { patients, .. }) => {
            if patients.contains(patient) {
                Ok(())
            } else {
                denied("a patient reads the own record only")
            }
        }
        (Role::Patient { patient: own }, Action::WriteConsent { patient } | Action::ListAccesses { patient }) => {
            if own == patient { Ok(()) } else { denied("a patient acts for the own record only") }
        }
        (Role::Patient { .. }, Action::Write { .. } | Action::Delete { .. }) => {
            denied("a patient writes the own Consents only")
        }
        (Role::Patient { .. }, Action::ReadNetwork) => denied("reading from all members needs the role clinician"),
        (Role::Patient { .. }, Action::Enrol | Action::Administer) => denied("this needs the role operator"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(role: Role) -> Person {
        Person::new("x".into(), role, [0; 32])
    }

    #[test]
    fn each_role_may_do_its_own_things_and_no_others() {
        let own = ["p".to_owned()];
        let other = ["q".to_owned()];
        let read = |patients| Action::Read { resource_type: "Observation", patients };
        let actions = [
            (read(&own), [true, true, true]),
            (read(&other), [true, true, false]),
            (Action::Read { resource_type: "Organization", patients: &[] }, [true, true, true]),
            (Action::Write { resource_type: "Observation" }, [true, true, false]),
            (Action::Write { resource_type: "Consent" }, [true, false, false]),
            (Action::Delete { resource_type: "Observation" }, [true, true, false]),
            (Action::WriteConsent { patient: "p" }, [true, false, true]),
            (Action::WriteConsent { patient: "q" }, [true, false, false]),
            (Action::ReadNetwork, [true, true, false]),
            (Action::ListAccesses { patient: "p" }, [true, false, true]),
            (Action::ListAccesses { patient: "q" }, [true, false, false]),
            (Action::Enrol, [true, false, false]),
            (Action::Administer, [true, false, false]),
        ];
        let people = [Role::Operator, Role::Clinician, Role::Patient { patient: "p".into() }].map(person);
        for (action, expected) in actions {
            for (person, expected) in people.iter().zip(expected) {
                assert_eq!(decide(person, &action).is_ok(), expected, "{:?} {action:?}", person.role);
            }
        }
    }
}
