//! Passwords in files: read, or made up and written for nobody else to read.

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

/// Bytes of chance in a secret: 120 bits, which become 24 letters and digits.
const CHANCE: usize = 15;

/// A password, and whether it was made up just now.
pub(super) struct First {
    pub(super) text: SecretString,
    pub(super) is_new: bool,
}

/// The password in a file. If there is no such file it is made up, with the directory.
///
/// # Errors
///
/// [`Failure::Config`] when the file can be neither read nor written.
pub(super) fn first(path: &Path) -> Result<First, Failure> {
    let text = random()?;
    match write_new(path, &text) {
        Ok(()) => Ok(First { text, is_new: true }),
        // Also where nothing can be written, such as in a directory of systemd's credentials.
        Err(_) if path.exists() => Ok(First { text: read(path)?, is_new: false }),
        Err(error) => Err(unwritten(path, &error)),
    }
}

/// The password in a file that is there.
///
/// # Errors
///
/// As of [`guarded`]; and [`Failure::Config`] when it cannot be read.
pub(super) fn read(path: &Path) -> Result<SecretString, Failure> {
    guarded(path)?;
    Secret::File { key: "password_file".to_owned(), path: path.to_owned() }.read()
}

/// Warns of a secret that every user of this machine can read.
///
/// # Errors
///
/// [`Failure::Config`] for one that every user can write, as it may be one that somebody else knows.
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

/// A secret that nobody has to remember, but somebody may have to type on a phone: of a to z and 2 to 7.
pub(super) fn random() -> Result<SecretString, Failure> {
    let mut bytes = Zeroizing::new([0; CHANCE]);
    aws_lc_rs::rand::fill(&mut *bytes)
        .map_err(|_| Failure::Bug("the system has no random numbers".to_owned()))?;
    let mut text = BASE32_NOPAD.encode(&*bytes);
    text.make_ascii_lowercase();
    Ok(SecretString::from(text))
}

/// The file in which a new password waits until the homeserver has taken it.
pub(super) fn waiting(path: &Path) -> PathBuf {
    beside(path.as_os_str()).into()
}

fn beside(name: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(".new");
    name
}

/// Writes a file that only its owner can read, whole or not at all; one that is there already is an error, so
/// that no password is lost. Made by root, it belongs to whom its directory belongs to.
pub(super) fn write_new(path: &Path, password: &SecretString) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Make)?;
    directory.write_new(&name, &line(password))
}

/// Writes a password beside the file `path`, for the same owner, in the place of one that nobody needs.
pub(super) fn write_beside(path: &Path, password: &SecretString) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    let new = beside(&name);
    directory.replace_as(&new, &line(password), &name)
}

/// Puts the password that waits beside a file into its place.
pub(super) fn move_into_place(path: &Path) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    directory.rename(&beside(&name), &name)
}

/// Removes a file with a password that nobody has.
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
