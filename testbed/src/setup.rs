//! The place in which a server starts, and the files, arguments and variables that are made for it.

/// The directories and the port of a server, in the words of its own configuration: inside of a container they are
/// others than outside.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The directory with the files of its [`Setup`]; its working directory too.
    pub(crate) files: String,
    /// A directory that it may write to.
    pub(crate) data: String,
    /// The address to listen on.
    pub(crate) address: &'static str,
    /// The port to listen on.
    pub(crate) port: u16,
}

/// The files, arguments and environment that start a server in its [`Placement`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Setup {
    pub(crate) fn file(mut self, name: &str, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), contents.into()));
        self
    }

    pub(crate) fn arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(str::to_owned));
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}
