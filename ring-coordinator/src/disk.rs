//! I/O: the last ring on this node's disk, so that a node that starts without etcd still knows where the Redis nodes are.

use crate::{document::Document, validate::DOCUMENT_BYTES_MAX};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

/// The file in a node's data directory.
pub const FILE: &str = "ring";

/// Why the copy cannot be used. It is as good as none; the next ring replaces it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk does not give it away.
    #[error("{path:?} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is not what was written.
    #[error("{path:?} is damaged ({reason}); it is taken for missing, and replaced by the next ring that is learned")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that is seen.
        reason: String,
    },
}

/// The copy. Its methods wait for the disk: call them where a thread may wait.
#[derive(Clone, Debug)]
pub struct RingFile {
    path: PathBuf,
}

impl RingFile {
    /// The copy in a data directory, which must be this process's own.
    #[must_use]
    pub fn new(data_dir: &Path) -> RingFile {
        RingFile { path: data_dir.join(FILE) }
    }

    /// Replaces the copy. After an error, or a power cut, the old one or the new one is there, whole.
    pub fn save(&self, document: &Document) -> io::Result<()> {
        let json = document.to_json();
        let next = self.path.with_extension("next");
        let mut file = File::create(&next)?;
        writeln!(file, "{:016x}\n{json}", xxh3_64(json.as_bytes()))?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        // The name is on the disk when its directory is.
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }

    /// The copy, if there is one.
    pub fn load(&self) -> Result<Option<Document>, LoadError> {
        let mut text = String::new();
        let bytes_max = u64::try_from(DOCUMENT_BYTES_MAX + 64).unwrap_or(u64::MAX);
        match File::open(&self.path).and_then(|file| file.take(bytes_max).read_to_string(&mut text)) {
            Ok(_) => self.parse(&text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(self.damaged("it is no text")),
            Err(error) => Err(LoadError::Unreadable { path: self.path.clone(), error }),
        }
    }

    fn parse(&self, text: &str) -> Result<Document, LoadError> {
        let (sum, json) = text.split_once('\n').ok_or_else(|| self.damaged("it is cut off"))?;
        let json = json.strip_suffix('\n').ok_or_else(|| self.damaged("it is cut off"))?;
        if sum != format!("{:016x}", xxh3_64(json.as_bytes())) {
            return Err(self.damaged("its checksum is wrong"));
        }
        Document::parse(json.as_bytes()).map_err(|flaw| self.damaged(&flaw.to_string()))
    }

    fn damaged(&self, reason: &str) -> LoadError {
        LoadError::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(epoch: u64) -> Document {
        Document { epoch, ..Document::default() }
    }

    #[test]
    fn the_last_ring_that_was_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = RingFile::new(directory.path());
        assert_eq!(file.load().unwrap(), None);
        file.save(&ring(1)).unwrap();
        file.save(&ring(2)).unwrap();
        assert_eq!(file.load().unwrap(), Some(ring(2)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_copy_that_was_not_finished_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let file = RingFile::new(directory.path());
        file.save(&ring(1)).unwrap();
        fs::write(directory.path().join("ring.next"), "half").unwrap();
        assert_eq!(file.load().unwrap(), Some(ring(1)));
        file.save(&ring(2)).unwrap();
        assert_eq!(file.load().unwrap(), Some(ring(2)));
    }

    #[test]
    fn a_damaged_copy_is_said_to_be_one_whatever_byte_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (RingFile::new(directory.path()), directory.path().join(FILE));
        file.save(&ring(7)).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x01;
            for damaged in [&flipped[..], &whole[..at]] {
                fs::write(&path, damaged).unwrap();
                let error = file.load().unwrap_err();
                assert!(matches!(error, LoadError::Damaged { .. }), "byte {at}: {error}");
                assert!(error.to_string().contains("is taken for missing"), "{error}");
            }
        }
        file.save(&ring(8)).unwrap();
        assert_eq!(file.load().unwrap(), Some(ring(8)));
    }

    #[test]
    fn what_is_no_ring_is_refused_though_its_checksum_is_right() {
        let directory = tempfile::tempdir().unwrap();
        let json = "{\"format\":\"ring/v9\"}";
        fs::write(directory.path().join(FILE), format!("{:016x}\n{json}\n", xxh3_64(json.as_bytes()))).unwrap();
        let error = RingFile::new(directory.path()).load().unwrap_err();
        assert!(error.to_string().contains("ring/v9"), "{error}");
    }
}
