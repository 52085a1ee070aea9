//! One behaviour for all backends: what a part must do, whoever made it. A backend gives a board and its other side (what a
//! lamp shows, a finger on the button, heat); a part that it has not is counted as skipped, never as passed.

use crate::board::Board;
use crate::display::{Frame, Page};
use crate::fan::Duty;
use crate::lights::Light;
use crate::parts::MilliCelsius;

/// The other side of a board. `None` and `false`: this rig cannot see or do that.
pub trait OtherSide {
    /// Whether a light is lit.
    fn is_lit(&mut self, light: Light) -> Option<bool>;
    /// Presses the button, or lets it go.
    fn press(&mut self, down: bool) -> bool;
    /// The dots that the display shows.
    fn frame(&mut self) -> Option<Frame>;
    /// How fast the fan is driven.
    fn duty(&mut self) -> Option<Duty>;
    /// Makes the fan turn, or stand; how fast it turns then at full speed.
    fn turn(&mut self, turns: bool) -> Option<u32>;
    /// Warms the board; none: breaks the thermometer.
    fn warm(&mut self, warm: Option<MilliCelsius>) -> bool;
    /// How often the watchdog was fed; none inside: it sleeps.
    fn fed(&mut self) -> Option<Option<u64>>;
    /// Whether the drive bay has power.
    fn bay(&mut self) -> Option<bool>;
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Parts that do what they must.
    pub passed: Vec<&'static str>,
    /// Parts that do not, and what they did.
    pub failed: Vec<(&'static str, String)>,
    /// Parts that the board or the rig has not.
    pub skipped: Vec<&'static str>,
}

/// None: not there. Otherwise what is wrong.
type Checked = Option<Result<(), String>>;

/// Holds a board to it.
pub fn check(mut board: Board, rig: &mut dyn OtherSide) -> Report {
    let mut report = Report::default();
    let watchdog = watchdog(&mut board, rig);
    let parts: [(&str, Checked); 7] = [
        ("lights", lights(&mut board, rig)),
        ("button", button(&mut board, rig)),
        ("display", display(&mut board, rig)),
        ("fan", fan(&mut board, rig)),
        ("thermometer", thermometer(&mut board, rig)),
        ("watchdog", watchdog),
        ("bay", bay(&mut board, rig)),
    ];
    for (part, checked) in parts {
        match checked {
            None => report.skipped.push(part),
            Some(Ok(())) => report.passed.push(part),
            Some(Err(what)) => report.failed.push((part, what)),
        }
    }
    report
}

fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn words(error: crate::HalError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        words = format!("{words}: {deeper}");
        source = deeper.source();
    }
    words
}

/// Each is dark at first, shows what it was told, and lets the others be.
fn lights(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let present: Vec<Light> = board.lamps.keys().copied().collect();
    rig.is_lit(*present.first()?)?;
    let all_dark = |rig: &mut dyn OtherSide| present.iter().all(|light| rig.is_lit(*light) == Some(false));
    if !all_dark(rig) {
        return Some(Err("a light is lit that nobody lit".to_owned()));
    }
    for (light, lamp) in &mut board.lamps {
        // Twice the same is the same.
        for lit in [true, true, false, false] {
            if let Err(error) = lamp.set(lit) {
                return Some(Err(words(error)));
            }
            let shows = present.iter().all(|other| rig.is_lit(*other) == Some(lit && other == light));
            if !shows {
                return Some(Err(format!("{light:?} was set to {lit}, and another state was seen")));
            }
        }
    }
    Some(Ok(()))
}

fn button(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let button = board.button.as_mut()?;
    rig.press(false).then_some(())?;
    let mut look = |down| {
        rig.press(down);
        must(button.is_down().map_err(words)? == down, "the button is not as the finger")
    };
    Some([false, true, true, false].into_iter().try_for_each(&mut look))
}

/// What a page draws is what is lit, whatever was shown before.
fn display(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let display = board.display.as_mut()?;
    let mut drawn = |lines: &[&str]| {
        let page = Page::of(lines);
        display.show(&page).map_err(words)?;
        Ok::<_, String>(rig.frame().map(|frame| frame == page.draw()))
    };
    let mut outcome = Ok(());
    for lines in [&["Ready"][..], &["Backing up", "", "42 %"], &["Backing up", "", "43 %"], &[]] {
        match drawn(lines) {
            Ok(None) => return None,
            Ok(Some(same)) => outcome = outcome.and_then(|()| must(same, "other dots than the page has")),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(outcome)
}

fn fan(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let fan = board.fan.as_mut()?;
    rig.duty()?;
    let mut run = || {
        for percent in [0, 30, 55, 100, 0] {
            fan.set_duty(Duty::of(percent)).map_err(words)?;
            must(rig.duty() == Some(Duty::of(percent)), "it is not driven as it was told")?;
        }
        fan.set_duty(Duty::FULL).map_err(words)?;
        for turns in [true, false, true] {
            // A fan without a tachometer says nothing of it, and never a number.
            let expected = rig.turn(turns);
            must(fan.turns().map_err(words)? == expected, "the tachometer tells something else")?;
        }
        fan.set_duty(Duty::OFF).map_err(words)
    };
    Some(run())
}

fn thermometer(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let thermometer = board.thermometer.as_mut()?;
    rig.warm(Some(MilliCelsius::of(20))).then_some(())?;
    let mut run = || {
        for warm in [MilliCelsius(0), MilliCelsius(-12_345), MilliCelsius(84_999)] {
            rig.warm(Some(warm));
            must(thermometer.read().map_err(words)? == warm, "it tells something else")?;
        }
        rig.warm(None);
        must(thermometer.read().is_err(), "it is broken and tells a number")
    };
    Some(run())
}

fn watchdog(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let mut watchdog = board.watchdog.take()?;
    let before = rig.fed()?;
    let run = || {
        must(before.is_some(), "it sleeps")?;
        must(!watchdog.timeout().map_err(words)?.is_zero(), "it bites at once")?;
        watchdog.feed().map_err(words)?;
        must(rig.fed() == Some(before.map(|times| times + 1)), "it was not fed")?;
        watchdog.disarm().map_err(words)?;
        must(rig.fed() == Some(None), "it does not sleep")
    };
    Some(run())
}

fn bay(board: &mut Board, rig: &mut dyn OtherSide) -> Checked {
    let bay = board.bay.as_mut()?;
    rig.bay()?;
    let mut run = |on| {
        bay.set(on).map_err(words)?;
        must(rig.bay() == Some(on), "the bay has not the power it should have")
    };
    Some([true, true, false].into_iter().try_for_each(&mut run))
}
