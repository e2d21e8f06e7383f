//! Purposes of use: HL7 v3 PurposeOfUse.

/// A purpose of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose(usize);

/// A code that is no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a purpose of use of HL7 v3 ActReason: send for instance TREAT, HPAYMT, HOPERAT, PUBHLTH, HRESCH or PATRQT"
)]
pub struct UnknownPurpose;

/// Code and display; the order does not matter and may grow.
const ALL: [(&str, &str); 16] = [
    ("TREAT", "treatment"),
    ("ETREAT", "emergency treatment"),
    ("CLINTRCH", "clinical trial"),
    ("HMARKT", "healthcare marketing"),
    ("HOPERAT", "healthcare operations"),
    ("CAREMGT", "care management"),
    ("COC", "coordination of care"),
    ("HPAYMT", "healthcare payment"),
    ("HRESCH", "healthcare research"),
    ("PATRQT", "patient requested"),
    ("FAMRQT", "family requested"),
    ("PWATRNY", "power of attorney"),
    ("SUPNWK", "support network"),
    ("PUBHLTH", "public health"),
    ("BTG", "break the glass"),
    ("THREAT", "threat"),
];

impl Purpose {
    /// The purpose with this code.
    ///
    /// # Errors
    /// [`UnknownPurpose`].
    pub fn parse(code: &str) -> Result<Self, UnknownPurpose> {
        ALL.iter().position(|(known, _)| *known == code).map(Self).ok_or(UnknownPurpose)
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        ALL[self.0].0
    }

    /// Its display.
    #[must_use]
    pub fn display(self) -> &'static str {
        ALL[self.0].1
    }

    /// The code system.
    #[must_use]
    pub fn system() -> &'static str {
        "http://terminology.hl7.org/CodeSystem/v3-ActReason"
    }
}
