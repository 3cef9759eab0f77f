//! Random credentials, new for each run.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};
use secrecy::SecretString;

/// `bytes` random bytes of the kernel, as hexadecimal digits.
///
/// # Errors
/// The kernel's generator cannot be read.
pub fn hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut buffer))
        .context("failed to read /dev/urandom")?;
    Ok(hex::encode(buffer))
}

/// The same, as a secret.
///
/// # Errors
/// See [`hex`].
pub fn token(bytes: usize) -> Result<SecretString> {
    hex(bytes).map(SecretString::from)
}
