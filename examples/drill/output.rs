//! The output of a drill: files, and texts on stdout.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fmt, io};

/// An output file, written at the end.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    option: &'static str,
    path: PathBuf,
}

impl Output {
    pub fn new(option: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { option, path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file can be written. Keeps an existing file unchanged and leaves no new file behind.
    pub fn check(&self) -> io::Result<()> {
        let existed = self.path.exists();
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        opened.map_err(|error| self.explain(&error))?;
        if existed { Ok(()) } else { fs::remove_file(&self.path) }
    }

    pub fn write(&self, content: &str) -> io::Result<()> {
        fs::write(&self.path, content).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let Self { option, path } = self;
        let message = format!("{option} {}: cannot be written: {error}", Path::display(path));
        io::Error::new(error.kind(), message)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = if self.option == "--svg" { "plot" } else { "rows" };
        write!(f, "{content}: {}", self.path.display())
    }
}

// ===== stdout =====

/// Writes to stdout. A closed pipe is not an error.
pub fn say(text: &str) -> Result<(), Box<dyn Error>> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints the error of a command line, and returns its exit code.
pub fn refuse(error: &lexopt::Error) -> ExitCode {
    eprintln!("error: {error}\nTry --help.");
    ExitCode::from(2)
}

/// Prints the error of a run, if there is one, and returns the exit code.
pub fn exit(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_is_refused_by_option_and_path() {
        let error = Output::new("--svg", "no/such/folder/x.svg").check().unwrap_err().to_string();
        assert!(error.starts_with("--svg no/such/folder/x.svg: cannot be written: "), "{error}");
    }
}
