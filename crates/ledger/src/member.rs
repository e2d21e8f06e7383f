//! The family `member`: who may sign, and which sequence numbers are used. The set is the genesis's for now.

use crate::{Effects, Key, Moment, Reads, Rejection, Snapshot, Transaction, Value};
use wire::{
    genesis::Genesis,
    hash::hash,
    state::{member_key, window_key},
};

/// How far ahead a transaction's last height may lie, in blocks.
pub const LAST_HEIGHT_AHEAD_MAX: u64 = 10_000;
/// Sequence numbers behind the highest that can still be used, as in an anti-replay window (RFC 4303 §3.4.3).
pub const WINDOW: u64 = 448;

/// Keys that every transaction of `member` reads.
pub(crate) fn reads(member: u32) -> Reads {
    Reads { registry: vec![member_key(member), window_key(member)], strands: Vec::new() }
}

/// The first checks of every transaction; the effect marks its sequence number as used.
pub(crate) fn admit(
    genesis: &Genesis,
    moment: Moment,
    transaction: &Transaction,
    snapshot: &Snapshot,
) -> Result<Effects, Rejection> {
    let body = transaction.body();
    let entry = snapshot.registry(&member_key(body.member)).ok_or(Rejection::UnknownMember)?;
    let identity = entry[..32].try_into().expect("a value has 64 octets");
    if !transaction.signed_by(&identity, genesis.network()) {
        return Err(Rejection::BadSignature);
    }
    if body.last_height < moment.height {
        return Err(Rejection::Expired);
    }
    if body.last_height > moment.height + LAST_HEIGHT_AHEAD_MAX {
        return Err(Rejection::LastHeightTooFar);
    }
    let key: Key = window_key(body.member);
    let window = Window::from_value(snapshot.registry(&key)).with(body.sequence)?;
    Ok(Effects { registry: vec![(key, window.to_value())], ..Effects::default() })
}

/// The highest sequence number that a member has used, from the value under [`window_key`].
#[must_use]
pub fn highest_sequence(window: Option<&Value>) -> u64 {
    Window::from_value(window).highest
}

/// The genesis set: `identity ‖ H("member", public description)` under each member's key.
pub(crate) fn genesis_effects(genesis: &Genesis) -> Effects {
    let registry = genesis.members.iter().map(|member| {
        let mut value: Value = [0; 64];
        value[..32].copy_from_slice(&member.identity);
        let kind = [member.kind as u8, u8::from(member.validator)];
        let fields: [&[u8]; 5] =
            [member.name.as_bytes(), member.title.as_bytes(), &kind, &member.consensus, &member.hpke];
        value[32..].copy_from_slice(&hash("member", &fields));
        (member_key(member.number), value)
    });
    Effects { registry: registry.collect(), ..Effects::default() }
}

/// Which sequence numbers are used: the highest, and a bit for each of the 448 at and below it.
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u64,
    bits: [u8; 56],
}

impl Window {
    fn from_value(value: Option<&Value>) -> Self {
        value.map_or(Self { highest: 0, bits: [0; 56] }, |v| Self {
            highest: u64::from_be_bytes(v[..8].try_into().expect("8 octets")),
            bits: v[8..].try_into().expect("56 octets"),
        })
    }

    fn to_value(self) -> Value {
        let mut value = [0; 64];
        value[..8].copy_from_slice(&self.highest.to_be_bytes());
        value[8..].copy_from_slice(&self.bits);
        value
    }

    /// Marks `sequence`, moving the window up when it is the highest yet. Bit `n` stands for `highest - n`.
    fn with(self, sequence: u64) -> Result<Self, Rejection> {
        let mut next = self;
        if sequence > self.highest {
            let shift = sequence - self.highest;
            if self.highest > 0 && shift >= WINDOW {
                return Err(Rejection::SequenceOutside);
            }
            next = Self { highest: sequence, bits: [0; 56] };
            if self.highest > 0 {
                for at in (0..WINDOW - shift).filter(|at| self.bit(*at)) {
                    next.set(at + shift);
                }
            }
        }
        let at = next.highest - sequence;
        if at >= WINDOW || sequence == 0 {
            return Err(Rejection::SequenceOutside);
        }
        if next.bit(at) {
            return Err(Rejection::SequenceUsed);
        }
        next.set(at);
        Ok(next)
    }

    fn bit(&self, at: u64) -> bool {
        self.bits[(at / 8) as usize] & (1 << (at % 8)) != 0
    }

    fn set(&mut self, at: u64) {
        self.bits[(at / 8) as usize] |= 1 << (at % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_serves_once_in_any_order_inside_the_window() {
        let mut window = Window::from_value(None);
        for sequence in [10, 5, 400, 11, 457] {
            window = window.with(sequence).unwrap();
            assert_eq!(window.with(sequence).unwrap_err(), Rejection::SequenceUsed);
            window = Window::from_value(Some(&window.to_value()));
        }
        assert_eq!(window.with(10).unwrap_err(), Rejection::SequenceUsed);
        assert_eq!(window.with(9).unwrap_err(), Rejection::SequenceOutside);
        assert_eq!(window.with(0).unwrap_err(), Rejection::SequenceOutside);
        assert_eq!(window.with(457 + 448).unwrap_err(), Rejection::SequenceOutside);
        assert!(window.with(457 + 447).is_ok());
        assert!(window.with(12).is_ok());
    }

    #[test]
    fn the_first_number_may_be_any_but_zero() {
        assert!(Window::from_value(None).with(1 << 40).is_ok());
        assert!(Window::from_value(None).with(0).is_err());
    }
}
