//! What a release is, by the signed metadata of The Update Framework: who may sign, until when it is fresh, how long a bundle is and
//! what its hash is. `https://theupdateframework.github.io/specification/latest/`
//!
//! The highest versions that were ever seen are kept in the daemon's database rather than in a folder of the library's: they survive a
//! cut, and no clock that once was wrong stops all updates until its time has come.

use super::advance::Outcome;
use super::journal::{Bundle, Spare};
use saveos_protocol::hex::Digest;
use saveos_protocol::release::Said;
use saveos_protocol::shadow::UpdateFailure;
use saveos_protocol::text::{Release, Text};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::time::Duration;
use tough::{
    Bytes, Limits, RepositoryLoader, Transport, TransportError, TransportErrorKind, TransportStream, async_trait,
};
use url::Url;

/// Where releases are, and what of them fits this box.
#[derive(Clone)]
pub(crate) struct Source {
    /// `…/metadata/` and `…/targets/` are below it.
    pub(crate) base: Url,
    /// The root metadata that came with the system.
    pub(crate) root: Vec<u8>,
    /// What a bundle must be made for.
    pub(crate) compatible: String,
    /// From what the box would go to it.
    pub(crate) running: Release,
    /// To which it may go back, whatever runs now: it came from there.
    pub(crate) spare: Option<Spare>,
    pub(crate) agent: ureq::Agent,
}

/// The highest versions that were seen: an older one is an attack, or a server that was set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    root: u64,
    timestamp: u64,
    snapshot: u64,
    targets: u64,
}

const LIMITS: Limits = Limits {
    max_root_size: 256 << 10,
    max_targets_size: 4 << 20,
    max_timestamp_size: 64 << 10,
    max_snapshot_size: 256 << 10,
    max_root_updates: 256,
};
/// For one file of metadata; a slow link carries a few hundred KiB in that time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Larger than any system disk of a box.
const LONGEST: u64 = 4 << 30;

impl Source {
    /// The bundle of a release; raises the marks.
    pub(crate) fn read(&self, release: &Release, marks: &mut Marks) -> Outcome {
        match self.try_read(release, marks) {
            Ok(bundle) => Outcome::Known(bundle),
            Err((reason, text)) => Outcome::Failed(reason, Text::cut(&text)),
        }
    }

    /// Where a bundle is fetched from.
    pub(crate) fn url(&self, bundle: &Bundle) -> Option<Url> {
        self.base.join("targets/").ok()?.join(&format!("{}.{}", bundle.sha256, bundle.path)).ok()
    }

    fn try_read(&self, release: &Release, marks: &mut Marks) -> Result<Bundle, (UpdateFailure, String)> {
        let refused = |text: String| (UpdateFailure::Refused, text);
        let at = |folder| self.base.join(folder).map_err(|error| refused(error.to_string()));
        let loader = RepositoryLoader::new(&self.root, at("metadata/")?, at("targets/")?)
            .transport(Http(self.agent.clone()))
            .limits(LIMITS);
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|error| refused(error.to_string()))?;
        let repository = runtime.block_on(loader.load()).map_err(|error| failure(&error))?;
        let seen = Marks {
            root: repository.root().signed.version.get(),
            timestamp: repository.timestamp().signed.version.get(),
            snapshot: repository.snapshot().signed.version.get(),
            targets: repository.targets().signed.version.get(),
        };
        marks.raise(seen).map_err(|role| refused(format!("the {role} metadata is older than what was seen before")))?;

        let path = format!("{}-{release}.raucb", self.compatible);
        // As it is signed: a name that only leads there is another one.
        let found = repository.all_targets().find(|(name, _)| name.raw() == path);
        let Some((_, target)) = found else { return Err(refused(format!("there is no signed bundle {path}"))) };
        let said = serde_json::to_value(&target.custom).and_then(serde_json::from_value::<Said>);
        let said = said.map_err(|error| refused(format!("what is signed of {path} is not understood: {error}")))?;
        if said.compatible != self.compatible || said.release != *release {
            let text =
                format!("{path} is {} for {}, not {release} for {}", said.release, said.compatible, self.compatible);
            return Err(refused(text));
        }
        let sha256 = <[u8; 32]>::try_from(target.hashes.sha256.as_ref())
            .map_err(|_| refused("a hash of another length".to_owned()))?;
        let sha256 = Digest(sha256);
        let goes_back = self.spare.as_ref().is_some_and(|spare| spare.holds(release, &sha256));
        if !goes_back && !said.may_follow(&self.running) {
            let from: Vec<String> = said.from.iter().map(ToString::to_string).collect();
            return Err(refused(format!("{path} follows {}, not {}, which runs here", from.join(", "), self.running)));
        }
        if target.length == 0 || target.length > LONGEST {
            return Err(refused(format!("{path} would be {} bytes long", target.length)));
        }
        Ok(Bundle { path, length: target.length, sha256, epoch: said.security_epoch })
    }
}

impl Marks {
    /// Keeps the higher ones, or names the role that went back. A new root may set the versions of the roles that sign by machine
    /// back: that is how an owner recovers from a stolen key that was used to count far ahead (specification, 5.3.11).
    fn raise(&mut self, seen: Marks) -> Result<(), &'static str> {
        if seen.root < self.root {
            return Err("root");
        }
        if seen.root == self.root {
            let roles = [
                ("timestamp", seen.timestamp, self.timestamp),
                ("snapshot", seen.snapshot, self.snapshot),
                ("targets", seen.targets, self.targets),
            ];
            if let Some((role, ..)) = roles.iter().find(|(_, seen, kept)| seen < kept) {
                return Err(role);
            }
        }
        *self = seen;
        Ok(())
    }
}

/// A network that fails is no refusal.
fn failure(error: &tough::error::Error) -> (UpdateFailure, String) {
    use tough::error::Error::{HashMismatch, MaxSizeExceeded, Transport};
    // The library finds a wrong hash while it reads, and calls that a fault of the transport.
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let wrong = causes.any(|cause| matches!(cause.downcast_ref(), Some(HashMismatch { .. } | MaxSizeExceeded { .. })));
    let reason =
        if matches!(error, Transport { .. }) && !wrong { UpdateFailure::Download } else { UpdateFailure::Refused };
    (reason, error.to_string())
}

/// Files of metadata, as our own client fetches them.
#[derive(Clone, Debug)]
struct Http(ureq::Agent);

#[async_trait]
impl Transport for Http {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed =
            |kind, error: Box<dyn std::error::Error + Send + Sync>| TransportError::new_with_cause(kind, &url, error);
        let request = self.0.get(url.as_str()).config().timeout_global(Some(PATIENCE)).build();
        let response = request.call().map_err(|error| match error {
            // Nobody has the next root: the chain ends here.
            ureq::Error::StatusCode(403 | 404 | 410) => failed(TransportErrorKind::FileNotFound, Box::new(error)),
            error => failed(TransportErrorKind::Other, Box::new(error)),
        })?;
        // The library's limits are lower; this bounds what a server can make us hold.
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader().take(LIMITS.max_targets_size + 1);
        reader.read_to_end(&mut body).map_err(|error| failed(TransportErrorKind::Other, Box::new(error)))?;
        Ok(Box::pin(futures_util::stream::iter([Ok(Bytes::from(body))])))
    }
}

#[cfg(test)]
mod attacks;
