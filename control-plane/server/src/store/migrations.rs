//! The steps of the schema, and whether this program may work on a database as it stands.
//!
//! A replica of the release before runs beside this one while a fleet of them is replaced, and after a roll-back. So steps only
//! add; what removes or changes the meaning of something comes a release later and raises the floor in `compatible`: the oldest
//! step that a program must know to work here.

use super::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The last step that was run.
pub(super) const LAST: &str = "SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM refinery_schema_history";
/// The oldest that one must know.
pub(super) const FLOOR: &str = "SELECT CAST(COALESCE(MAX(step), 0) AS BIGINT) FROM compatible";

/// How a database stands.
pub(super) enum Standing {
    /// Nothing is in it.
    New,
    /// Its last step and its floor, where it says one.
    At { last: i64, floor: Option<i64> },
}

/// All steps.
pub(super) fn runner() -> refinery::Runner {
    embedded::migrations::runner()
}

/// The last step that this program knows.
pub(super) fn newest() -> i64 {
    runner().get_migrations().iter().map(|step| i64::from(step.version())).max().unwrap_or(0)
}

/// What is done about steps that a database lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// They are run.
    Run,
    /// Nothing: whoever looks changes nothing, and is told.
    Leave,
}

/// Whether there are steps to run; an error when this program must keep its hands off.
pub(super) fn must_run(standing: &Standing, steps: Steps) -> Result<bool, StoreError> {
    let known = newest();
    let run = decide(standing, known)?;
    match (steps, standing) {
        (Steps::Run, _) => Ok(run),
        (Steps::Leave, Standing::At { last, .. }) if *last >= known => Ok(false),
        (Steps::Leave, Standing::At { last, .. }) => Err(StoreError::Older { last: *last, known }),
        (Steps::Leave, Standing::New) => Err(StoreError::Older { last: 0, known }),
    }
}

fn decide(standing: &Standing, known: i64) -> Result<bool, StoreError> {
    match *standing {
        Standing::New => Ok(true),
        Standing::At { last, .. } if last <= known => Ok(true),
        // A newer release went on from here, and says that whoever knows its floor may stay.
        Standing::At { floor: Some(floor), .. } if floor <= known => Ok(false),
        Standing::At { last, .. } => Err(StoreError::Newer { last, known }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_only_looks_runs_no_step() {
        let at = |last| Standing::At { last, floor: Some(1) };
        assert!(must_run(&at(newest()), Steps::Run).expect("refinery compares each step"));
        assert!(!must_run(&at(newest()), Steps::Leave).expect("all are there"));
        assert!(!must_run(&at(newest() + 1), Steps::Leave).expect("a newer release went on"));
        for behind in [at(newest() - 1), Standing::New] {
            assert!(matches!(must_run(&behind, Steps::Leave), Err(StoreError::Older { .. })));
        }
    }

    #[test]
    fn the_release_before_may_work_beside_a_newer_one_until_the_floor_rises() {
        let at = |last, floor| decide(&Standing::At { last, floor }, 13);
        assert!(decide(&Standing::New, 13).expect("room"));
        assert!(at(12, None).expect("it is older"));
        assert!(at(13, Some(13)).expect("it is ours: refinery compares each step"));
        assert!(!at(14, Some(13)).expect("one release newer"));
        assert!(matches!(at(14, Some(14)), Err(StoreError::Newer { last: 14, known: 13 })));
        assert!(matches!(at(14, None), Err(StoreError::Newer { .. })));
    }
}
