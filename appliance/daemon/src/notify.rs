//! Tells systemd that we are ready, alive and stopping. Alive means: the main loop turned, or a job moved on.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Says a word to who started us; nothing without one.
pub(crate) fn say(word: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // Best effort: without systemd's ear its watchdog restarts us, which is right.
    let _ = UnixDatagram::unbound().and_then(|socket| match path.to_string_lossy().strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes())?;
            socket.send_to_addr(word.as_bytes(), &address)
        }
        None => socket.send_to(word.as_bytes(), &path),
    });
}

/// How often the watchdog wants to hear from us, if there is one: half of its patience.
pub(crate) fn watchdog() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(micros) / 2)
}
