//! Which of the two system slots starts next, and how often a new one is tried.
//!
//! ```text
//! RAUC, the health gate, the initramfs ─▶ BootState (pure rules) ─▶ Copy (bytes, CRC) ─▶ Store (two copies, flushed) ◀─ boot script
//! ```
//!
//! The boot script (`images/boot/boot.cmd`) reads the same two copies with U-Boot's `env import -c` and follows
//! [`BootState::boots`]; a test lets both decide over the same states.

mod copy;
mod order;
mod state;
mod store;

pub use copy::{COPY_SIZE, Copy, Damage};
pub use order::{Answer, Order, Verb};
pub use state::{BootState, Boots, Slot, TRIES, Wipe};
pub use store::{Disk, OFFSETS, Store, StoreError};

/// The slot that runs, as the boot script told the kernel in its command line.
pub fn running_slot(command_line: &str) -> Option<Slot> {
    command_line.split_whitespace().find_map(|word| word.strip_prefix("rauc.slot=")?.parse().ok())
}
