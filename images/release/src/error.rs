//! What can go wrong between a bundle and a release.

use crate::key::KeyError;
use std::path::PathBuf;
use tough::schema::RoleType;

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signing with it.
    #[error("could not sign")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The library.
    #[error(transparent)]
    Metadata(#[from] Box<tough::schema::Error>),
    /// A name that could leave its folder.
    #[error("`{0}` can be no name of a target")]
    Name(String),
    /// A file.
    #[error("could not use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that holds something else.
    #[error("{what} is not what it should be")]
    NotUnderstood {
        /// Its name.
        what: String,
        /// Where reading ended.
        #[source]
        source: serde_json::Error,
    },
    /// A repository.
    #[error("could not use {place}")]
    Store {
        /// Which one.
        place: String,
        /// What it said.
        #[source]
        source: Box<object_store::Error>,
    },
    /// A rule of the ceremony.
    #[error("{0}")]
    Rule(String),
    /// Somebody whose signature counts for nothing here.
    #[error("this key is none of those that sign {0}")]
    NotAHolder(RoleType),
    /// A program that knows bundles.
    #[error("rauc does not take {bundle} for a bundle: {said}")]
    Bundle {
        /// The file.
        bundle: PathBuf,
        /// What the program said.
        said: String,
    },
}

impl From<tough::schema::Error> for ReleaseError {
    fn from(error: tough::schema::Error) -> ReleaseError {
        ReleaseError::Metadata(Box::new(error))
    }
}

pub(crate) fn rule<T>(text: impl Into<String>) -> Result<T, ReleaseError> {
    Err(ReleaseError::Rule(text.into()))
}
