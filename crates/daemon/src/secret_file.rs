//! Reads a key or a token from a file, where other users of the machine do not see it.

use std::io;
use std::path::{Path, PathBuf};

use gatewayworker_protocol::SecretKey;

/// Why a file has no secret. The message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's error. The message has it already, so it is no source.
        error: io::Error,
    },
    /// Its first line is empty.
    #[error("{} has nothing in its first line", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// Returns the first line of a file, without white space around it.
///
/// # Errors
/// When the file cannot be read, or the line is empty.
pub fn read_secret_file(file: &Path) -> Result<SecretKey, SecretFileError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| SecretFileError::Read { file: file.to_owned(), error })?;
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(SecretFileError::Empty { file: file.to_owned() }),
        Some(secret) => Ok(SecretKey::new(secret)),
    }
}
