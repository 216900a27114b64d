//! I/O: the data directory: one process at a time, a name that stays, and the addresses that were bound.

use crate::config::Listen;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Locked while a process uses the directory; the lock ends with the process, however it ends.
const LOCK_FILE: &str = "lock";
/// Holds the name that was made up for this node.
const NAME_FILE: &str = "node-name";
/// Holds the addresses that are listened on: `{"client":"127.0.0.1:8000","api":null,…}`.
const ADDRESSES_FILE: &str = "listen.json";

/// The data directory cannot be used. Nothing of what it holds changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds the lock. Retry once it has ended, or configure another directory.
    #[error("data directory {} is in use by another headcount; stop that one, or set another node.data_dir", .0.display())]
    InUse(PathBuf),
    /// The file system refuses.
    #[error("data directory: {}: {source}", path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// The open directory. Dropping it releases the lock.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path: lock_path, source }),
        }
        let data_dir = DataDir { path: path.to_owned(), _lock: lock };
        data_dir.remove_addresses();
        Ok(data_dir)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `configured` name, or else the one that was made up at the first start here.
    pub fn node_name(&self, configured: Option<&str>) -> Result<String, DataDirError> {
        if let Some(name) = configured {
            return Ok(name.to_owned());
        }
        let path = self.path.join(NAME_FILE);
        match fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("node-{}", &random[..8]);
        self.write_durably(NAME_FILE, &name)?;
        Ok(name)
    }

    /// Tells tools and tests where this node listens, until it stops.
    pub fn write_addresses(&self, addresses: &Listen) -> Result<(), DataDirError> {
        let Listen { client, api, resp, admin } = addresses;
        let json = serde_json::json!({ "client": client, "api": api, "resp": resp, "admin": admin });
        self.write_durably(ADDRESSES_FILE, &format!("{json}\n"))
    }

    /// Nobody listens any more. Best effort: the next start does it again.
    pub fn remove_addresses(&self) {
        let _ = fs::remove_file(self.path.join(ADDRESSES_FILE));
    }

    /// Readers see the file whole or not at all, also after a power cut.
    fn write_durably(&self, file: &str, text: &str) -> Result<(), DataDirError> {
        let (path, fresh) = (self.path.join(file), self.path.join(format!("{file}.new")));
        let write = || {
            let mut out = File::create(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(at(&path))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::InUse(_))));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_made_up_name_stays_and_a_configured_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let name = DataDir::open(dir.path()).unwrap().node_name(None).unwrap();
        assert!(name.starts_with("node-"));
        let again = DataDir::open(dir.path()).unwrap();
        assert_eq!(again.node_name(None).unwrap(), name);
        assert_eq!(again.node_name(Some("eu-1")).unwrap(), "eu-1");
    }

    #[test]
    fn the_addresses_of_a_node_that_ended_are_gone_after_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let listen = Listen { client: "127.0.0.1:8000".parse().unwrap(), api: None, resp: None, admin: None };
        DataDir::open(dir.path()).unwrap().write_addresses(&listen).unwrap();
        let file = dir.path().join(ADDRESSES_FILE);
        assert_eq!(fs::read_to_string(&file).unwrap(), "{\"admin\":null,\"api\":null,\"client\":\"127.0.0.1:8000\",\"resp\":null}\n");
        DataDir::open(dir.path()).unwrap();
        assert!(!file.exists());
    }
}
