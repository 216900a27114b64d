//! I/O: the data directory: one process at a time, a name that stays, and the addresses that were bound.

use crate::config::Listen;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Locked while a process uses the directory; the lock ends with the process, however it ends.
pub(crate) const LOCK_FILE: &str = "lock";
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
    /// Nobody holds the lock, or not yet. Start a node there first, or name the directory of one that runs.
    #[error("no headcount runs on the data directory {}", .0.display())]
    NotRunning(PathBuf),
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
    /// A directory that is only looked at may be a copy that lacks the lock's file.
    _lock: Option<File>,
}

impl DataDir {
    /// Creates the directory if it is not there, and locks it.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        let data_dir = DataDir { path: path.to_owned(), _lock: Some(lock_or_refuse(path, lock)?) };
        data_dir.remove_addresses();
        Ok(data_dir)
    }

    /// Locks a directory that must be there, and changes nothing in it.
    pub fn look_at(path: &Path) -> Result<DataDir, DataDirError> {
        fs::read_dir(path).map_err(at(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = match File::open(&lock_path) {
            Ok(lock) => Some(lock_or_refuse(path, lock)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&lock_path)(error)),
        };
        Ok(DataDir { path: path.to_owned(), _lock: lock })
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
        let Listen { client, api, resp, admin, peer } = addresses;
        let json = serde_json::json!({ "client": client, "api": api, "resp": resp, "admin": admin, "peer": peer });
        self.write_durably(ADDRESSES_FILE, &format!("{json}\n"))
    }

    /// Where the node that runs on `path` has its admin listener, if it has one.
    pub fn admin_of_running(path: &Path) -> Result<Option<SocketAddr>, DataDirError> {
        // The file of a node that was killed tells nothing: somebody else may listen there by now.
        match DataDir::look_at(path) {
            Ok(_) => return Err(DataDirError::NotRunning(path.to_owned())),
            Err(DataDirError::InUse(_)) => {}
            Err(error) => return Err(error),
        }
        let file = path.join(ADDRESSES_FILE);
        match fs::read_to_string(&file) {
            Ok(text) => {
                let addresses: serde_json::Value = serde_json::from_str(&text).map_err(io::Error::from).map_err(at(&file))?;
                Ok(addresses["admin"].as_str().and_then(|address| address.parse().ok()))
            }
            // It is about to start, or to end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DataDirError::NotRunning(path.to_owned())),
            Err(error) => Err(at(&file)(error)),
        }
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

fn lock_or_refuse(path: &Path, lock: File) -> Result<File, DataDirError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(at(&path.join(LOCK_FILE))(source)),
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
        assert!(matches!(DataDir::look_at(dir.path()), Err(DataDirError::InUse(_))));
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_look_makes_nothing_and_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        DataDir::look_at(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(matches!(DataDir::look_at(&dir.path().join("nowhere")), Err(DataDirError::Io { .. })));
        drop(DataDir::open(dir.path()).unwrap());
        let look = DataDir::look_at(dir.path()).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::InUse(_))));
        drop(look);
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
        let listen = Listen { client: Some("127.0.0.1:8000".parse().unwrap()), api: None, resp: None, admin: None, peer: None };
        DataDir::open(dir.path()).unwrap().write_addresses(&listen).unwrap();
        let file = dir.path().join(ADDRESSES_FILE);
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "{\"admin\":null,\"api\":null,\"client\":\"127.0.0.1:8000\",\"peer\":null,\"resp\":null}\n"
        );
        DataDir::open(dir.path()).unwrap();
        assert!(!file.exists());
    }
}
