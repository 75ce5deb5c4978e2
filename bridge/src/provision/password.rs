//! Passwords in files: read, or made up and written for nobody else to read.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, fchown},
    path::{Path, PathBuf},
};

use data_encoding::BASE32_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{config::Secret, failure::Failure};

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

pub(super) fn read(path: &Path) -> Result<SecretString, Failure> {
    Secret::File { key: "password_file".to_owned(), path: path.to_owned() }.read()
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
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a file that only its owner can read, whole or not at all; one that is there already is an error, so
/// that no password is lost.
pub(super) fn write_new(path: &Path, password: &SecretString) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // With mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{}", password.expose_secret())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

/// Gives a file to the owner of another one: root rotates passwords that belong to a service.
pub(super) fn same_owner(path: &Path, as_of: &Path) -> io::Result<()> {
    let (file, wanted) = (fs::File::open(path)?, fs::metadata(as_of)?);
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    fchown(&file, Some(wanted.uid()), Some(wanted.gid()))
}

pub(super) fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::Config(format!("the password file {} cannot be written: {error}", path.display()))
}
