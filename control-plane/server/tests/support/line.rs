//! A line between boxes and their broker that can be cut, or can swallow what is said without a word, as networks do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// All is passed on.
    Up = 0,
    /// Connections break, and none is made.
    Cut = 1,
    /// Connections stand, and nothing goes through.
    Deaf = 2,
}

/// The line. Everything on it ends with the test.
pub(crate) struct Line {
    pub(crate) port: u16,
    state: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    /// To a port of this machine.
    pub(crate) fn to(port: u16) -> Line {
        Line::over(vec![port])
    }

    /// To whichever of these ports takes a connection, each in its turn: a load balancer that looks at nothing.
    pub(crate) fn over(ports: Vec<u16>) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let line =
            Line { port: listener.local_addr().expect("a port").port(), state: Arc::default(), open: Arc::default() };
        let (state, open) = (Arc::clone(&line.state), Arc::clone(&line.open));
        std::thread::spawn(move || {
            for (turn, here) in listener.incoming().flatten().enumerate() {
                if state.load(Ordering::Relaxed) == State::Cut as u8 {
                    continue;
                }
                let mut places = (0..ports.len()).map(|next| ("127.0.0.1", ports[(turn + next) % ports.len()]));
                let Some(there) = places.find_map(|place| TcpStream::connect(place).ok()) else { continue };
                for (from, to) in [(&here, &there), (&there, &here)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    open.lock().expect("no panic").push(from.try_clone().expect("a socket"));
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || pass(from, to, &state));
                }
            }
        });
        line
    }

    pub(crate) fn be(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
        if state == State::Cut {
            for socket in self.open.lock().expect("no panic").drain(..) {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        while state.load(Ordering::Relaxed) == State::Deaf as u8 {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
