//! The way back: the slot before holds what ran there, so going back to it costs a restart and not a byte.

use super::*;

/// 2.0.0 was installed and kept, and is confirmed if wanted.
fn updated(confirmed: bool) -> World {
    let kind = if confirmed { Kind::Good } else { Kind::GoodAndIdle };
    let mut world = World::new(kind);
    turns(&mut world, 20);
    assert!(world.is_new() && world.journal.attempt.is_none() == confirmed, "{:?}", world.journal);
    world
}

fn turns(world: &mut World, count: u32) {
    for _ in 0..count {
        world.now = world.now.after(Duration::from_secs(60));
        world.turn(3);
    }
}

/// Now this is wanted.
fn want(world: &mut World, release: &'static str, epoch: u32) {
    world.wanted = release;
    world.bundle = Bundle { path: format!("qemu/{release}.raucb"), length: 10, sha256: Digest([9; 32]), epoch };
}

#[test]
fn what_ran_before_starts_again_without_a_byte_and_so_does_what_was_left_for_it() {
    for confirmed in [true, false] {
        let mut world = updated(confirmed);
        let epoch = if confirmed { 5 } else { 4 };
        want(&mut world, "1.0.0", epoch);
        turns(&mut world, 20);
        assert_eq!((world.releases[world.slot as usize], world.trial), ("1.0.0", None), "{:?}", world.journal);
        assert_eq!(world.journal.report().map(|report| report.state), Some(UpdateState::Confirmed), "it did before");
        // No disk is there any more: whatever soaks goes on soaking.
        world.kind = Kind::GoodAndIdle;
        (world.wanted, world.bundle) = ("2.0.0", bundle());
        turns(&mut world, 20);
        assert!(world.is_new(), "{:?}", world.journal);
        assert_eq!((world.fetches, world.installs, world.restarts), (1, 1, 3));
        let soaks = world.journal.report().map(|report| report.state) == Some(UpdateState::Soaking);
        assert_eq!(soaks, !confirmed, "what never backed up has to show that it can");
    }
}

/// Its epoch says that data which the newer one wrote is not for it.
#[test]
fn what_is_of_a_lower_epoch_than_what_was_confirmed_is_not_returned_to() {
    let mut world = updated(true);
    want(&mut world, "1.0.0", 4);
    turns(&mut world, 200);
    assert!(world.is_new() && world.restarts == 1);
    let report = world.journal.report().expect("it waits");
    assert_eq!((report.state, report.reason), (UpdateState::Offered, Some(UpdateFailure::Refused)));
}

#[test]
fn another_build_of_the_same_name_is_fetched() {
    let mut world = updated(true);
    want(&mut world, "1.0.0", 5);
    turns(&mut world, 20);
    want(&mut world, "2.0.0", 5);
    turns(&mut world, 20);
    assert!(world.is_new(), "{:?}", world.journal);
    assert_eq!((world.fetches, world.installs), (2, 2), "the bundle of the slot was another one");
}

#[test]
fn what_is_overwritten_is_no_way_back_any_more() {
    let mut world = updated(true);
    want(&mut world, "3.0.0", 5);
    while world.installs < 2 {
        turns(&mut world, 1);
    }
    assert_eq!(world.journal.spare, None);
    want(&mut world, "1.0.0", 5);
    turns(&mut world, 20);
    assert_eq!((world.releases[world.slot as usize], world.fetches, world.installs), ("1.0.0", 3, 3));
}

/// Somebody wrote to the slot by hand.
#[test]
fn a_slot_that_holds_something_else_is_left_again() {
    let mut world = updated(true);
    world.releases[other(world.slot) as usize] = "1.5.0";
    want(&mut world, "1.0.0", 5);
    turns(&mut world, 20);
    assert!(world.is_new(), "{:?}", world.journal);
    let last = world.journal.last.clone().expect("it ended");
    assert_eq!((last.state, last.reason), (UpdateState::Failed, Some(UpdateFailure::NotStarted)));
    assert_eq!(world.journal.spare, None);
}

#[test]
fn who_restarts_into_the_other_slot_by_hand_is_asked_nothing_and_believed_nothing() {
    let mut world = updated(true);
    (world.slot, world.first) = (other(world.slot), other(world.slot));
    world.offered = false;
    world.start_daemon();
    turns(&mut world, 1);
    assert_eq!((world.journal.spare.clone(), world.journal.here.clone()), (None, Default::default()));
}

/// Its trial failed here once: that it is wanted again under the same name changes nothing.
#[test]
fn a_way_back_that_failed_ends_no_soak() {
    let mut world = updated(false);
    want(&mut world, "1.0.0", 5);
    world.journal.failed.push(crate::update::journal::Failed { release: world.offer().release, ring_token: None });
    turns(&mut world, 20);
    assert!(world.is_new() && world.restarts == 1);
    assert_eq!(world.journal.report().map(|report| report.state), Some(UpdateState::Soaking));
}

proptest! {
    #[test]
    fn whatever_is_cut_the_way_back_ends_on_one_of_the_two_and_costs_no_byte(
        confirmed in any::<bool>(),
        steps in prop::collection::vec((0u8..4, any::<bool>(), 1u64..200), 0..60),
    ) {
        let mut world = updated(confirmed);
        want(&mut world, "1.0.0", 5);
        world.live(steps);
        for _ in 0..200 {
            world.now = world.now.after(SOAK / 40);
            world.turn(3);
        }
        let runs = world.releases[world.slot as usize];
        // Cuts can use up the tries of the old one, too: then the new one stays, and that is told.
        let failed = world.journal.last.as_ref().is_some_and(|last| last.state == UpdateState::Failed);
        prop_assert!(runs == "1.0.0" || runs == "2.0.0" && failed, "{runs} {:?}", world.journal);
        prop_assert_eq!((world.fetches, world.installs), (1, 1));
    }
}
