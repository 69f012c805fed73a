//! Cuts the power. A child's doings are recorded once; then the folder is built anew as a power cut at this or that moment would have left it,
//! and the real store is opened on it. `CORACLE_TORTURE_CUTS` sets how often.

use crate::{
    chance::Chance,
    child::{self, Orders, PATIENCE_OF_FOUR},
    disk::{Deed, Disk, Fate},
    folder, tracer,
    workload::{Told, verify},
};

/// Cuts tried on one recording.
const CUTS_EACH: u64 = 20;
/// Every so many recordings begin without a store.
const FRESH_EVERY: u64 = 4;

/// What was told up to a moment.
fn told(before: &Told, deeds: &[Deed]) -> Told {
    let mut told = before.clone();
    for deed in deeds {
        if let Deed::Tell(line) = deed {
            told.hear(line);
        }
    }
    told
}

/// A moment to cut at: any, or one right behind something that is meant to be safe then.
fn moment(deeds: &[Deed], chance: &mut Chance) -> usize {
    let at = 1 + chance.below(deeds.len() as u64) as usize;
    if chance.percent(50) {
        return at;
    }
    let sync = deeds[..at].iter().rposition(|deed| {
        matches!(
            deed,
            Deed::Sync { .. } | Deed::SyncFolder { .. } | Deed::SyncAll { .. } | Deed::Tell(_)
        )
    });
    sync.map_or(at, |sync| sync + chance.below(3) as usize)
        .min(deeds.len())
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut() {
    let cuts = crate::rounds("CORACLE_TORTURE_CUTS", 200);
    let mut chance = Chance::new(2);
    let (mut base, mut before) = (Disk::default(), Told::default());
    let mut deeds_seen = 0;
    for recording in 0..cuts.div_ceil(CUTS_EACH) {
        let fresh = recording.is_multiple_of(FRESH_EVERY);
        if fresh {
            (base, before) = (Disk::default(), Told::default());
        }
        let work = folder::temporary();
        base.build(work.path());
        let orders = Orders {
            steps: 10 + chance.below(25),
            stop: true,
            patience: PATIENCE_OF_FOUR,
        };
        let mut command = child::command(work.path(), &orders);
        let deeds = tracer::watch(&mut command, work.path(), &base, &mut |_| None);
        deeds_seen += deeds.len();
        let first_told = deeds.iter().position(|deed| matches!(deed, Deed::Tell(_)));
        let begun = first_told.unwrap();
        let mut last = None;
        for cut in 0..CUTS_EACH.min(cuts - recording * CUTS_EACH) {
            // While the store is made or opened there is little to cut, so it gets its share by itself.
            let opening = cut % 4 == 0;
            let reach = if opening { &deeds[..begun] } else { &deeds[..] };
            let at = moment(reach, &mut chance);
            let fate = [Fate::Lost, Fate::Torn, Fate::TornNames][cut as usize % 3];
            let seed = chance.number();
            let rebuilt = || {
                let mut chance = Chance::seeded(seed);
                base.clone().after(&deeds[..at], fate, &mut chance)
            };
            println!("recording {recording} cut {cut} behind deed {at}, {fate:?}");
            let folder = folder::temporary();
            rebuilt().build(folder.path());
            let told = told(&before, &deeds[..at]);
            verify(folder.path(), &told);
            last = Some((rebuilt(), told));
        }
        // The next recording goes on from a cut store, so that cuts follow on cuts.
        if let Some((disk, told)) = last {
            (base, before) = renumbered(&disk, told);
        }
    }
    println!("cuts {cuts} deeds {deeds_seen}");
}

/// The disk as if it were read from files, which numbers them from 0 on.
fn renumbered(disk: &Disk, told: Told) -> (Disk, Told) {
    let folder = folder::temporary();
    disk.build(folder.path());
    (Disk::read(folder.path()), told)
}

#[test]
fn the_model_finds_a_store_that_does_not_sync() {
    let work = folder::temporary();
    let orders = Orders {
        steps: 20,
        stop: true,
        patience: PATIENCE_OF_FOUR,
    };
    let mut command = child::command(work.path(), &orders);
    let deeds = tracer::watch(&mut command, work.path(), &Disk::default(), &mut |_| None);
    // The same doings, had the log never been synced.
    let end = deeds
        .iter()
        .rposition(|deed| matches!(deed, Deed::Tell(line) if line.starts_with("ack")));
    let unsynced: Vec<Deed> = deeds[..end.unwrap()]
        .iter()
        .filter(|deed| !matches!(deed, Deed::Sync { .. } | Deed::SyncAll { .. }))
        .cloned()
        .collect();
    let told = told(&Told::default(), &unsynced);
    assert!(told.steps.iter().all(|step| *step > 0));
    let folder = folder::temporary();
    Disk::default()
        .after(&unsynced, Fate::Lost, &mut Chance::seeded(3))
        .build(folder.path());
    let found = std::panic::catch_unwind(|| verify(folder.path(), &told));
    assert!(found.is_err(), "a store that synced nothing lost nothing");
}
