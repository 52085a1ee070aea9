//! A simulated panel for who has no box at hand: what it shows as text or picture, its button at a keyboard.

use crate::args::PanelAsk;
use anyhow::Context;
use saveos_hal::display::COLUMNS;
use saveos_hal::sim::{self, Deed, Seen};
use std::io::Write;

/// Does what was asked at the panel and prints what is seen then.
pub(crate) fn ask(ask: &PanelAsk) -> anyhow::Result<()> {
    let deed = match (ask.press, ask.warm, ask.jam) {
        (Some(ms), _, _) => Deed::Press { ms },
        (_, Some(celsius), _) => Deed::Warm { celsius: Some(celsius) },
        (_, _, Some(jammed)) => Deed::Jam { jammed },
        _ => Deed::Look,
    };
    let socket = ask.socket.display();
    let hint = || format!("no simulated panel answers at {socket}; does the board's file name it?");
    let seen = sim::ask(&ask.socket, deed).with_context(hint)?;
    if let Some(file) = &ask.picture {
        let png = sim::picture(&ask.socket).with_context(hint)?;
        let written = std::fs::File::create(file).and_then(|mut file| file.write_all(&png));
        written.with_context(|| format!("could not write {}", file.display()))?;
    }
    let printed = if ask.json { serde_json::to_string(&seen)? + "\n" } else { drawn(&seen) };
    std::io::stdout().lock().write_all(printed.as_bytes())?;
    Ok(())
}

fn drawn(seen: &Seen) -> String {
    let edge = format!("+{}+\n", "-".repeat(COLUMNS + 2));
    let mut text = edge.clone();
    for line in seen.text.lines() {
        text.push_str(&format!("| {line:<COLUMNS$} |\n"));
    }
    text.push_str(&edge);
    for (light, glow) in &seen.lights {
        text.push_str(&format!("{:<8} {}\n", format!("{light:?}").to_lowercase(), format!("{glow:?}").to_lowercase()));
    }
    text + &format!("fan      {} %, {} turns a minute\n", seen.fan.percent(), seen.turns)
}
