//! What the ledger takes and what it refuses, and for which reason when there are several.
//!
//! [`check`] runs a table of operations against one state and compares each answer with the expected one. After the
//! tables: each rule's own sentences, with the values that the state then holds.

#[path = "rules/properties.rs"]
mod properties;
#[path = "rules/world.rs"]
mod world;

use ledger::{
    Action, Rejection, Transaction,
    access::Request,
    anchor::{ENTRIES_MAX, Enter, Lane},
    consent::{Grant, MONTHS_AHEAD_MAX, Revoke},
    member::{LAST_HEIGHT_AHEAD_MAX, WINDOW, highest_sequence},
};
use wire::{
    Format as _,
    message::GRANT_SLOT_OCTETS,
    sign::Network,
    state::{Entry, GrantEntry, body_name, grant_key, request_commitment, request_key, window_key},
    strand::entry_key,
};
use world::{HEIGHT, MONTH, NOW, World, enter, entries, grant, grant_of, request, revoke, signer, slots};

/// What happens in a table.
enum Operation {
    /// `member` acts with this sequence number, in time and well signed.
    Act(u32, u64, Action),
    /// This transaction comes as it is.
    Come(Transaction),
    /// From now on blocks have this height.
    Height(u64),
    /// From now on blocks have this time.
    Time(u64),
}
use Operation::{Act, Come, Height, Time};

/// Runs each operation, in order, over one state; what comes must be answered as expected.
#[track_caller]
fn check(operations: Vec<(Operation, Result<(), Rejection>)>) {
    let mut world = World::new();
    for (number, (operation, expected)) in operations.into_iter().enumerate() {
        let transaction = match operation {
            Act(member, sequence, action) => world.sign(member, sequence, action),
            Come(transaction) => transaction,
            Height(height) => {
                world.moment.height = height;
                continue;
            }
            Time(time_ms) => {
                world.moment.time_ms = time_ms;
                continue;
            }
        };
        let before = world.clone();
        let is = world.apply(&transaction).map(drop);
        assert_eq!(is, expected, "operation {number}, {transaction:.0?}");
        assert_eq!(is.is_err(), before == world, "operation {number}: what is refused, and only that, changes nothing");
    }
}

const OK: Result<(), Rejection> = Ok(());

fn no(rejection: Rejection) -> Result<(), Rejection> {
    Err(rejection)
}

/// Everything that can be wrong with a transaction of its kind, in the order of the checks.
#[derive(Debug, Clone, Copy)]
struct Faults {
    rejections: &'static [Rejection],
    /// Builds the transaction that has these faults and no others.
    build: fn(&World, &[Rejection]) -> Transaction,
}

/// The envelope of `action`, with those of `faults` that are an envelope's.
fn envelope(world: &World, faults: &[Rejection], action: Action) -> Transaction {
    let has = |rejection| faults.contains(&rejection);
    let member = if has(Rejection::UnknownMember) { 99 } else { 1 };
    let key = if has(Rejection::BadSignature) || has(Rejection::UnknownMember) { 77 } else { 1 };
    let last_height = match () {
        () if has(Rejection::Expired) => HEIGHT - 1,
        () if has(Rejection::LastHeightTooFar) => HEIGHT + LAST_HEIGHT_AHEAD_MAX + 1,
        () => HEIGHT + 10,
    };
    let sequence = match () {
        () if has(Rejection::SequenceOutside) => 0,
        () if has(Rejection::SequenceUsed) => 1_000,
        () => 1_001,
    };
    Transaction::sign(&signer(key), world.network(), member, sequence, last_height, action)
}

const ENVELOPE: [Rejection; 6] = [
    Rejection::UnknownMember,
    Rejection::BadSignature,
    Rejection::Expired,
    Rejection::LastHeightTooFar,
    Rejection::SequenceOutside,
    Rejection::SequenceUsed,
];

fn faulty_enter(world: &World, faults: &[Rejection]) -> Transaction {
    let has = |rejection| faults.contains(&rejection);
    // Tag 200 is on the ledger already.
    let mut all = entries(if has(Rejection::EntryExists) { 193..201 } else { 100..108 });
    if has(Rejection::EntriesUnsorted) {
        all.swap(0, 1);
    }
    if has(Rejection::EntryCount) {
        all.remove(2);
    }
    envelope(world, faults, Action::Enter(Enter { lane: Lane::Records, entries: all }))
}

fn faulty_grant(world: &World, faults: &[Rejection]) -> Transaction {
    let has = |rejection| faults.contains(&rejection);
    // Key 50 was granted, key 51 revoked.
    let key = match () {
        () if has(Rejection::GrantRevoked) => 51,
        () if has(Rejection::GrantExists) => 50,
        () => 52,
    };
    let group = u32::from(has(Rejection::UnknownGroup));
    let month = if has(Rejection::GrantMonth) { NOW - 1 } else { NOW };
    let slots = slots(if has(Rejection::Slots) { 9 } else { 8 });
    let mut grant = Grant::sign(&signer(key), world.network(), group, month, slots);
    grant.signature[0] ^= u8::from(has(Rejection::BadGrantSignature));
    envelope(world, faults, Action::Grant(grant))
}

fn faulty_revoke(world: &World, faults: &[Rejection]) -> Transaction {
    let has = |rejection| faults.contains(&rejection);
    let key = if has(Rejection::GrantRevoked) { 51 } else { 50 };
    let mut revoke = Revoke::sign(&signer(key), world.network(), u32::from(has(Rejection::UnknownGroup)));
    revoke.signature[0] ^= u8::from(has(Rejection::BadGrantSignature));
    envelope(world, faults, Action::Revoke(revoke))
}

fn faulty_request(world: &World, faults: &[Rejection]) -> Transaction {
    let group = u32::from(faults.contains(&Rejection::UnknownGroup));
    envelope(world, faults, Action::Request(Request { group, slots_root: [1; 32], reader_key: [2; 32] }))
}

const KINDS: [Faults; 4] = [
    Faults {
        rejections: &[Rejection::EntryCount, Rejection::EntriesUnsorted, Rejection::EntryExists],
        build: faulty_enter,
    },
    Faults {
        rejections: &[
            Rejection::UnknownGroup,
            Rejection::Slots,
            Rejection::BadGrantSignature,
            Rejection::GrantMonth,
            Rejection::GrantRevoked,
            Rejection::GrantExists,
        ],
        build: faulty_grant,
    },
    Faults {
        rejections: &[Rejection::UnknownGroup, Rejection::BadGrantSignature, Rejection::GrantRevoked],
        build: faulty_revoke,
    },
    Faults { rejections: &[Rejection::UnknownGroup, Rejection::RequestExists], build: faulty_request },
];

/// A state in which everything that can exist already does.
fn met() -> World {
    let mut world = World::new();
    for (sequence, action) in
        [(1_000, enter(Lane::Records, 193..201)), (999, grant(&world, 50, NOW)), (998, revoke(&world, 51))]
    {
        let transaction = world.sign(1, sequence, action);
        world.apply(&transaction).unwrap();
    }
    world
}

#[test]
fn every_rejection_is_met_and_of_two_the_one_that_is_checked_first_is_answered() {
    let world = met();
    let answer = |kind: &Faults, faults: &[Rejection]| {
        let (transaction, mut world) = ((kind.build)(&world, faults), world.clone());
        if faults.contains(&Rejection::RequestExists) {
            // No second transaction has the first one's id and a sequence number of its own: it lies there by force.
            let taken = Entry { commitment: [9; 32], height: 1 }.to_value();
            world.strands.insert(request_key(&transaction.id()), taken);
        }
        world.apply(&transaction).map(drop)
    };
    let mut met = std::collections::BTreeSet::new();
    for kind in KINDS {
        assert_eq!(answer(&kind, &[]), OK);
        let order: Vec<Rejection> = ENVELOPE.iter().chain(kind.rejections).copied().collect();
        for (at, first) in order.iter().enumerate() {
            assert_eq!(answer(&kind, &[*first]), no(*first));
            met.insert(first.code());
            for second in &order[at + 1..] {
                assert_eq!(answer(&kind, &[*first, *second]), no(*first), "before {second:?}");
            }
        }
        assert_eq!(answer(&kind, &order), no(Rejection::UnknownMember), "everything at once");
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 20, 21, 22, 40, 41, 42, 43, 44, 45, 60]);
}

#[test]
fn a_signature_holds_for_its_member_genesis_and_era_alone() {
    let (world, other) = (World::new(), World::named("other"));
    assert_ne!(world.network(), other.network());
    let by = |key: u8, network: Network, member: u32| {
        Come(Transaction::sign(&signer(key), network, member, 5, HEIGHT, request(1)))
    };
    let next_era = Network { era: 1, ..world.network() };
    check(vec![
        (by(2, world.network(), 1), no(Rejection::BadSignature)),
        (by(1, world.network(), 2), no(Rejection::BadSignature)),
        (by(1, other.network(), 1), no(Rejection::BadSignature)),
        (by(1, next_era, 1), no(Rejection::BadSignature)),
        (by(1, world.network(), 1), OK),
        (by(2, world.network(), 2), OK),
    ]);
}

#[test]
fn a_grant_of_another_network_or_one_changed_after_signing_is_refused() {
    let (world, other) = (World::new(), World::named("other"));
    let next_era = Network { era: 1, ..world.network() };
    let sign = |network| Grant::sign(&signer(50), network, 0, NOW, slots(8));
    let whole = sign(world.network());
    let mut moved = whole.clone();
    moved.slots.swap(0, 1);
    let later = Grant { month: NOW + 1, ..whole.clone() };
    let taken = Grant { grant_key: signer(51).public(), ..whole.clone() };
    let bad = no(Rejection::BadGrantSignature);
    let revoke_of = |network| Action::Revoke(Revoke::sign(&signer(50), network, 0));
    let crossed = Revoke { grant_key: whole.grant_key, group: 0, signature: whole.signature };
    check(vec![
        (Act(1, 1, Action::Grant(sign(other.network()))), bad),
        (Act(1, 1, Action::Grant(sign(next_era))), bad),
        (Act(1, 1, Action::Grant(moved)), bad),
        (Act(1, 1, Action::Grant(later)), bad),
        (Act(1, 1, Action::Grant(taken)), bad),
        (Act(1, 1, revoke_of(other.network())), bad),
        (Act(1, 1, revoke_of(next_era)), bad),
        (Act(1, 1, Action::Revoke(crossed)), bad),
        (Act(1, 1, Action::Grant(whole)), OK),
        (Act(1, 2, revoke_of(world.network())), OK),
    ]);
}

#[test]
fn a_transaction_stands_up_to_its_last_height_and_that_is_not_far_away() {
    let world = World::new();
    let until = |sequence, last_height| {
        Come(Transaction::sign(&signer(1), world.network(), 1, sequence, last_height, request(sequence as u8)))
    };
    check(vec![
        (until(1, 0), no(Rejection::Expired)),
        (until(1, HEIGHT - 1), no(Rejection::Expired)),
        (until(1, HEIGHT), OK),
        (until(2, HEIGHT + LAST_HEIGHT_AHEAD_MAX), OK),
        (until(3, HEIGHT + LAST_HEIGHT_AHEAD_MAX + 1), no(Rejection::LastHeightTooFar)),
        (until(3, u64::MAX), no(Rejection::LastHeightTooFar)),
        (Height(HEIGHT + 1), OK),
        (until(3, HEIGHT), no(Rejection::Expired)),
        (until(3, HEIGHT + LAST_HEIGHT_AHEAD_MAX + 1), OK),
    ]);
}

#[test]
fn a_sequence_number_serves_once_in_any_order_within_the_window() {
    let mut table = Vec::new();
    let mut act = |sequence: u64, expected| table.push((Act(1, sequence, request(1)), expected));
    let (used, outside) = (no(Rejection::SequenceUsed), no(Rejection::SequenceOutside));
    act(0, outside);
    act(1_000, OK);
    act(0, outside);
    act(1_000, used);
    act(1_000 - WINDOW, outside);
    act(1_000 - WINDOW + 1, OK);
    act(1_000 - WINDOW + 1, used);
    act(1_000 + WINDOW, outside);
    act(u64::MAX, outside);
    for sequence in [700, 999, 612, 1_001, 998] {
        act(sequence, OK);
        act(sequence, used);
    }
    // The highest is 1,001 now, and may rise by 447.
    act(1_001 + WINDOW, outside);
    act(1_001 + WINDOW - 1, OK);
    act(1_001, used);
    act(1_000, outside);
    act(1_002, OK);
    check(table);
}

#[test]
fn a_window_is_its_members_own_and_may_begin_anywhere() {
    check(vec![
        (Act(1, u64::MAX, request(1)), OK),
        (Act(1, u64::MAX, request(2)), no(Rejection::SequenceUsed)),
        (Act(1, u64::MAX - WINDOW, request(2)), no(Rejection::SequenceOutside)),
        (Act(1, u64::MAX - WINDOW + 1, request(2)), OK),
        (Act(2, 1, request(1)), OK),
        (Act(2, 2, request(1)), OK),
    ]);
}

#[test]
fn every_number_of_a_window_serves_once_backwards_and_forwards() {
    let mut world = World::new();
    let mut act = |sequence| {
        let transaction = world.sign(1, sequence, request(1));
        world.apply(&transaction).map(|_| highest_sequence(world.registry.get(&window_key(1))))
    };
    for sequence in (1..=WINDOW).rev() {
        assert_eq!(act(sequence), Ok(WINDOW));
    }
    for sequence in 1..=WINDOW {
        assert_eq!(act(sequence), Err(Rejection::SequenceUsed));
    }
    for sequence in WINDOW + 1..=WINDOW + 9 {
        assert_eq!(act(sequence), Ok(sequence));
    }
    assert_eq!(act(9), Err(Rejection::SequenceOutside));
    assert_eq!(act(10), Err(Rejection::SequenceUsed));
}

#[test]
fn an_enter_has_a_power_of_two_of_entries_from_its_lanes_bucket_to_512() {
    let mut table = Vec::new();
    let mut sequence = 0;
    for (lane, bucket) in [(Lane::Records, 8), (Lane::Access, 2)] {
        for count in [0, 1, 2, 3, 4, 7, 8, 9, 12, 16, 500, 511, 512, 513, 1_023, 1_024] {
            sequence += 1;
            let from = sequence as usize * 2_000;
            let fits = [2, 4, 8, 16, 512].contains(&count) && count >= bucket;
            let expected = if fits { OK } else { no(Rejection::EntryCount) };
            table.push((Act(1, sequence, enter(lane, from..from + count)), expected));
        }
    }
    assert_eq!(ENTRIES_MAX, 512);
    check(table);
}

#[test]
fn the_bucket_of_records_is_the_genesiss_and_that_of_accesses_is_two() {
    let mut world = World::new();
    world.genesis.parameters.bucket = 64;
    let mut act = |sequence, lane, tags| {
        let transaction = world.sign(1, sequence, enter(lane, tags));
        world.apply(&transaction).map(drop)
    };
    // The genesis is another one now: who signs for it is taken by it.
    assert_eq!(act(1, Lane::Records, 0..32), no(Rejection::EntryCount));
    assert_eq!(act(1, Lane::Records, 0..64), OK);
    assert_eq!(act(2, Lane::Access, 64..66), OK);
}

#[test]
fn entries_are_strictly_sorted_and_no_tag_stands_twice_in_one_enter() {
    let of = |tags: [usize; 8]| {
        let entries = tags.iter().flat_map(|tag| entries(*tag..*tag + 1)).collect();
        Act(1, 1, Action::Enter(Enter { lane: Lane::Records, entries }))
    };
    let mut twice = entries(1..9);
    (twice[3].tag, twice[3].commitment) = (twice[2].tag, [0xff; 32]);
    let twice = Act(1, 1, Action::Enter(Enter { lane: Lane::Records, entries: twice }));
    let unsorted = no(Rejection::EntriesUnsorted);
    check(vec![
        (of([2, 1, 3, 4, 5, 6, 7, 8]), unsorted),
        (of([1, 2, 3, 4, 5, 6, 8, 7]), unsorted),
        (of([8, 7, 6, 5, 4, 3, 2, 1]), unsorted),
        (of([1, 2, 3, 4, 5, 6, 7, 7]), unsorted),
        (twice, unsorted),
        (of([1, 2, 3, 4, 5, 6, 7, 300]), OK),
    ]);
}

#[test]
fn an_entry_is_never_replaced_and_another_members_same_tag_lies_elsewhere() {
    check(vec![
        (Act(1, 1, enter(Lane::Records, 0..8)), OK),
        (Act(1, 2, enter(Lane::Records, 0..8)), no(Rejection::EntryExists)),
        (Act(1, 2, enter(Lane::Records, 7..15)), no(Rejection::EntryExists)),
        (Act(1, 2, enter(Lane::Access, 7..9)), no(Rejection::EntryExists)),
        (Act(2, 1, enter(Lane::Records, 0..8)), OK),
        (Act(1, 2, enter(Lane::Access, 8..10)), OK),
        (Act(1, 3, enter(Lane::Records, 10..18)), OK),
        (Height(HEIGHT + 5), OK),
        (Act(1, 4, enter(Lane::Records, 3..11)), no(Rejection::EntryExists)),
    ]);
    let mut world = World::new();
    let transaction = world.sign(2, 1, enter(Lane::Access, 3..5));
    world.apply(&transaction).unwrap();
    let [first, _] = entries(3..5).try_into().unwrap();
    let lies = world.strands[&entry_key(2, &first.tag)];
    assert_eq!(Entry::from_value(&lies), Some(Entry { commitment: first.commitment, height: HEIGHT }));
    assert!(!world.strands.contains_key(&entry_key(1, &first.tag)));
}

#[test]
fn a_grant_has_8_16_or_32_slots_of_the_one_length() {
    let world = World::new();
    let of = |slots| Act(1, 1, Action::Grant(Grant::sign(&signer(50), world.network(), 0, NOW, slots)));
    for count in (0..=34).chain([64]) {
        let expected = if [8, 16, 32].contains(&count) { OK } else { no(Rejection::Slots) };
        check(vec![(of(slots(count)), expected)]);
    }
    for length in [0, GRANT_SLOT_OCTETS - 1, GRANT_SLOT_OCTETS + 1] {
        let mut odd = slots(8);
        odd[7].sealed.resize(length, 0);
        check(vec![(of(odd), no(Rejection::Slots))]);
    }
}

#[test]
fn a_grant_expires_from_this_month_to_a_hundred_years_ahead() {
    let of = |key, month| grant_of(key, month);
    let month = no(Rejection::GrantMonth);
    let starts = u64::from(NOW) * MONTH;
    check(vec![
        (Act(1, 1, of(50, 0)), month),
        (Act(1, 1, of(50, NOW - 1)), month),
        (Act(1, 1, of(50, NOW)), OK),
        (Act(1, 2, of(51, NOW + MONTHS_AHEAD_MAX)), OK),
        (Act(1, 3, of(52, NOW + MONTHS_AHEAD_MAX + 1)), month),
        (Act(1, 3, of(52, u32::MAX)), month),
        (Time(starts - 1), OK),
        (Act(1, 3, of(52, NOW - 1)), OK),
        (Act(1, 4, of(53, NOW + MONTHS_AHEAD_MAX)), month),
        (Time(starts), OK),
        (Act(1, 4, of(53, NOW - 1)), month),
        (Time(starts + MONTH - 1), OK),
        (Act(1, 4, of(53, NOW)), OK),
        (Time(starts + MONTH), OK),
        (Act(1, 5, of(54, NOW)), month),
        // A clock at the end of time.
        (Time(u64::MAX), OK),
        (Act(1, 5, of(54, u32::MAX - 1)), month),
        (Act(1, 5, of(54, u32::MAX)), OK),
    ]);
}

#[test]
fn a_grant_key_serves_once_and_a_revocation_is_for_good() {
    let world = World::new();
    let revoke = |key| revoke(&world, key);
    check(vec![
        (Act(1, 1, grant_of(50, NOW)), OK),
        (Act(1, 2, grant_of(50, NOW)), no(Rejection::GrantExists)),
        (Act(2, 1, grant_of(50, NOW + 1)), no(Rejection::GrantExists)),
        // Any member may carry it.
        (Act(2, 1, revoke(50)), OK),
        (Act(1, 2, revoke(50)), no(Rejection::GrantRevoked)),
        (Act(1, 2, grant_of(50, NOW)), no(Rejection::GrantRevoked)),
        // Revoked before it came: it never enters.
        (Act(1, 2, revoke(51)), OK),
        (Height(HEIGHT + 1_000), OK),
        (Act(1, 3, grant_of(51, NOW)), no(Rejection::GrantRevoked)),
        (Act(1, 3, revoke(51)), no(Rejection::GrantRevoked)),
        (Act(1, 3, grant_of(52, NOW)), OK),
    ]);
}

#[test]
fn the_state_holds_heights_month_and_the_bodys_name_of_a_grant() {
    let mut world = World::new();
    let key = grant_key(&signer(50).public());
    let entry = |world: &World| GrantEntry::from_value(&world.registry[&key]).unwrap();
    let transaction = world.sign(1, 1, grant_of(50, NOW + 3));
    let effects = world.apply(&transaction).unwrap();
    let Action::Grant(body) = &transaction.body().action else { unreachable!() };
    assert_eq!((&effects.bodies, transaction.bodies()), (&vec![body.to_octets()], vec![body.to_octets()]));
    let granted = GrantEntry { body: body_name(&body.to_octets()), granted: HEIGHT, revoked: 0, month: NOW + 3 };
    assert_eq!(entry(&world), granted);
    world.moment.height = HEIGHT + 7;
    let transaction = world.sign(2, 1, revoke(&world, 50));
    let effects = world.apply(&transaction).unwrap();
    assert!(effects.bodies.is_empty() && transaction.bodies().is_empty());
    let revoked = GrantEntry { revoked: HEIGHT + 7, ..granted };
    assert_eq!(entry(&world), revoked);
    assert!(revoked.covers(HEIGHT + 6) && !revoked.covers(HEIGHT + 7));
}

#[test]
fn a_revocation_wins_in_its_block_over_the_grant_and_the_requests() {
    let mut world = World::new();
    let mut block = [
        world.sign(1, 1, request(1)),
        world.sign(1, 2, enter(Lane::Access, 0..2)),
        world.sign(1, 3, grant_of(50, NOW)),
        world.sign(2, 9, revoke(&world, 50)),
    ];
    block.sort_by_key(Transaction::rank);
    assert_eq!(block.each_ref().map(|t| t.body().sequence), [9, 3, 2, 1]);
    let answers = block.each_ref().map(|t| world.apply(t).map(drop));
    assert_eq!(answers, [OK, no(Rejection::GrantRevoked), OK, OK]);
    let entry = GrantEntry::from_value(&world.registry[&grant_key(&signer(50).public())]).unwrap();
    assert_eq!(entry, GrantEntry { body: [0; 32], granted: 0, revoked: HEIGHT, month: 0 });
    assert!(!entry.covers(HEIGHT));
}

#[test]
fn a_grant_and_its_revocation_of_the_same_height_cover_nothing() {
    let mut world = World::new();
    for (sequence, action) in [(1, grant_of(50, NOW)), (2, revoke(&world, 50))] {
        let transaction = world.sign(1, sequence, action);
        world.apply(&transaction).unwrap();
    }
    let entry = GrantEntry::from_value(&world.registry[&grant_key(&signer(50).public())]).unwrap();
    assert!((0..HEIGHT + 2).all(|height| !entry.covers(height)));
}

#[test]
fn a_request_is_named_by_its_transaction_and_commits_to_who_asks() {
    let mut world = World::new();
    let first = world.sign(1, 1, request(1));
    let second = world.sign(1, 2, request(1));
    let third = world.sign(2, 1, request(1));
    assert_eq!(world.apply(&first).map(drop), OK);
    assert_eq!(world.apply(&first).map(drop), no(Rejection::SequenceUsed), "sent again");
    // The same question anew, and another member's: both are requests of their own.
    assert_eq!(world.apply(&second).map(drop), OK);
    assert_eq!(world.apply(&third).map(drop), OK);
    for (transaction, member) in [(&first, 1), (&second, 1), (&third, 2)] {
        let entry = Entry::from_value(&world.strands[&request_key(&transaction.id())]).unwrap();
        let commitment = request_commitment(member, 0, &[1; 32], &[0x5a; 32]);
        assert_eq!(entry, Entry { commitment, height: HEIGHT });
    }
    assert_eq!(world.strands.len(), 3);
}

#[test]
fn only_members_of_the_genesis_may_act_whatever_they_sign() {
    let world = World::new();
    for member in [0, 3, 99, u32::MAX] {
        let by = |key: u8| Transaction::sign(&signer(key), world.network(), member, 1, HEIGHT, request(1));
        check(vec![(Come(by(1)), no(Rejection::UnknownMember)), (Come(by(88)), no(Rejection::UnknownMember))]);
    }
    // Under a key of small order a signature without any secret verifies, unless it is verified strictly.
    let mut world = World::new();
    let mut neutral = [0; 64];
    neutral[0] = 1;
    world.registry.insert(wire::state::member_key(1), neutral);
    let mut octets = world.sign(1, 1, request(1)).encode();
    let signature = octets.len() - 64;
    octets[signature..].copy_from_slice(&neutral);
    let forged = Transaction::decode(&octets).unwrap();
    assert_eq!(world.apply(&forged).map(drop), no(Rejection::BadSignature));
}
