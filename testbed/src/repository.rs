//! The files of this repository, for tests that compare them with each other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of the repository.
///
/// # Panics
///
/// If this crate is not in the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace")
}

/// All files under a directory, sorted.
///
/// # Errors
///
/// A directory cannot be read.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The files under a directory that have this extension, sorted.
///
/// # Errors
///
/// A directory cannot be read.
pub fn files_with(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = files(directory)?;
    found.retain(|path| path.extension().is_some_and(|is| is == extension));
    Ok(found)
}
