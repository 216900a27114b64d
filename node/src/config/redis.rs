//! Pure: the section `[redis]`: how one is let in at the ring's Redis nodes. Where they are, the ring document says.

use super::{BadConfig, layers::Problem, reader::Reader, secret::Secret};
use ring_coordinator::redis::{self, Access};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// `[redis]`
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Redis {
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// `None`: the nodes are talked to in the clear, and one at `rediss://` not at all.
    pub tls: Option<Tls>,
}

/// Files of TLS to the nodes.
#[derive(Clone, Debug)]
pub struct Tls {
    ca: PathBuf,
    /// A certificate of our own and its key.
    own: Option<(PathBuf, PathBuf)>,
    /// Who said so.
    place: String,
}

impl Redis {
    pub(super) fn read(reader: &mut Reader) -> Redis {
        let (username, password) = (reader.optional_text("redis.username"), reader.optional_secret("redis.password"));
        if username.is_some() && password.is_none() {
            reader.refuse("redis.password", "must be set with redis.username");
        }
        let is_tls = reader.flag("redis.tls");
        let [ca, cert, key] = ["redis.ca", "redis.cert", "redis.key"].map(|key| {
            let path = reader.optional_text(key);
            match &path {
                Some(path) if path.contains("-----BEGIN") => reader.refuse(key, "is what the file should hold: write the file's path"),
                Some(_) if !is_tls => reader.refuse(key, "needs redis.tls = true"),
                _ => {}
            }
            path.map(PathBuf::from)
        });
        match (&cert, &key) {
            (Some(_), None) => reader.refuse("redis.key", "must be set with redis.cert"),
            (None, Some(_)) => reader.refuse("redis.cert", "must be set with redis.key"),
            _ => {}
        }
        if is_tls && ca.is_none() {
            reader.refuse("redis.ca", "must be set with redis.tls: no authority is trusted by itself");
        }
        let tls = ca.filter(|_| is_tls).map(|ca| Tls { ca, own: cert.zip(key), place: reader.place("redis.tls") });
        Redis { username, password, tls }
    }

    /// Takes the files' contents from `read`.
    pub fn access(&self, read: impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Access, BadConfig> {
        let tls = self.tls.as_ref().map(|tls| tls.open(&read)).transpose()?;
        let password = self.password.as_ref().map(|password| redis::Secret::new(password.expose()));
        Ok(Access { username: self.username.clone(), password, tls })
    }
}

impl Tls {
    fn open(&self, read: &impl Fn(&Path) -> io::Result<Vec<u8>>) -> Result<Arc<rustls::ClientConfig>, BadConfig> {
        let bad = |key: &str, path: &Path, reason: String| {
            BadConfig(vec![Problem { place: self.place.clone(), text: format!("{key} = {path:?}: {reason}") }])
        };
        let file = |key: &str, path: &Path| read(path).map_err(|error| bad(key, path, format!("cannot be read: {error}")));
        let ca = file("redis.ca", &self.ca)?;
        let own = match &self.own {
            Some((cert, key)) => Some((file("redis.cert", cert)?, file("redis.key", key)?)),
            None => None,
        };
        let own = own.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice()));
        redis::tls(&ca, own).map_err(|error| bad("redis.ca", &self.ca, error.to_string()))
    }
}
