//! Prints what was measured: medians, ratios to the fastest peer beside their goals, and the bound.

use super::bound::Bound;
use super::disks::Disks;
use super::peers::{Peer, Used};
use super::{Measured, STEPS};

const MIB: f64 = 1048576.0;

/// At most so much of the fastest encrypting, deduplicating peer's time; the last step depends on the disk and has no goal.
const TIME_GOALS: [f64; STEPS.len()] = [0.30, 0.10, 0.10, 0.15, 0.35, f64::INFINITY];
/// The same against restic, when neither rustic nor bupstash is here.
const TIME_GOALS_RESTIC: [f64; STEPS.len()] = [0.18, 0.10, 0.10, 0.11, 0.32, f64::INFINITY];
/// `saveos` is the first of the peers.
const SAVEOS: usize = 0;

/// All of it.
pub(crate) fn print(peers: &[Peer], measured: &Measured, disks: &Disks, bound: &Bound) {
    println!("\nmedians of {} runs:", measured[SAVEOS][0].len());
    println!("{:<10} {:>12} {:>9} {:>9} {:>9} {:>11}", "", "step", "seconds", "cpu s", "RSS MiB", "added MiB");
    for (peer, steps) in peers.iter().zip(measured) {
        for (name, used) in STEPS.iter().zip(steps) {
            println!(
                "{:<10} {name:>12} {:>9.2} {:>9.2} {:>9.0} {:>11.1}",
                peer.name,
                median(used, |u| u.seconds),
                median(used, |u| u.cpu),
                median(used, |u| u.peak_rss as f64) / MIB,
                median(used, |u| u.added as f64) / MIB,
            );
        }
    }
    let rivals: Vec<usize> = (1..peers.len()).filter(|&at| peers[at].deduplicates).collect();
    print_times(peers, &rivals, measured);
    print_sizes(&rivals, measured, disks, bound);
    print_bound(measured, disks, bound);
}

fn print_times(peers: &[Peer], rivals: &[usize], measured: &Measured) {
    let only_restic = !peers.iter().any(|peer| matches!(peer.name, "rustic" | "bupstash"));
    let goals = if only_restic { TIME_GOALS_RESTIC } else { TIME_GOALS };
    println!("\nsaveos' time as a part of the fastest of {}:", names(peers, rivals));
    for (step, name) in STEPS.iter().enumerate() {
        let seconds = |peer: usize| median(&measured[peer][step], |u| u.seconds);
        let best = rivals.iter().copied().min_by(|a, b| seconds(*a).total_cmp(&seconds(*b)));
        let Some(best) = best else { continue };
        let ratio = seconds(SAVEOS) / seconds(best);
        let judged = match goals[step] {
            none if none.is_infinite() => String::new(),
            goal => format!("(goal {goal:.2})  {}", verdict(ratio, goal)),
        };
        println!("  {name:<12} {ratio:.3} of {:<9} {judged}", peers[best].name);
    }
}

fn print_sizes(rivals: &[usize], measured: &Measured, disks: &Disks, bound: &Bound) {
    let added = |peer: usize, step: usize| median(&measured[peer][step], |u| u.added as f64);
    let best_second = rivals.iter().map(|&peer| added(peer, 3)).fold(f64::INFINITY, f64::min);
    println!("\nsize of saveos' repository:");
    for (what, ratio, goal) in [
        ("first        / zstd -3 of the allocated bytes", added(SAVEOS, 0) / bound.zstd3_bytes as f64, 1.06),
        ("work day     / changed blocks", added(SAVEOS, 2) / disks.changed as f64, 1.2),
        ("second disk  / the best peer's", added(SAVEOS, 3) / best_second, 0.25),
    ] {
        println!("  {what:<46} {ratio:.3}  (goal {goal})  {}", verdict(ratio, goal));
    }
    let peak = measured[SAVEOS].iter().flatten().map(|used| used.peak_rss as f64 / MIB).fold(0.0, f64::max);
    println!("  peak RSS {peak:.0} MiB  (goal 256)  {}", verdict(peak, 256.0));
}

fn print_bound(measured: &Measured, disks: &Disks, bound: &Bound) {
    let new = |step: usize| median(&measured[SAVEOS][step], |u| u.new as f64) / disks.allocated as f64;
    println!(
        "\nbound on these cores (zstd -1 and AES of the new bytes, BLAKE3 of all allocated ones), and saveos beside it:"
    );
    for (step, name) in STEPS.iter().enumerate() {
        let floor = match *name {
            "restore" | "until synced" => bound.open_and_decompress,
            _ => bound.hash + bound.compress_and_seal * new(step),
        };
        let ours = median(&measured[SAVEOS][step], |u| u.seconds);
        println!("  {name:<12} {floor:6.2} s   saveos {ours:6.2} s = {:.2} ×", ours / floor);
    }
}

fn names(peers: &[Peer], some: &[usize]) -> String {
    some.iter().map(|&at| peers[at].name).collect::<Vec<_>>().join(", ")
}

fn verdict(value: f64, goal: f64) -> &'static str {
    if value <= goal { "met" } else { "MISSED" }
}

fn median(used: &[Used], of: impl Fn(&Used) -> f64) -> f64 {
    let mut values: Vec<f64> = used.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
