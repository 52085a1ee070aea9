//! A bundle that is to be a release, and what goes with it: of what it is made, from where it came, what changed.

use crate::document::hex;
use crate::error::{ReleaseError, rule};
use saveos_protocol::hex::Digest;
use saveos_protocol::release::Said;
use saveos_protocol::text::{Release, Text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tough::TargetName;
use tough::schema::{Target, Targets};

/// A bundle that is to be a release.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The file that RAUC made.
    pub file: PathBuf,
    /// What it is made for: `saveos-qemu`.
    pub compatible: String,
    /// Which release it is.
    pub release: String,
    /// A box that confirmed a higher one refuses it.
    pub security_epoch: u32,
    /// Releases from which a box can go to this one at once; from all, when there are none.
    pub from: Vec<String>,
    /// The root of the tree of hashes of its system, hexadecimal: what a box must say that it runs.
    pub root_hash: Option<String>,
    /// What changed, in a sentence.
    pub notes: Option<String>,
    /// Of what it is made: a CycloneDX document.
    pub sbom: Option<PathBuf>,
    /// Who built it, from what: an in-toto statement.
    pub provenance: Option<PathBuf>,
}

/// Before the root hash of the system, in the word that a manifest has for its build (`images/build/bundle.sh`).
const ROOT_HASH: &str = "root-hash:";

/// A file that is to be published under a name.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Its name among the targets.
    pub name: TargetName,
    /// Where it lies.
    pub file: PathBuf,
    /// What is signed of it.
    pub target: Target,
}

impl Bundle {
    /// A bundle as RAUC reads it, whose signer is in `keyring`: what it is made for and which release it is are in it already.
    pub fn inspect(file: &Path, keyring: &Path) -> Result<Bundle, ReleaseError> {
        let mut rauc = Command::new("rauc");
        rauc.args(["info", "--output-format=json"]).arg("--keyring").arg(keyring).arg(file);
        let error = |said: String| ReleaseError::Bundle { bundle: file.to_owned(), said };
        let out = rauc.output().map_err(|source| ReleaseError::File { path: "rauc".into(), source })?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(error(said.lines().last().unwrap_or("nothing").trim().to_owned()));
        }
        let said: Value = serde_json::from_slice(&out.stdout).map_err(|source| error(source.to_string()))?;
        let text = |name: &str| {
            said[name].as_str().map(str::to_owned).ok_or_else(|| error(format!("its manifest names no {name}")))
        };
        Ok(Bundle {
            file: file.to_owned(),
            compatible: text("compatible")?,
            release: text("version")?,
            root_hash: said["build"].as_str().and_then(|build| build.strip_prefix(ROOT_HASH)).map(str::to_owned),
            ..Bundle::default()
        })
    }

    /// Its name among the targets, by which a box finds it.
    pub fn name(&self) -> String {
        self.name_of("raucb")
    }

    fn name_of(&self, kind: &str) -> String {
        format!("{}-{}.{kind}", self.compatible, self.release)
    }

    /// The bundle and what goes with it, as targets.
    pub fn offered(&self) -> Result<Vec<Offered>, ReleaseError> {
        let mut bundle = offer(self.name(), &self.file)?;
        let sha256 = hex(&bundle.target.hashes.sha256);
        let mut all = Vec::new();
        if let Some(sbom) = &self.sbom {
            let found = read(sbom)?;
            if found["bomFormat"] != "CycloneDX" {
                return rule(format!("{} is no CycloneDX document", sbom.display()));
            }
            all.push(offer(self.name_of("cdx.json"), sbom)?);
        }
        if let Some(provenance) = &self.provenance {
            crate::provenance::check(&read(provenance)?, &sha256)
                .map_err(|why| ReleaseError::Rule(format!("{}: {why}", provenance.display())))?;
            all.push(offer(self.name_of("intoto.json"), provenance)?);
        }
        let release = |text: &String| {
            text.parse::<Release>().map_err(|error| ReleaseError::Rule(format!("`{text}` is no release: {error}")))
        };
        let root_hash = |text: &String| {
            text.parse::<Digest>().map_err(|error| ReleaseError::Rule(format!("`{text}` is no root hash: {error}")))
        };
        let said = Said {
            release: release(&self.release)?,
            compatible: self.compatible.clone(),
            security_epoch: self.security_epoch,
            from: self.from.iter().map(release).collect::<Result<_, _>>()?,
            root_hash: self.root_hash.as_ref().map(root_hash).transpose()?,
            notes: self.notes.as_deref().map(Text::cut),
        };
        // Without it no box would know the bundle for a release.
        let Ok(Value::Object(said)) = serde_json::to_value(said) else {
            return rule("what is said of it is no object");
        };
        bundle.target.custom = said.into_iter().collect();
        all.insert(0, bundle);
        Ok(all)
    }
}

fn offer(name: String, file: &Path) -> Result<Offered, ReleaseError> {
    let target = measure(file)?;
    // A name that is a path would lie elsewhere than where a box looks.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte)) || name.starts_with('.') {
        return Err(ReleaseError::Name(name));
    }
    let name = TargetName::new(&name).map_err(|_| ReleaseError::Name(name.clone()))?;
    Ok(Offered { name, file: file.to_owned(), target })
}

/// A file of ours as the target that it is, by its hash.
pub fn file_of(targets: &Targets, file: &Path) -> Result<Vec<Offered>, ReleaseError> {
    let found = measure(file)?;
    let same = targets.targets.iter().filter(|(_, target)| target.hashes.sha256 == found.hashes.sha256);
    let offered = |(name, target): (&TargetName, &Target)| Offered {
        name: name.clone(),
        file: file.to_owned(),
        target: target.clone(),
    };
    let all: Vec<Offered> = same.map(offered).collect();
    if all.is_empty() { rule(format!("{} is none of the signed files", file.display())) } else { Ok(all) }
}

/// The hash by which a file is signed, as hexadecimal digits.
pub fn sha256(file: &Path) -> Result<String, ReleaseError> {
    Ok(hex(&measure(file)?.hashes.sha256))
}

fn measure(file: &Path) -> Result<Target, ReleaseError> {
    let error = |error: tough::schema::Error| std::io::Error::other(error.to_string());
    let target = crate::wait(Target::from_path(file)).map_err(error);
    target.map_err(|source| ReleaseError::File { path: file.to_owned(), source })
}

fn read(path: &Path) -> Result<Value, ReleaseError> {
    let bytes = std::fs::read(path).map_err(|source| ReleaseError::File { path: path.to_owned(), source })?;
    crate::document::parse(&bytes, &path.display().to_string())
}
