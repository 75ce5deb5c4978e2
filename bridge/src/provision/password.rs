//! Password files: read, or created with a random password that only their owner can read.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use data_encoding::BASE32_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;
use zeroize::Zeroizing;

use crate::{
    config::{Exposure, Secret},
    directory::{Directory, Missing},
    failure::Failure,
};

/// The number of random bytes in a secret: 120 bits, which become 24 letters and digits.
const CHANCE: usize = 15;

/// A password, and whether it was created just now.
pub(super) struct First {
    pub(super) text: SecretString,
    pub(super) is_new: bool,
}

/// Reads the password in a file. If there is no such file, it is created with a random password, together with its
/// directory.
///
/// # Errors
///
/// [`Failure::Config`] if the file can neither be read nor written.
pub(super) fn first(path: &Path) -> Result<First, Failure> {
    let text = random()?;
    match write_new(path, &text) {
        Ok(()) => Ok(First { text, is_new: true }),
        // This also covers a directory that is read-only, such as that of systemd's credentials.
        Err(_) if path.exists() => Ok(First { text: read(path)?, is_new: false }),
        Err(error) => Err(unwritten(path, &error)),
    }
}

/// Reads the password in an existing file.
///
/// # Errors
///
/// Returns the errors of [`guarded`], and [`Failure::Config`] if the file cannot be read.
pub(super) fn read(path: &Path) -> Result<SecretString, Failure> {
    guarded(path)?;
    Secret::File { key: "password_file".to_owned(), path: path.to_owned() }.read()
}

/// Warns of a secret that every user of this machine can read.
///
/// # Errors
///
/// [`Failure::Config`] for a file that every user can write, as somebody else may know what is in it.
pub(super) fn guarded(path: &Path) -> Result<(), Failure> {
    match Exposure::of(path) {
        Some(exposure) if exposure.is_writable() => Err(Failure::Config(exposure.to_string())),
        Some(exposure) => {
            warn!("{exposure}");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Creates a secret that nobody has to remember, but somebody may have to type on a phone: of a to z and 2 to 7.
pub(super) fn random() -> Result<SecretString, Failure> {
    let mut bytes = Zeroizing::new([0; CHANCE]);
    aws_lc_rs::rand::fill(&mut *bytes)
        .map_err(|_| Failure::Bug("the system has no random numbers".to_owned()))?;
    let mut text = BASE32_NOPAD.encode(&*bytes);
    text.make_ascii_lowercase();
    Ok(SecretString::from(text))
}

/// The file in which a new password waits until the homeserver has accepted it.
pub(super) fn waiting(path: &Path) -> PathBuf {
    beside(path.as_os_str()).into()
}

fn beside(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(".new");
    name
}

/// Writes a file atomically that only its owner can read. An existing file is an error, so that no password is lost.
/// A file that root makes belongs to the owner of its directory. Where others could replace it, none is made.
pub(super) fn write_new(path: &Path, password: &SecretString) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Make)?;
    directory.check_place(&name)?;
    directory.write_new(&name, &line(password))
}

/// Writes a password beside the file `path`, for the same owner. An earlier one there is obsolete and is replaced.
pub(super) fn write_beside(path: &Path, password: &SecretString) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    let new = beside(&name);
    directory.replace_as(&new, &line(password), &name)
}

/// Moves the password that waits beside a file into its place.
pub(super) fn move_into_place(path: &Path) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    directory.rename(&beside(&name), &name)
}

/// Removes a file whose password belongs to no account.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    directory.remove(&name)
}

fn line(password: &SecretString) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{}\n", password.expose_secret()).into_bytes())
}

pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::Config(format!("the password file {} cannot be written: {error}", path.display()))
}
