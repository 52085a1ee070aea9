//! Somebody in front of the box: reads, taps, holds, goes away.

use super::*;
use proptest::prelude::*;
use saveos_protocol::time::Timestamp;

const PHRASE: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
                      seventeen eighteen nineteen twenty twentyone twentytwo twentythree twentyfour";

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn disk(state: DiskState) -> Disk {
    Disk { id: DiskId::from_parts(Timestamp::saturating(1), [7; 10]), serial: "WD-1234".to_owned(), state }
}

fn job(number: u8) -> JobId {
    JobId::from_parts(Timestamp::saturating(1), [number; 10])
}

fn asks(number: u8) -> Option<Asks> {
    Some(Asks { job: job(number), serial: "TARGET-9".to_owned() })
}

fn words() -> Option<Unconfirmed> {
    Some(Unconfirmed { phrase: Zeroizing::new(PHRASE.to_owned()), asked: [3, 17] })
}

fn lines(panel: &mut Panel, seen: &Seen, at: Duration) -> String {
    panel.view(seen, None, at).page.lines().join("|")
}

fn glow(seen: &Seen) -> [Glow; 3] {
    glows(seen).map(|(_, glow)| glow)
}

#[test]
fn lights_tell_three_things_apart_from_afar() {
    let idle = Seen::default();
    let working = Working { work: Work::Backup, serial: Some("WD-1234".to_owned()), percent: 42 };
    let backing_up = Seen { working: Some(working), ..Seen::default() };
    let help = Seen { needs: vec![Need::StoreFull], ..Seen::default() };
    assert_eq!(glow(&idle), [Glow::On, Glow::Off, Glow::Off]);
    assert_eq!(glow(&backing_up), [Glow::Off, Glow::Slow, Glow::Off]);
    assert_eq!(glow(&Seen { needs: help.needs.clone(), ..backing_up.clone() }), [Glow::Off, Glow::Slow, Glow::On]);
    assert_eq!(glow(&help), [Glow::Off, Glow::Off, Glow::On]);
    assert_eq!(glow(&Seen { asks: asks(1), ..Seen::default() }), [Glow::Off, Glow::Off, Glow::Fast]);
    assert_eq!(glow(&Seen { updating: true, ..Seen::default() }), [Glow::Off, Glow::Slow, Glow::Off]);
    assert_eq!(glow(&Seen { sought: true, ..help }), [Glow::Fast; 3], "come here");
}

#[test]
fn the_first_page_says_whether_the_disk_may_go() {
    let mut panel = Panel::new(Language::En);
    let working = Working { work: Work::Backup, serial: Some("WD-1234".to_owned()), percent: 42 };
    let mut seen = Seen { working: Some(working), disks: vec![disk(DiskState::Busy)], ..Seen::default() };
    assert_eq!(lines(&mut panel, &seen, s(0)), "Backing up|WD-1234||42 %||Do not unplug");
    seen = Seen { disks: vec![disk(DiskState::BackedUp)], ..Seen::default() };
    assert_eq!(lines(&mut panel, &seen, s(1)), "Safe to unplug||WD-1234|backed up");
    assert_eq!(lines(&mut panel, &Seen::default(), s(2)), "Ready||Plug a disk in");
    seen.needs = vec![Need::BackupFailed { serial: "WD-1234".to_owned() }];
    assert_eq!(lines(&mut panel, &seen, s(3)), "NEEDS HELP||The last backup|failed|WD-1234");
    let mut french = Panel::new(Language::Fr);
    assert_eq!(lines(&mut french, &seen, s(0)), "AIDE REQUISE||La sauvegarde|a échoué|WD-1234");
}

#[test]
fn a_tap_turns_the_page_and_who_goes_away_leaves_the_first_one() {
    let mut panel = Panel::new(Language::En);
    let seen = Seen { disks: vec![disk(DiskState::BackedUp)], version: "1.2.3".to_owned(), ..Seen::default() };
    assert_eq!(panel.press(Gesture::Tap, &seen, s(1)), None);
    assert_eq!(lines(&mut panel, &seen, s(2)), "WD-1234|backed up||Hold 2 s:|back up now");
    assert_eq!(panel.press(Gesture::Hold, &seen, s(3)), Some(Deed::Backup(seen.disks[0].id)));
    assert_eq!(panel.press(Gesture::Tap, &seen, s(4)), None);
    assert_eq!(lines(&mut panel, &seen, s(5)), "SaveOS|1.2.3");
    assert_eq!(panel.press(Gesture::Hold, &seen, s(6)), None, "this page asks nothing");
    assert!(lines(&mut panel, &seen, s(35)).starts_with("SaveOS"));
    assert!(lines(&mut panel, &seen, s(36)).starts_with("Safe"));
    for state in [DiskState::Busy, DiskState::Unknown] {
        let seen = Seen { disks: vec![disk(state)], ..Seen::default() };
        assert_eq!(panel.press(Gesture::Tap, &seen, s(100)), None);
        assert_eq!(panel.press(Gesture::Hold, &seen, s(101)), None, "{state:?}");
        panel.view(&seen, None, s(200));
    }
}

#[test]
fn a_disk_is_overwritten_only_by_a_yes_to_what_was_on_the_display() {
    let mut panel = Panel::new(Language::En);
    let mut seen = Seen { disks: vec![disk(DiskState::Idle)], ..Seen::default() };
    panel.press(Gesture::Tap, &seen, s(1));
    panel.view(&seen, None, s(2));
    // The question comes while somebody holds the button for another page.
    seen.asks = asks(1);
    assert_eq!(panel.press(Gesture::Hold, &seen, s(3)), None, "nobody has read it");
    assert_eq!(lines(&mut panel, &seen, s(4)), "OVERWRITE this disk?|TARGET-9||Hold 2 s: yes|Unplug it: no");
    assert_eq!(panel.press(Gesture::Hold, &seen, s(7)), Some(Deed::Approve(asks(1).expect("it asks"))));
    // Another question in its place must be read anew.
    seen.asks = asks(2);
    assert_eq!(panel.press(Gesture::Hold, &seen, s(8)), None);
    assert_eq!(panel.press(Gesture::TenSeconds, &seen, s(20)), None);
    assert_eq!(panel.press(Gesture::Hold, &seen, s(21)), Some(Deed::Approve(asks(2).expect("it asks"))));
}

/// Taps until the page of the words, and asks for them.
fn ask_for_words(panel: &mut Panel, seen: &Seen) -> Option<Deed> {
    for _ in 0..9 {
        if lines(panel, seen, s(1)).starts_with("24 recovery words") {
            return panel.press(Gesture::Hold, seen, s(1));
        }
        panel.press(Gesture::Tap, seen, s(1));
    }
    panic!("no page of words");
}

/// Chooses that word among the offered.
fn choose(panel: &mut Panel, seen: &Seen, word: &str) -> Option<Deed> {
    for _ in 0..3 {
        if panel.view(seen, None, s(2)).page.lines().contains(&format!("> {word}")) {
            return panel.press(Gesture::Hold, seen, s(2));
        }
        panel.press(Gesture::Tap, seen, s(2));
    }
    panic!("{word} is not offered: {}", lines(panel, seen, s(2)));
}

#[test]
fn the_words_are_read_page_by_page_and_two_are_asked_back() {
    let mut panel = Panel::new(Language::En);
    let seen = Seen { words: words(), needs: vec![Need::NotRecoverable], ..Seen::default() };
    assert_eq!(ask_for_words(&mut panel, &seen), Some(Deed::WordsShown));
    let mut read = Vec::new();
    for _ in 0..6 {
        let page = panel.view(&seen, None, s(2)).page;
        read.extend(page.lines()[..4].iter().map(|line| line[3..].to_owned()));
        assert_eq!(panel.press(Gesture::Tap, &seen, s(2)), None);
    }
    assert_eq!(read.join(" "), PHRASE);
    assert!(lines(&mut panel, &seen, s(2)).starts_with("Which is word 3?|"));
    assert_eq!(choose(&mut panel, &seen, "three"), None);
    assert!(lines(&mut panel, &seen, s(2)).starts_with("Which is word 17?|"));
    let both = ["three".to_owned(), "seventeen".to_owned()];
    assert_eq!(choose(&mut panel, &seen, "seventeen"), Some(Deed::Confirm(both)));
    let confirmed = Seen { words: None, needs: Vec::new(), ..seen };
    assert_eq!(lines(&mut panel, &confirmed, s(3)), "Ready||Plug a disk in");
}

#[test]
fn a_wrong_word_leads_back_to_the_first_page_of_them() {
    let mut panel = Panel::new(Language::En);
    let seen = Seen { words: words(), ..Seen::default() };
    ask_for_words(&mut panel, &seen);
    for _ in 0..6 {
        panel.press(Gesture::Tap, &seen, s(2));
    }
    let page = panel.view(&seen, None, s(2)).page;
    let wrong = page.lines()[1..4].iter().map(|line| &line[2..]).find(|word| *word != "three").expect("two of them");
    assert_eq!(choose(&mut panel, &seen, wrong), None);
    assert!(lines(&mut panel, &seen, s(2)).starts_with("That is another word."));
    panel.press(Gesture::Tap, &seen, s(2));
    assert!(lines(&mut panel, &seen, s(2)).starts_with(" 1 one|"));
    assert!(!lines(&mut panel, &seen, s(302)).contains("one"), "they do not stay for whoever comes by");
}

#[test]
fn a_question_hides_the_words() {
    let mut panel = Panel::new(Language::En);
    let mut seen = Seen { words: words(), ..Seen::default() };
    ask_for_words(&mut panel, &seen);
    seen.asks = asks(1);
    assert!(lines(&mut panel, &seen, s(3)).starts_with("OVERWRITE"));
}

#[test]
fn a_reset_is_read_while_the_button_is_held_and_asked_once_more() {
    let mut panel = Panel::new(Language::En);
    let seen = Seen { resets: true, ..Seen::default() };
    let mut held = |seconds| panel.view(&seen, Some(s(seconds)), s(100)).page.lines().join("|");
    assert_eq!(held(3), "Ready||Plug a disk in");
    assert_eq!(held(7), "Let go now:|nothing happens||Hold on:|reset the settings");
    assert_eq!(held(10), "Let go now:|reset the settings||Hold on:|forget the owner");
    assert_eq!(held(29), "Let go now:|forget the owner||Hold on:|ERASE EVERYTHING");
    assert_eq!(held(31), "Let go now:|ERASE EVERYTHING|||");
    assert_eq!(held(61), "Let go now:|nothing happens|||");
    for (gesture, level, page) in [
        (Gesture::TenSeconds, Wipe::Network, "Reset the settings?|Backups stay.||Hold 2 s: yes|Tap: no"),
        (Gesture::TwentySeconds, Wipe::Pairing, "FORGET THE OWNER?|Backups stay.||Hold 2 s: yes|Tap: no"),
        (Gesture::ThirtySeconds, Wipe::Everything, "ERASE EVERYTHING?|All backups are lost.||Hold 2 s: yes|Tap: no"),
    ] {
        assert_eq!(panel.press(gesture, &seen, s(200)), None);
        assert_eq!(lines(&mut panel, &seen, s(201)), page);
        assert_eq!(panel.press(Gesture::Tap, &seen, s(202)), None, "no");
        assert_eq!(panel.press(Gesture::Hold, &seen, s(203)), None, "it was taken back");
        assert_eq!(panel.press(gesture, &seen, s(204)), None);
        assert_eq!(panel.press(Gesture::Hold, &seen, s(205)), Some(Deed::Reset(level)));
        assert_eq!(panel.press(gesture, &seen, s(300)), None);
        assert_eq!(panel.press(Gesture::Hold, &seen, s(331)), None, "nobody is there any more");
        let written = Seen { words: words(), ..seen.clone() };
        ask_for_words(&mut panel, &written);
        assert_eq!(panel.press(gesture, &written, s(2)), None);
        assert_eq!(lines(&mut panel, &written, s(3)), page, "also while the words are read");
        panel.press(Gesture::Tap, &written, s(3));
        let elsewhere = Seen { resets: false, ..Seen::default() };
        panel.press(gesture, &elsewhere, s(400));
        assert_eq!(panel.press(Gesture::Hold, &elsewhere, s(401)), None, "a box that cannot");
    }
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let state = prop::sample::select(vec![
        DiskState::Busy,
        DiskState::BackedUp,
        DiskState::Failed,
        DiskState::Waits,
        DiskState::Unknown,
        DiskState::Idle,
    ]);
    let need = prop::sample::select(vec![Need::StoreFull, Need::ClockBehind, Need::TooHot, Need::NotRecoverable]);
    let many = (prop::collection::vec(state, 0..4), prop::collection::vec(need, 0..4));
    (prop::option::of(1u8..4), any::<bool>(), any::<bool>(), any::<bool>(), many).prop_map(
        |(question, works, updating, unconfirmed, (states, needs))| Seen {
            asks: question.and_then(asks),
            working: works.then_some(Working { work: Work::Verify, serial: None, percent: 1 }),
            updating,
            needs,
            disks: states.into_iter().map(disk).collect(),
            words: words().filter(|_| unconfirmed),
            claim: None,
            sought: false,
            version: String::new(),
            resets: updating,
            restarts: false,
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_done_that_the_display_did_not_ask(
        steps in prop::collection::vec((any_seen(), 0u64..12, prop::option::of(0usize..5)), 1..60)
    ) {
        let all = [Gesture::Tap, Gesture::Hold, Gesture::TenSeconds, Gesture::TwentySeconds, Gesture::ThirtySeconds];
        let (mut panel, mut at) = (Panel::new(Language::Fr), s(0));
        for (seen, later, gesture) in steps {
            at += s(later);
            let before = panel.view(&seen, None, at);
            prop_assert!(before.page.lines().len() > 1, "an empty page");
            let Some(gesture) = gesture.map(|one| all[one]) else { continue };
            let read = before.page.lines().join("|");
            match panel.press(gesture, &seen, at) {
                None => {}
                Some(deed) => {
                    prop_assert_eq!(gesture, Gesture::Hold);
                    match deed {
                        Deed::Approve(asks) => prop_assert!(read.contains("ÉCRASER") && seen.asks == Some(asks)),
                        Deed::Backup(_) => prop_assert!(read.contains("sauvegarder")),
                        Deed::WordsShown => prop_assert!(read.contains("24 mots")),
                        Deed::Reset(_) => prop_assert!(read.contains("EFFACER") || read.contains("OUBLIER") || read.contains("Effacer")),
                        Deed::Confirm(two) => prop_assert_eq!(two, ["three".to_owned(), "seventeen".to_owned()]),
                    }
                }
            }
        }
    }
}
