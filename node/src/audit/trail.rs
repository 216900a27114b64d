//! I/O: the file of the audit log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Whoever may read it: its owner.
const MODE: u32 = 0o600;

/// An open file that lines are appended to.
#[derive(Debug)]
pub(super) struct Trail {
    path: PathBuf,
    file: File,
    /// A write ended within a line.
    torn: bool,
}

impl Trail {
    /// Opens it, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Trail> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        Ok(Trail { path: path.to_owned(), file, torn: false })
    }

    /// Goes on in the file that is at the path now: another program may have moved this one away. If it cannot be opened, this one
    /// is kept.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Trail::open(&self.path)?;
        Ok(())
    }

    /// Appends whole lines. Of an error it tells how many lines are there nevertheless.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(0) => return Err((self.stop(&lines[..written]), io::ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((self.stop(&lines[..written]), error)),
            }
        }
        Ok(())
    }

    fn stop(&mut self, written: &[u8]) -> usize {
        self.torn = written.last().is_some_and(|byte| *byte != b'\n');
        written.iter().filter(|byte| **byte == b'\n').count()
    }
}
