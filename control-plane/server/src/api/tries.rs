//! How often a password was wrong of late, by account and by address: here, and where there is a hub, at all replicas together. Without
//! it, whoever guesses has as many tries at each replica, and no more.

use crate::hub::Hub;
use saveos_protocol::time::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Wrong passwords for one account in a quarter of an hour.
const TRIES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Wrong passwords from one address in the same time: an office signs in from one.
const TRIES_FROM: u32 = 50;
/// Accounts that are counted at once; who tries more names than that waits for all of them.
const COUNTED: usize = 10_000;

/// Wrong passwords of late.
#[derive(Default)]
pub(crate) struct Tries {
    here: Mutex<HashMap<String, (u32, Timestamp)>>,
    everywhere: Option<Hub>,
}

impl Tries {
    /// Counted with the other replicas, if there is a hub.
    pub(crate) fn with(hub: Option<Hub>) -> Tries {
        Tries { here: Mutex::default(), everywhere: hub }
    }

    /// Counts a try before it is made; the wait when there were too many.
    pub(super) async fn begin(&self, email: &str, now: Timestamp) -> Result<(), Duration> {
        self.count(email, TRIES, now).await
    }

    /// The same for where it comes from.
    pub(super) async fn begin_from(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.count(&from(address), TRIES_FROM, now).await
    }

    async fn count(&self, who: &str, most: u32, now: Timestamp) -> Result<(), Duration> {
        self.count_here(who, most, now)?;
        match &self.everywhere {
            Some(hub) => hub.count(who, most, WINDOW).await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }

    fn count_here(&self, who: &str, most: u32, now: Timestamp) -> Result<(), Duration> {
        let mut tries = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= COUNTED {
            tries.retain(|_, (_, until)| *until > now);
        }
        if tries.len() >= COUNTED {
            return Err(WINDOW);
        }
        let (count, until) = tries.entry(who.to_owned()).or_insert((0, now.after(WINDOW)));
        if *until <= now {
            (*count, *until) = (0, now.after(WINDOW));
        }
        if *count >= most {
            return Err(until.since(now));
        }
        *count += 1;
        Ok(())
    }

    /// The right password: what was wrong before counts no more.
    pub(super) async fn forget(&self, email: &str) {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).remove(email);
        if let Some(hub) = &self.everywhere {
            hub.forget(email).await;
        }
    }

    /// This one was right: the others from there still count.
    pub(super) async fn take_back(&self, address: IpAddr) {
        if let Some((count, _)) = self.here.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&from(address)) {
            *count = count.saturating_sub(1);
        }
        if let Some(hub) = &self.everywhere {
            hub.take_back(&from(address), WINDOW).await;
        }
    }
}

/// Whoever has an IPv6 address has 2^64 of them. No e-mail address looks like this.
fn from(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("from {address}"),
        IpAddr::V6(address) => format!("from {:x?}", &address.segments()[..4]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wrong_passwords_are_counted_by_account() {
        let (tries, now) = (Tries::default(), Timestamp::saturating(1));
        for _ in 0..TRIES {
            tries.begin("a@example", now).await.expect("free");
        }
        assert_eq!(tries.begin("a@example", now).await, Err(WINDOW));
        assert_eq!(tries.begin("b@example", now).await, Ok(()));
        assert_eq!(tries.begin("a@example", now.after(WINDOW)).await, Ok(()));
        tries.forget("a@example").await;
        assert_eq!(tries.begin("a@example", now).await, Ok(()));
    }

    #[tokio::test]
    async fn wrong_passwords_for_many_accounts_are_counted_by_address() {
        let (tries, now) = (Tries::default(), Timestamp::saturating(1));
        let at = |text: &str| text.parse().expect("an address");
        for _ in 0..TRIES_FROM {
            tries.begin_from(at("192.0.2.1"), now).await.expect("free");
            tries.begin_from(at("2001:db8::1"), now).await.expect("free");
        }
        assert_eq!(tries.begin_from(at("192.0.2.1"), now).await, Err(WINDOW));
        assert_eq!(tries.begin_from(at("::ffff:192.0.2.1"), now).await, Err(WINDOW), "the same one");
        assert_eq!(tries.begin_from(at("192.0.2.2"), now).await, Ok(()));
        tries.take_back(at("192.0.2.1")).await;
        assert_eq!(tries.begin_from(at("192.0.2.1"), now).await, Ok(()));
        assert_eq!(tries.begin_from(at("2001:db8::ffff:1"), now).await, Err(WINDOW), "one network");
        assert_eq!(tries.begin_from(at("2001:db8:0:1::1"), now).await, Ok(()));
    }
}
