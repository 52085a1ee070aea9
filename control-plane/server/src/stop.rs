//! The wish to end, as all parts hear it.

use tokio::sync::watch;

/// Waits until somebody wants an end, or nobody is left who could.
pub(crate) async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
